"""Commands that make traffic: simulated users on a service that runs already, and the live demo from beginning to end."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.demonstration import copied
from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.terminal import console, error_console, progress_bars

if TYPE_CHECKING:
    from ragtrial.suite.preparing import Prepared
    from ragtrial.suite.traffic import Traffic
    from ragtrial.suite.traffic_client import Body

_INTERRUPTED = 130
_SCORED_WITHIN_S = 30.0

Users = Annotated[int, typer.Option("--users", help="Users; activity is log-normal, so that a few of them come often.")]
Queries = Annotated[int, typer.Option("--queries", help="Questions that users come with; what they ask again in other words comes on top.")]
Concurrency = Annotated[int, typer.Option("--concurrency", help="Users that are at it at once, at most.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same users, questions and temperaments.")]
TasteOption = Annotated[
    Literal["relevance", "none"],
    typer.Option("--taste", help="relevance: users like relevant sources high up. none: they behave alike whatever they get (A/A)."),
]
LookEvery = Annotated[int, typer.Option("--look-every", min=0, help="Ask for the analysis after each so many questions; 0: never.")]


def simulate_traffic(
    experiment: ExperimentPath,
    *,
    url: Annotated[str, typer.Option("--url", help="Root of the service that `ragtrial serve` started.")] = "http://127.0.0.1:8000",
    users: Users = 300,
    queries: Queries = 2000,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Questions a second, as a Poisson process. [default: as --concurrency allows]", show_default=False),
    ] = None,
    concurrency: Concurrency = 16,
    seed: Seed = 7,
    taste: TasteOption = "relevance",
    own_words: Annotated[
        float, typer.Option("--own-words", help="Share of the questions put in the user's own words; no judgment is found for these.")
    ] = 0.1,
    duplicates: Annotated[
        float, typer.Option("--duplicates", help="Share of the requests sent twice with the same key, as after a time-out.")
    ] = 0.02,
    look_every: LookEvery = 200,
    key_env: Annotated[str, typer.Option("--key-env", help="Environment variable with an API key that may ask and vote.")] = "RAGTRIAL_KEY",
    read_key_env: Annotated[
        str | None,
        typer.Option(
            "--read-key-env", help="Environment variable with a key that may read results. [default: --key-env]", show_default=False
        ),
    ] = None,
    plant: Annotated[
        Literal["lost-exposures", "duplicate-votes"] | None,
        typer.Option(
            "--plant",
            help="For developers, a fault to plant. lost-exposures: requests of some of the treatment's users never arrive (the sample ratio "
            "test has to find it). duplicate-votes: every vote is sent five times with one key.",
        ),
    ] = None,
    plant_share: Annotated[float, typer.Option("--plant-share", help="Share of the treatment's users that lost-exposures loses.")] = 0.02,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", help="Write every trial, vote and signal that the service acknowledged to this JSONL file."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Let simulated users loose on a running service, and watch the verdict form.

    The service can't tell them from others: they come over HTTP, ask the gold set's queries, copy, open sources, vote, change their minds,
    ask again in other words, and send some requests twice. What they think of an answer comes from the gold set's judgments and the
    planted taste; they are never told the arm. So what the analysis has to find is known beforehand. One thing can't be simulated in real
    time: votes that come days late.

    Never point it at an experiment with real users: what it does is logged and counted. A service that serves another experiment than
    this file's is refused before the first question.

    Looking at the analysis on the way is allowed: its band is always-valid, however often one looks.

    Exit codes: 0 every request got what it should, 1 some did not (they are counted), 2 bad input or set-up.
    """
    from ragtrial.errors import InputError
    from ragtrial.settings import read_settings
    from ragtrial.suite.preparing import prepare
    from ragtrial.suite.traffic import Traffic, TrafficPlan

    settings = read_settings()
    key = settings.secret(key_env)
    if key is None:
        raise InputError(f"environment variable {key_env!r} holds no API key: make one with ragtrial keys create, or name another variable")
    read_key = None if read_key_env is None else settings.secret(read_key_env)
    plan = TrafficPlan(
        n_users=users,
        n_queries=queries,
        rate=rate,
        concurrency=concurrency,
        seed=seed,
        taste=taste,
        own_words=own_words,
        duplicates=duplicates,
        look_every=look_every or None,
        plant=plant,
        plant_share=plant_share,
    )
    prepared = prepare(experiment, settings=settings)
    traffic = Traffic(plan=plan)
    interrupted = not _driven(prepared, traffic, url=url, key=key, read_key=read_key, quiet=quiet or as_json)
    if ledger is not None:
        _write_ledger(traffic, ledger)
    if as_json:
        typer.echo(json.dumps(traffic.as_dict()))
    else:
        _show(traffic)
    if interrupted:
        raise SystemExit(_INTERRUPTED)
    raise typer.Exit(0 if traffic.in_order else 1)


def _driven(prepared: "Prepared", traffic: "Traffic", *, url: str, key: str, read_key: str | None, quiet: bool) -> bool:
    """Whether it came to its end; Ctrl-C ends it early, with what came of it until then."""
    from ragtrial.suite.traffic import simulate
    from ragtrial.suite.traffic_looks import Looks

    looks = Looks()

    def told(n: int, content: "Body | str") -> None:
        line = looks.line(n, content)
        if line is not None:
            sys.stderr.write(f"{line}\n")  # above the bar, which a console of its own would run into

    try:
        with progress_bars(quiet=quiet) as progress:
            simulate(
                traffic,
                experiment=prepared.experiment,
                gold=prepared.gold,
                url=url,
                key=key,
                read_key=read_key,
                progress=progress,
                told=None if quiet else told,
            )
    except KeyboardInterrupt:
        error_console().print("interrupted; what was acknowledged is in the log", soft_wrap=True)
        return False
    return True


