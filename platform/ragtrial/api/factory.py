"""From the options of `ragtrial serve` to the application; the workers of a server find it here by name."""

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from ragtrial.api.app import ApiOptions, FindKey, create_app
from ragtrial.api.logs import log
from ragtrial.api.tracing import trace_to
from ragtrial.db.keys import KeyStore
from ragtrial.db.pepper import pepper_for
from ragtrial.errors import RagtrialError, SetupError
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.settings import Settings, read_settings
from ragtrial.suite.live_analysis import analysis_json
from ragtrial.suite.serving import live_service

IMPORT_STRING = "ragtrial.api.factory:app_of_a_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """What a worker needs to know; it goes to workers as JSON in `RAGTRIAL_SERVE`.

    Attributes:
        experiment: The experiment file, absolute.
        no_auth: Everyone is admin.
        open_metrics: `/metrics` needs no key.
        cors_origins: As `ApiOptions`.
        rate_per_minute: As `ApiOptions`.
        otlp: OTLP/HTTP collector; None: no traces.
        workers: Processes behind the port. Several take connections when they are warm, and end together where one can't be.
    """

    experiment: str
    no_auth: bool = False
    open_metrics: bool = False
    cors_origins: tuple[str, ...] = ()
    rate_per_minute: int | None = None
    otlp: str | None = None
    workers: int = 1

    def as_json(self) -> str:
        """For `RAGTRIAL_SERVE`."""
        return json.dumps(dataclasses.asdict(self))


def key_finder(file: ExperimentFile, settings: Settings) -> FindKey:
    """Looks keys up in the experiment's database.

    Raises:
        SetupError: The pepper can't be used, or the database refuses.
    """
    store, pepper = KeyStore(sql_url(file)), pepper_for(sql_url(file), file.folder, settings)
    return lambda token: store.find(token, pepper)


def build_app(serve: Serve, settings: Settings, *, on_failure: Callable[[RagtrialError], None] | None = None) -> FastAPI:
    """The application of one worker; its models are loaded when it is started.

    Raises:
        InputError: The experiment file, or an option, is wrong.
        SetupError: The database or the pepper can't be used.
    """
    file = load_experiment(Path(serve.experiment))
    end_tracing = None if serve.otlp is None else trace_to(serve.otlp, experiment=file.experiment.name)
    options = ApiOptions(
        open_metrics=serve.open_metrics,
        cors_origins=serve.cors_origins,
        rate_per_minute=serve.rate_per_minute,
        warm_first=serve.workers > 1,
    )
    return create_app(
        live_service(file, settings, workers=serve.workers),
        None if serve.no_auth else key_finder(file, settings),
        sql_url=sql_url(file),
        analyse=partial(analysis_json, file),
        options=options,
        on_failure=on_failure,
        on_close=end_tracing,
    )


def app_of_a_worker() -> FastAPI:
    """The application as the environment describes it; where it can't be made, the process ends so that its parent gives up too."""
    settings = read_settings()
    try:
        if settings.serve is None:
            raise SetupError("RAGTRIAL_SERVE is not set: workers are started by `ragtrial serve --workers N`")
        given = json.loads(settings.serve)
        return build_app(Serve(**{**given, "cors_origins": tuple(given["cors_origins"])}), settings)
    except RagtrialError as error:
        log.error("the service can't start", extra={"kind": type(error).__name__, "detail": str(error)})
        sys.exit(STARTUP_FAILURE)
