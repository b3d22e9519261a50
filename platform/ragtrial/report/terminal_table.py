"""What results in a terminal share: texts of others as they are, and a table of metrics that breaks no name where it is narrow."""

from collections.abc import Callable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragtrial.report import words

Form = Literal["roomy", "line", "stacked"]
"""How it is laid out: with everything; with what decides; the same on two lines, the means under the name."""

_ROOMY = 116
"""Columns from which both means may stand apart, with BM25, unadjusted p, and wins, ties and losses."""
_UNBOUND = 10_000


def as_text(said: str, style: str = "") -> Text:
    """Data is no mark-up and no command to the terminal."""
    return Text(words.plain(said), style=style)


def whole(draw: Callable[[Form], Table], console: Console) -> Table:
    """The table in the roomiest form whose rows fit as they are; headings may be folded, and below some 60 columns numbers.

    Args:
        draw: The table, made by `metric_table`, in a form.
        console: Where it will be printed.
    """
    forms: tuple[Form, ...] = ("roomy", "line") if console.width >= _ROOMY else ("line",)
    for form in forms:
        table = draw(form)
        if _body(table, console) <= console.width:
            return table
    table = draw("stacked")
    names, *numbers = table.columns
    longest = max((cell_len(line) for cell in names.cells for line in str(cell).splitlines()), default=1)
    names.header = Text("\n").join(as_text(str(names.header)).wrap(console, longest))
    for column in numbers if _body(table, console) > console.width else ():
        column.no_wrap = False  # a number on two lines is still a number; one that is cut off is another one
    return table


def _body(table: Table, console: Console) -> int:
    """The columns that its rows need."""
    table.show_header = False
    needed = console.measure(table, options=console.options.update_width(_UNBOUND)).maximum
    table.show_header = True
    return needed


def metric_table(form: Form, *, means: Sequence[str], numbers: Sequence[str]) -> Table:
    """The table before its rows.

    Args:
        form: How it is laid out.
        means: Headings of the columns with means.
        numbers: Headings of what comes after them.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2 if form == "roomy" else 1, 0, 0), header_style="bold")
    if form == "stacked":
        table.add_column(as_text("\n  ".join(("metric", *(name.replace("\n", " ") for name in means)))), no_wrap=True)
        numbers = [name.replace(", ", ",\n") for name in numbers]
    else:
        table.add_column("metric", no_wrap=True)
        for name in means:
            table.add_column(as_text(name), justify="right", overflow="fold")
    for name in numbers:
        table.add_column(as_text(name), justify="right", overflow="fold", no_wrap=True)
    return table


def stacked(cells: Sequence[Text]) -> list[Text]:
    """A row (name, means, difference with its interval, and more) on two lines: the means under the name, the interval under the estimate."""
    name, means, change, *rest = cells
    estimate, bracket, interval = change.plain.partition(" [")
    below = Text(f"{estimate}\n[{interval}", style=change.style) if bracket else change
    return [Text.assemble(name, "\n  ", means), below, *rest]
