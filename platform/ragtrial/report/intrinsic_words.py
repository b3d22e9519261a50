"""An intrinsic evaluation in words, in a terminal and as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ragtrial.domain.estimate import Estimate
from ragtrial.domain.intrinsic import Intrinsic, JudgedPair, Measured
from ragtrial.report import assessment_words as said
from ragtrial.report import words
from ragtrial.report.terminal_table import as_text

FORM = 1
"""Counted up when the JSON changes its shape."""

SECTIONS = (
    ("terms", "Term pairs"),
    ("groups", "Topics"),
    ("space", "Use of the space"),
    ("sts", "Similarity judgments"),
    ("general", "General text"),
)
_MOST_PAIRS = 12
_ROOMY = 110
"""Columns from which an interval stands beside its number, and not under it."""
_WITHOUT_INTERVAL = "no interval is computed for it"


def as_dict(found: Intrinsic) -> dict[str, Any]:
    """The evaluation as JSON has it; what was not measured is null, with its reason beside it."""
    return {"form": FORM, **dataclasses.asdict(found)}


def value(estimate: Estimate | None, *, between: str = " ") -> str:
    """A value with its interval; a dash where there is none (the reason stands in a line of its own)."""
    if estimate is None or estimate.value is None:
        return words.NOTHING
    interval = "" if estimate.low is None else f"{between}{said.interval(estimate, digits=3)}"
    return f"{estimate.value:.3f}{interval}"


def change(measured: Measured, *, between: str = " ") -> str:
    """The difference from the base."""
    if measured.change is None or measured.change.value is None:
        return words.NOTHING
    interval = "" if measured.change.low is None else f"{between}{said.interval(measured.change, signed=True, digits=3)}"
    return f"{measured.change.value:+.3f}{interval}"


def reasons(rows: Sequence[Measured]) -> list[str]:
    """Why something has no value or no interval, once each."""
    found = [
        f"{row.name}: {'no value' if estimate.value is None else 'no interval'}, {estimate.reason}"
        for row in rows
        for estimate in (row.value, row.before, row.change)
        if estimate is not None and estimate.reason is not None and estimate.reason != _WITHOUT_INTERVAL
    ]
    return list(dict.fromkeys(found))


def pair(row: JudgedPair) -> str:
    """One term pair on the wrong side, before and after."""
    kind, other = ("near", "far") if row.pair.near else ("far", "near")
    relation = "at least as similar" if row.pair.near else "at most as similar"
    before = "" if row.before is None else f" (base: {row.before:.2f}, {row.wrong_before} of {row.n_other})"
    note = f"; {row.pair.note}" if row.pair.note else ""
    return (
        f"{row.pair.left} / {row.pair.right} should be {kind}: similarity {row.similarity:.2f}, "
        f"{row.wrong} of {row.n_other} {other} pairs are {relation}{before}{note}"
    )


def render_intrinsic(found: Intrinsic, console: Console) -> None:
    """Print it; nothing is said by colour alone."""
    against = "alone" if found.base is None else f"beside its base {found.base}"
    console.print(as_text(f"{found.model}, {against}", "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("property", overflow="fold")
    between = " " if console.width >= _ROOMY else "\n"
    for name in ("base", "model", f"change,{between}{found.level:.0%} interval"):
        table.add_column(name, justify="right", no_wrap=True)
    notes: list[str] = []
    for field, heading in SECTIONS:
        rows: tuple[Measured, ...] = getattr(found, field)
        if rows:
            table.add_row(as_text(heading, "dim italic"))
        for row in rows:
            base, model, changed = value(row.before, between=between), value(row.value, between=between), change(row, between=between)
            table.add_row(as_text(row.name), base, model, Text(changed, style=style(row)))
        notes += reasons(rows)
    console.print(table)
    console.print(as_text(f"general text: {found.general_source}.", "dim"))
    wrong = [row for row in found.pairs if row.wrong]
    if found.pairs:
        console.print(as_text(f"{len(wrong)} of {len(found.pairs)} term pairs have pairs of the other kind on their wrong side."))
    for judged in wrong[:_MOST_PAIRS]:
        console.print(as_text(f"  {pair(judged)}"))
    if len(wrong) > _MOST_PAIRS:
        console.print(as_text(f"  ... and {len(wrong) - _MOST_PAIRS} more (intrinsic.json has them all)"))
    for line in (*notes, *found.excluded):
        console.print(as_text(f"note: {line}.", "dim"))
    for line in found.warnings:
        console.print(as_text(f"warning: {line}.", "yellow"))


def style(row: Measured) -> str:
    """Colour of a change beyond chance: better or worse, where one way is better."""
    if row.change is None or row.better == "none":
        return ""
    moved = said.direction(row.change)
    if row.better == "lower":
        moved = -moved
    return {1: "green", -1: "red", 0: ""}[moved]
