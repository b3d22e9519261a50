"""`ragtrial serve` and `ragtrial keys`: the live service and who may use it."""

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json
from ragtrial.cli.terminal import console

if TYPE_CHECKING:
    from ragtrial.api.factory import Serve
    from ragtrial.errors import RagtrialError
    from ragtrial.formats.experiment import ExperimentFile

keys = typer.Typer(help="API keys of the live service.", no_args_is_help=True)

_GRACE_S = 30
_KEEP_ALIVE_S = 75  # longer than proxies keep theirs (60 s is common): who closes first must be the proxy


class LogLevel(StrEnum):
    """How much is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class RoleName(StrEnum):
    """Roles, from the least to the most."""

    viewer = "viewer"
    tester = "tester"
    operator = "operator"
    admin = "admin"


class ScopeName(StrEnum):
    """What a key may do."""

    ask = "ask"
    feedback = "feedback"
    read = "read"
    operate = "operate"
    admin = "admin"


def serve(
    experiment: ExperimentPath,
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one, which the log names.")] = 8000,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes behind the port; more than 1 needs a Milvus server.")] = 1,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="Of the log on stderr, JSON lines.")] = LogLevel.info,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no keys: everyone is admin. On loopback alone.")] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", help="Let pages of this origin call the service; may be repeated.", show_default=False),
    ] = None,
    rate_per_minute: Annotated[
        int | None, typer.Option("--rate-per-minute", min=1, help="For keys without a rate of their own.", show_default="no limit")
    ] = None,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="/metrics needs no key.")] = False,
    otlp: Annotated[
        str | None,
        typer.Option("--otlp", metavar="URL", help="Send traces to this OTLP/HTTP collector.", show_default="OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] = None,
) -> None:
    """Serve live traffic: split it between the arms, answer, log every trial, take votes.

    What is not indexed yet is indexed first. /readyz answers 200 when the models are warm. Stop it with Ctrl+C or SIGTERM: requests that
    are being answered are finished, and what is queued is written. See docs/serving.md.
    """
    from ragtrial.errors import MissingExtraError

    try:
        import fastapi  # noqa: F401 - is it there?
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(package=str(error.name), extra="serve", purpose="the live service") from error
    from ragtrial.api.factory import Serve
    from ragtrial.settings import read_settings

    settings = read_settings()
    given = Serve(
        experiment=str(experiment.absolute()),
        no_auth=no_auth,
        open_metrics=open_metrics,
        cors_origins=tuple(cors_origin or ()),
        rate_per_minute=rate_per_minute,
        otlp=otlp or settings.otlp_endpoint,
        workers=workers,
    )
    file = _check(given, host, workers)
    _run(given, host=host, port=port, workers=workers, level=log_level.value, warning=_changed_plan(file))


def _changed_plan(file: "ExperimentFile") -> str | None:
    """What to say where this plan begins anew under a name that has trials already; said here, for people who read no JSON."""
    from ragtrial.cli.terminal import error_console
    from ragtrial.suite.serving import changed_plan

    warning = changed_plan(file)
    if warning is not None:
        error_console().print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return warning


def _check(given: "Serve", host: str, workers: int) -> "ExperimentFile":
    """Refuse what is unsafe or can't work, before anything heavy is loaded."""
    from ragtrial.errors import InputError, SetupError
    from ragtrial.formats.experiment import load_experiment, sql_url
    from ragtrial.suite.serving import check_workers

    file = load_experiment(Path(given.experiment))
    check_workers(file, workers)
    if given.no_auth:
        if not is_loopback(host):
            raise InputError(f"--no-auth with --host {host}: everyone in reach would be admin; leave the host out, or make keys")
        return file
    from ragtrial.db.keys import KeyStore

    with KeyStore(sql_url(file)) as store:
        if not any(key.revoked_at is None for key in store.list()):
            raise SetupError(
                f"there is no API key yet: make one with `ragtrial keys create {given.experiment} NAME --role tester`, "
                "or try the service on this machine alone with --no-auth"
            )
    return file


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _run(given: "Serve", *, host: str, port: int, workers: int, level: str, warning: str | None) -> None:
    import os
    import signal
    import socket

    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from ragtrial.api.connection import BoundedHttp
    from ragtrial.api.factory import IMPORT_STRING, build_app
    from ragtrial.api.logs import log, log_configuration
    from ragtrial.errors import SetupError
    from ragtrial.settings import read_settings

    failures: list[RagtrialError] = []
    server: uvicorn.Server | None = None

    def failed(error: "RagtrialError") -> None:
        failures.append(error)
        if server is not None:
            server.should_exit = True

    if workers > 1:
        os.environ["RAGTRIAL_SERVE"] = given.as_json()
    app = build_app(given, read_settings(), on_failure=failed) if workers == 1 else IMPORT_STRING
    config = uvicorn.Config(
        app,
        factory=workers > 1,
        host=host,
        port=port,
        workers=workers,
        log_config=log_configuration(level),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=BoundedHttp,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_worker_healthcheck=_GRACE_S,  # a worker that loads a model may not answer for seconds
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise SetupError(f"can't listen on {host} port {port} ({error.strerror}): give another --host or --port") from error
        listener.set_inheritable(True)
        name = f"[{host}]" if ":" in host else host
        log.info("listening", extra={"url": f"http://{name}:{listener.getsockname()[1]}", "workers": workers, "keys": not given.no_auth})
        if warning is not None:
            log.warning(warning)
        if workers > 1:
            Multiprocess(config, sockets=[listener]).run()
            return
        for stopping in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it is done; to be stopped is no failure
            signal.signal(stopping, lambda *_: None)
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if failures:
        raise failures[0]


@keys.command("create")
def create_key(
    experiment: ExperimentPath,
    name: Annotated[str, typer.Argument(help="Whose it is; logged with every request.")],
    *,
    role: Annotated[
        RoleName,
        typer.Option(
            "--role",
            help="tester: asks and votes, as a front end does, and never learns the arm. viewer: reads results. operator: both, and "
            "changes the traffic. admin: all.",
        ),
    ] = RoleName.tester,
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option("--scope", help="Only these of the role's scopes; may be repeated.", show_default=False),
    ] = None,
    may_assert_user: Annotated[
        bool, typer.Option("--may-assert-user", help="Believe its X-User-Id header: for proxies that have authenticated the user.")
    ] = False,
    rate_per_minute: Annotated[
        int | None, typer.Option("--rate-per-minute", min=1, help="Requests a minute.", show_default="no limit")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help="Take the key in this file, made by a store of secrets, and show nothing; again it changes nothing.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from ragtrial.db.keys import DEMONSTRATION, KeyStore
    from ragtrial.db.pepper import pepper_for
    from ragtrial.errors import InputError
    from ragtrial.formats.experiment import load_experiment, sql_url
    from ragtrial.settings import read_settings

    if name.strip() == DEMONSTRATION:
        raise InputError(f"{DEMONSTRATION!r} is the name of the key that `ragtrial live-demo` makes for itself: choose another")
    file = load_experiment(experiment)
    url = sql_url(file)
    with KeyStore(url) as store:
        key = store.create(
            name,
            role.value,
            pepper=pepper_for(url, file.folder, read_settings()),
            may_assert_user=may_assert_user,
            rate_per_minute=rate_per_minute,
            limited_to=None if not scope else frozenset(one.value for one in scope),
            key=None if key_file is None else _key_in(key_file),
        )
    if key_file is not None:
        console().print(f"the key in {key_file} is {name!r}, {role.value}", markup=False, soft_wrap=True)
        return
    typer.echo(json.dumps({"key": key, "name": name, "role": role.value}) if as_json else key)


def _key_in(path: Path) -> str:
    from ragtrial.errors import InputError

    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"key file {str(path)!r} can't be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from error


@keys.command("list")
def list_keys(experiment: ExperimentPath, *, as_json: Json = False) -> None:
    """Show all keys, revoked ones too; never the secrets."""
    from ragtrial.db.keys import KeyStore
    from ragtrial.formats.experiment import load_experiment, sql_url

    with KeyStore(sql_url(load_experiment(experiment))) as store:
        found = store.list()
    if as_json:
        typer.echo(json.dumps([{**dataclasses.asdict(key), "limited_to": None, "scopes": sorted(key.scopes)} for key in found]))
        return
    for key in found:
        state = "revoked" if key.revoked_at is not None else "valid"
        rate = "" if key.rate_per_minute is None else f", {key.rate_per_minute} a minute"
        user = ", may assert a user" if key.may_assert_user else ""
        line = f"rt_{key.prefix}_...  {key.name}: {key.role} ({', '.join(sorted(key.scopes))}){rate}{user}, {state}"
        console().print(line, markup=False, soft_wrap=True)
    if not found:
        console().print("there are no keys", soft_wrap=True)


@keys.command("revoke")
def revoke_key(
    experiment: ExperimentPath,
    prefix: Annotated[str, typer.Argument(help="The part between `rt_` and the secret; see `ragtrial keys list`.")],
) -> None:
    """Refuse a key from now on; a running service does so within a second."""
    from ragtrial.db.keys import KeyStore
    from ragtrial.formats.experiment import load_experiment, sql_url

    with KeyStore(sql_url(load_experiment(experiment))) as store:
        key = store.revoke(prefix.removeprefix("rt_").partition("_")[0], "command line")
    console().print(f"key {key.name!r} ({key.prefix}) is refused from now on", markup=False, soft_wrap=True)