def _show(traffic: "Traffic") -> None:
    """The summary as a table."""
    from rich.table import Table

    from ragtrial.suite.traffic_looks import summary

    table = Table("simulated traffic", "", box=None, pad_edge=False)
    for name, value in summary(traffic):
        table.add_row(name, value)
    console().print(table)


def _write_ledger(traffic: "Traffic", path: Path) -> None:
    import dataclasses

    from ragtrial.formats.files import write_lines

    write_lines(path, [json.dumps(dataclasses.asdict(one)) for one in traffic.acknowledged])


def live_demo(
    *,
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's files go, beside those of `ragtrial demo`.")] = Path(
        "ragtrial-demo"
    ),
    users: Users = 400,
    queries: Queries = 1500,
    concurrency: Concurrency = 16,
    seed: Seed = 7,
    taste: TasteOption = "relevance",
    look_every: LookEvery = 200,
    quiet: Quiet = False,
) -> None:
    """Serve, split, log, vote, decide: the live experiment on the bundled seeds, with simulated users. No key, no server, no model hub.

    Trains the custom model where `ragtrial demo` has not done so, indexes both arms, starts `ragtrial serve` on a free port, lets some
    hundred simulated users ask it over HTTP, shows the verdict as it forms, stops the service, and analyses what is logged as
    `ragtrial analyse --live` does. A second run goes on with the same experiment: its traffic is added to the first run's.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.preparing import prepare
    from ragtrial.suite.traffic import Traffic, TrafficPlan
    from ragtrial.suite.traffic_log import wait_until_scored
    from ragtrial.suite.traffic_service import child_service

    plan = TrafficPlan(n_users=users, n_queries=queries, concurrency=concurrency, seed=seed, taste=taste, look_every=look_every or None)
    experiment = copied(folder, "live-demo.yaml")
    prepared = prepare(experiment, settings=read_settings())
    say = _sayer(quiet=quiet)
    say(f"{experiment}: {prepared.experiment.hypothesis}")
    _check_running(prepared, folder)
    _make_ready(prepared, quiet=quiet)
    traffic, log = Traffic(plan=plan), folder / "serve.log"
    with _demo_key(prepared) as key:
        say(f"starting ragtrial serve, which loads and tries both models; what it logs is in {log}")
        with child_service(experiment, log=log) as url:
            say(f"{plan.n_users:,} simulated users ask {url}")
            finished = _driven(prepared, traffic, url=url, key=key, read_key=None, quiet=quiet)
            if finished and not wait_until_scored(prepared, within_s=_SCORED_WITHIN_S):
                say("not every answer is scored yet: the analysis counts those that are not")
    if not quiet:
        _show(traffic)
    if not finished:
        raise SystemExit(_INTERRUPTED)
    _conclude(experiment, folder / "live-report.html", quiet=quiet)


def _check_running(prepared: "Prepared", folder: Path) -> None:
    """Refuse to go on with an experiment that was stopped: everyone would get the baseline, and nobody would count."""
    from ragtrial.errors import SetupError
    from ragtrial.suite.traffic_log import last_traffic

    state = last_traffic(prepared)
    if state is not None and state.stopped:
        raise SetupError(
            f"the live experiment in {str(folder)!r} was stopped by {state.actor} ({state.reason or 'no reason given'}), so everyone gets "
            "the baseline: start another one with another --folder"
        )


def _sayer(*, quiet: bool) -> "Callable[[str], None]":
    from rich.console import Console

    return partial((Console(quiet=True) if quiet else error_console()).print, markup=False, soft_wrap=True)


def _make_ready(prepared: "Prepared", *, quiet: bool) -> None:
    """Train what the registry lacks, and index both arms; what is there already is taken as it is."""
    from ragtrial.suite.arm_models import missing_models
    from ragtrial.suite.indexing import index_all
    from ragtrial.suite.training import train_model

    with progress_bars(quiet=quiet) as progress:
        for name in missing_models(prepared):
            train_model(prepared, name=name, progress=progress)
        index_all(prepared, progress=progress)


@contextlib.contextmanager
def _demo_key(prepared: "Prepared") -> "Iterator[str]":
    """A key that may ask, vote and read results; it is revoked at the end."""
    from ragtrial.db.keys import DEMONSTRATION, KeyStore
    from ragtrial.db.pepper import pepper_for
    from ragtrial.formats.experiment import sql_url

    url = sql_url(prepared.file)
    with KeyStore(url) as store:
        pepper = pepper_for(url, prepared.file.folder, prepared.around.settings)
        secret = store.create(DEMONSTRATION, "operator", pepper=pepper, actor=DEMONSTRATION)
        try:
            yield secret
        finally:
            store.revoke(secret.split("_")[1], DEMONSTRATION)


def _conclude(experiment: Path, report: Path, *, quiet: bool) -> None:
    """The analysis of what is logged: shown, written, and what was stopped on the way."""
    from ragtrial.formats.files import write_lines
    from ragtrial.report.live_html import as_live_html
    from ragtrial.report.live_terminal import render_live
    from ragtrial.suite.live_analysis import live_content_of

    content = live_content_of(experiment)
    write_lines(report, as_live_html(content).rstrip("\n").split("\n"))
    out = console()
    if quiet:
        out.print(content.analysis.verdict.sentence, markup=False, soft_wrap=True)
        return
    render_live(content, out)
    state = content.analysis.progress.traffic
    if state.stopped:
        out.print(f"The treatment was stopped by {state.actor}: {state.reason}", markup=False, soft_wrap=True)
    out.print(f"report: {report.resolve()}", markup=False, soft_wrap=True)
