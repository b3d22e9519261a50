"""`ragtrial monitor`: has what people ask, or what they get, drifted?"""

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.registry import who
from ragtrial.cli.terminal import console, error_console, progress_bars
from ragtrial.errors import InputError, RagtrialError

if TYPE_CHECKING:
    from ragtrial.domain.monitor import MonitorReport
    from ragtrial.suite.monitoring import LookOptions

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def monitor(
    experiment: ExperimentPath,
    *,
    live: Annotated[bool, typer.Option("--live", help="Insist on the live log: without one it is an error.")] = False,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="first, gold, or the name of a kept one. [default: monitor.reference]", show_default=False),
    ] = None,
    keep_reference: Annotated[
        str | None,
        typer.Option("--keep-reference", metavar="NAME", help="Keep this window and corpus as a reference.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Leave out what came before, e.g. 2026-11-01.", show_default=False),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="JSON lines with text, at (its time, required) and user, instead of the live log.",
            show_default=False,
        ),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents",
            metavar="FOLDER",
            help="New documents, any files that prepare reads, compared with the corpus.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        str | None, typer.Option("--watch", metavar="EVERY", help="Go on until Ctrl+C: look every 1h, 30m.", show_default=False)
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option("--webhook", metavar="URL", help="Where alerts are sent; env:NAME takes it from there.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show: count no look, raise nothing, send nothing.")] = False,
    close: Annotated[
        str | None,
        typer.Option(
            "--close",
            metavar="SIGNAL",
            help="Look at nothing: close this alert, by its signal or number, which no look will clear any more; needs --reason.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why an alert is closed; recorded.", show_default=False)] = "",
    by: Annotated[
        str | None, typer.Option("--by", help="Who closes it; recorded. [default: the system's user]", show_default=False)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare the newest queries, documents and answers with a reference, and raise or clear alerts.

    Exit code: 1 while an alert stands, 0 where none does, 2 for bad input. With fewer queries than needed it says so and never alarms.
    Alerts are remembered in the experiment's database, so that a restart repeats none. `ragtrial serve` looks by itself where the experiment
    has a `monitor` section.
    """
    if close is not None:
        if live or reference or keep_reference or since or queries or documents or watch or dry_run:
            raise InputError("--close looks at nothing: give it with --reason, --by, --webhook and --json only")
        _close(experiment, close, reason, by, webhook, as_json=as_json)
        return
    if reason or by:
        raise InputError("--reason and --by say why and by whom an alert is closed: give them with --close SIGNAL")
    import dataclasses

    from ragtrial.domain.monitor import MonitorSpec
    from ragtrial.formats.experiment import load_experiment
    from ragtrial.suite.monitoring import LookOptions, exit_code

    given = load_experiment(experiment).experiment.monitor or MonitorSpec()
    spec = given if reference is None else dataclasses.replace(given, reference=reference)
    options = LookOptions(
        spec=spec,
        queries=queries,
        documents=documents,
        live=live,
        since=None if since is None else _moment(since),
        keep_reference=keep_reference,
        webhook=webhook,
        remember=not dry_run,
    )
    if watch is not None:
        _watch(experiment, options, _duration(watch), quiet=quiet, as_json=as_json)
        return
    report = _looked(experiment, options, quiet=quiet or as_json)
    _show(report, as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code(report))


def _close(experiment: Path, which: str, reason: str, by: str | None, webhook: str | None, *, as_json: bool) -> None:
    import dataclasses

    from ragtrial.suite.monitor_closing import close_alert

    done = close_alert(experiment, which, who=who(by), reason=reason, send_to=webhook)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(done), ensure_ascii=False))
    else:
        console().print(done.sentence, markup=False, soft_wrap=True)


def _looked(experiment: Path, options: "LookOptions", *, quiet: bool) -> "MonitorReport":
    from ragtrial.suite.monitoring import look

    with progress_bars(quiet=quiet) as progress:
        return look(experiment, options=options, progress=progress)


def _watch(experiment: Path, options: "LookOptions", every_s: float, *, quiet: bool, as_json: bool) -> None:
    """Look until a signal comes; what fails is said and tried again, but for a first look whose input is wrong.

    Later on wrong input may be a file that is just being written.
    """
    import dataclasses

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    looked = False
    while not stop.is_set():
        try:
            report = _looked(experiment, options, quiet=True)
        except RagtrialError as error:
            if isinstance(error, InputError) and not looked:
                raise
            error_console().print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        else:
            looked = True
            options = dataclasses.replace(options, keep_reference=None)
            _show(report, as_json=as_json, quiet=quiet)
        stop.wait(every_s)


def _show(report: "MonitorReport", *, as_json: bool, quiet: bool) -> None:
    from ragtrial.suite.monitoring import as_document, said

    if as_json:
        typer.echo(json.dumps(as_document(report), ensure_ascii=False))
        return
    for line, style in said(report, quiet=quiet):
        console().print(line, style=style, markup=False, soft_wrap=True)


def _moment(text: str) -> float:
    """Seconds since 1970 of a date or time. A time so long ago would make every look one of its own, with another reference.

    Raises:
        InputError: It is none.
    """
    from ragtrial.formats.query_log import moment_of

    found = moment_of(text)
    if found is None:
        raise InputError(f"--since is {text!r}: give a date or time, e.g. 2026-11-01 or 2026-11-01T08:00")
    return found


def _duration(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * _UNITS_S[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise InputError(f"--watch is {text!r}: give e.g. 1h, 30m or 90s")
    return seconds
