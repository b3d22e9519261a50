"""`ragtrial roll-up`: what keeps the dashboard up to date."""

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.terminal import console, error_console, progress_bars
from ragtrial.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ragtrial.contracts import Progress
    from ragtrial.suite.rolling import Pass, RolledLive

_FAILED = 2


def roll_up(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT.yaml", help="Whose database (stores.sql) is meant; all of it is rolled up.", show_default=False),
    ] = None,
    *,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help="This database, and not the file's.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl+C: every 2 s what is new.")] = False,
    heartbeat: Annotated[
        Path | None,
        typer.Option(
            "--heartbeat",
            metavar="FILE",
            help="With --watch: touch this file after each pass and as long ones get on, also while the database is away; for liveness probes.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Bring what the dashboard reads up to date: sums of the live log by time, live analyses, conclusions of evaluations.

    `ragtrial dashboard` does it by itself while it runs. Run it beside a dashboard that has no right to write, or once before many people
    open one: the first roll-up of a million live trials takes a minute or two, later ones look at what is new.

    Nothing of it is data: everything can be made again from the log, and killing it at any moment loses nothing. It reads without locks
    and writes a few hundred rows at a time, so a service that writes to the same database does not wait for it. Several may run at once.
    """
    url = _url(experiment, database)
    if heartbeat is not None and not watch:
        raise InputError("--heartbeat is for --watch: a single pass has an exit code")
    if watch:
        _watch(url, heartbeat, quiet=quiet)
        return
    from ragtrial.suite.rolling import roll_once

    with progress_bars(quiet=quiet) as progress:
        done = roll_once(url, progress=progress)
    if as_json:
        typer.echo(json.dumps(_as_dict(done), ensure_ascii=False))
    else:
        _render(done, quiet=quiet)
    if done.errors:
        raise typer.Exit(_FAILED)


def _url(experiment: Path | None, database: str | None) -> str:
    if database is not None:
        return database
    if experiment is None:
        raise InputError("say which database: give the experiment's file, or --database URL")
    from ragtrial.formats.experiment import load_experiment, sql_url

    return sql_url(load_experiment(experiment))


class _Stop(threading.Event):
    """Ends the watch; it is waited for after each pass, which shows that the passes get on.

    Args:
        heartbeat: The file to touch; None: none.
    """

    def __init__(self, heartbeat: Path | None) -> None:
        super().__init__()
        self._heartbeat = heartbeat

    def wait(self, timeout: float | None = None) -> bool:
        """As `Event.wait`."""
        self.beat()
        return super().wait(timeout)

    def beat(self) -> None:
        """Touch the file.

        Raises:
            InputError: It can't be written.
        """
        try:
            if self._heartbeat is not None:
                self._heartbeat.touch()
        except OSError as error:
            raise InputError(f"--heartbeat {str(self._heartbeat)!r} can't be written: {error.strerror}") from error

    def shown(self, progress: "Progress") -> "Progress":
        """The progress of a long pass, which is a sign of life, too."""

        def begin(description: str, total: int) -> "Callable[[int], None]":
            advance = progress(description, total)

            def on(done: int) -> None:
                self.beat()
                advance(done)

            return on

        return begin


def _watch(url: str, heartbeat: Path | None, *, quiet: bool) -> None:
    from ragtrial.suite.rolling import roll_for_ever

    stop, out = _Stop(heartbeat), error_console()
    stop.beat()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if not quiet:
        out.print("keeping the dashboard's numbers up to date; Ctrl+C ends it", markup=False)
    with progress_bars(quiet=quiet) as progress:
        roll_for_ever(url, stop, say=lambda sentence: out.print(sentence, markup=False, soft_wrap=True), progress=stop.shown(progress))


def _render(done: "Pass", *, quiet: bool) -> None:
    out = console()
    for sentence in done.errors:
        error_console().print(f"error: {sentence}", style="red", markup=False, soft_wrap=True)
    if quiet:
        return
    if done.concluded:
        out.print(f"concluded {len(done.concluded)} evaluations: {', '.join(done.concluded)}", markup=False, soft_wrap=True)
    for live in done.live:
        out.print(f"{live.name}: {_said(live)}", markup=False, soft_wrap=True)
    if not (done.concluded or done.live or done.errors):
        out.print("nothing to roll up: no live experiment, and every finished evaluation is concluded", markup=False, soft_wrap=True)


def _said(live: "RolledLive") -> str:
    rolled = live.rolled
    said = f"{rolled.stretches:,} x 5 minutes summed, {rolled.rows:,} rows written" if rolled.stretches else "sums are up to date"
    if not rolled.complete:
        said += "; another process went on with the rest"
    if live.problem:
        return f"{said}; no analysis: {live.problem}"
    if live.snapshot == "waits":
        return f"{said}; the analysis is left to {'another process, which was faster' if rolled.complete else 'that as well'}"
    return f"{said}; analysed in {live.took_s:.1f} s" if live.snapshot == "made" else f"{said}; the analysis is up to date"


def _as_dict(done: "Pass") -> dict[str, Any]:
    return {
        "concluded": list(done.concluded),
        "live": [
            {
                "name": live.name,
                "live_id": live.live_id,
                "stretches": live.rolled.stretches,
                "rows": live.rolled.rows,
                "newest_trial": live.rolled.newest_trial,
                "complete": live.rolled.complete,
                "rolled_s": round(live.rolled_s, 3),
                "snapshot": live.snapshot,
                "analysed_s": round(live.took_s, 3),
                "problem": live.problem,
            }
            for live in done.live
        ],
        "errors": list(done.errors),
    }
