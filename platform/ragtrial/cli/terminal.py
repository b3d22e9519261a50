"""What commands print with: a console that honours NO_COLOR, and progress bars with an ETA."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich and numpy come with these, and a command's start should not wait for them
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from ragtrial.contracts import Progress as ProgressPort

_LOG_EVERY_S = 10.0


def console() -> "Console":
    """Standard output; rich reads NO_COLOR and TERM itself."""
    from rich.console import Console

    return _inert(Console)(highlight=False)


def error_console() -> "Console":
    """Standard error."""
    from rich.console import Console

    return _inert(Console)(stderr=True, highlight=False)


def say(text: object) -> None:
    """A line on standard output as it is, whoever wrote it: control characters, which are commands to a terminal, are taken out."""
    import typer

    from ragtrial.report.words import plain

    typer.echo(plain(str(text)))


@functools.cache
def _inert(base: "type[Console]") -> "type[Console]":
    """A console whose own styles reach the terminal, and no escape sequence of a text does: ids, titles, answers are others' words.

    Every text that is printed, and every cell of a table that is a string, goes through `render_str`; rich itself takes only bells and
    backspaces out.
    """
    from ragtrial.report.words import plain

    class Inert(base):  # type: ignore[misc, valid-type]
        def render_str(self, text: str, **options: Any) -> "Text":
            found: Text = super().render_str(plain(text), **options)
            return found

    return Inert


@contextlib.contextmanager
def progress_bars(*, quiet: bool) -> "Iterator[ProgressPort]":
    """Bars with an ETA on a terminal, a line every ten seconds in a log, nothing when quiet."""
    out = error_console()
    if quiet:
        from ragtrial.contracts import no_progress

        yield no_progress
    elif not out.is_terminal:
        yield _lines(out)
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=out, expand=False) as bars:
            yield _bars(bars)


def _bars(bars: "Progress") -> "ProgressPort":
    def begin(description: str, total: int) -> Callable[[int], None]:
        task = bars.add_task(description, total=total)
        return lambda done: bars.advance(task, done)

    return begin


def _lines(out: "Console") -> "ProgressPort":
    def begin(description: str, total: int) -> Callable[[int], None]:
        start = last = time.monotonic()
        count = 0
        out.print(f"{description}: {total:,} to do", markup=False)

        def advance(done: int) -> None:
            nonlocal count, last
            if not done:
                return
            count += done
            now = time.monotonic()
            if now - last >= _LOG_EVERY_S or count >= total:
                last = now
                left = (now - start) * (total - count) / count
                rest = f"ETA {left:.0f} s" if count < total else f"done in {now - start:.1f} s"
                out.print(f"{description}: {count:,} of {total:,}, {rest}", markup=False)

        return advance

    return begin
