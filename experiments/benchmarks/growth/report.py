"""The table and the picture of what was measured."""

from collections.abc import Sequence
from pathlib import Path

from growth.fitting import Growth, fit, medians
from growth.picture import written
from growth.plan import STEPS
from growth.results import Measured

TELLING = 100_000
"""Below this size fixed costs are most of what is measured."""


def fits(found: Sequence[Measured]) -> dict[str, Growth]:
    """Of each step that was measured at two sizes or more, in the plan's order."""
    made = {name: fit(_points(found, name)) for name in STEPS}
    return {name: growth for name, growth in made.items() if growth is not None}


def draw(found: Sequence[Measured], path: Path) -> bool:
    """Write the picture, as SVG or PNG by its name; whether there was something to draw: a step with two sizes."""
    growths = fits(found)
    if growths:
        written(growths, {name: _relative(found, name) for name in growths}, path)
    return bool(growths)


def table(found: Sequence[Measured]) -> str:
    """For a terminal."""
    rows = _rows(found)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for head, *others in rows:
        lines.append("  ".join([head.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]))
    bounds = [f"{STEPS[name].title}: {STEPS[name].bound}" for name in STEPS if _points(found, name)]
    return "\n".join([*lines, "", "What bounds it:", *(f"  {line}" for line in bounds)])


def markdown(found: Sequence[Measured]) -> str:
    """For a page."""
    head, *rows = _rows(found)
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}", *(f"| {' | '.join(row)} |" for row in rows)]
    bounds = ["| step | what is timed | what bounds it | peer |", "|---|---|---|---|"]
    for name, step in STEPS.items():
        if _points(found, name):
            bounds.append(f"| {step.title} | {step.work} | {step.bound} | {step.peer or 'none'} |")
    largest = max(each.size for each in found)
    short = f" **This run ended at {largest:,}: it shows the form of the result, not the growth.**" if largest < TELLING else ""
    return "\n".join([f"Measured on {found[0].machine}.{short}", "", *lines, "", *bounds, "", *_memory(found)])


def _points(found: Sequence[Measured], step: str) -> list[tuple[int, float]]:
    return [(each.size, each.seconds) for each in found if each.step == step]


def _relative(found: Sequence[Measured], step: str) -> dict[int, float]:
    """Times over that of the smallest size."""
    middle = medians(_points(found, step))
    first = next(iter(middle.values()), 1.0)
    return {size: seconds / first for size, seconds in middle.items()}


def _rows(found: Sequence[Measured]) -> list[list[str]]:
    sizes = sorted({each.size for each in found})
    rows = [["step", *(_short(size) for size in sizes), "exponent (95 %)", "last", "of peer's time"]]
    for name, step in STEPS.items():
        relative, growth = _relative(found, name), fit(_points(found, name))
        if relative:
            cells = [f"{relative[size]:.3g}" if size in relative else "" for size in sizes]
            rows.append([step.title, *cells, *_exponent(growth), _peer(found, name)])
    return rows


def _exponent(growth: Growth | None) -> tuple[str, str]:
    if growth is None:
        return "one size", ""
    if growth.low is None:
        return f"{growth.exponent:z.2f} (two sizes)", f"{growth.last:z.2f}"
    return f"{growth.exponent:z.2f} ({growth.low:z.2f} to {growth.high:z.2f})", f"{growth.last:z.2f}"


def _peer(found: Sequence[Measured], step: str) -> str:
    """The ratio at the largest size at which the peer ran."""
    ratios = [(each.size, each.seconds / each.peer_seconds) for each in found if each.step == step and each.peer_seconds]
    if not ratios:
        return ""
    size, ratio = list(medians(ratios).items())[-1]
    return f"{ratio:,.0f} at {_short(size)}" if ratio >= 100 else f"{ratio:.2g} at {_short(size)}"


def _memory(found: Sequence[Measured]) -> list[str]:
    """What memory and recall came to at the largest sizes, in sentences."""
    said = []
    for name, step in STEPS.items():
        mine = [each for each in found if each.step == name]
        if not mine:
            continue
        first, last = min(mine, key=lambda each: each.size), max(mine, key=lambda each: each.size)
        if "loaded_mib" in last.detail:
            more = last.detail["loaded_mib"] - last.detail["idle_mib"]
            said.append(
                f"- {step.title}: the server's process grew by {more:,.0f} MiB with {last.size:,} passages loaded (index by formula: "
                f"{last.detail['estimate_mib']:,.0f} MiB; what was written and not given back yet is in it)."
            )
        elif last.memory_mib is not None:
            said.append(
                f"- {step.title}: Python's peak was {first.memory_mib:,.0f} MiB at {first.size:,} and {last.memory_mib:,.0f} MiB at {last.size:,} {step.unit}."
            )
        if "recall" in last.detail:
            said.append(
                f"- {step.title}: recall of the exact top 10 {last.detail['recall']:.3f} at {last.size:,}, {first.detail['recall']:.3f} at {first.size:,}."
            )
    return said


def _short(size: int) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and size % (unit // 10) == 0:
            return f"{size / unit:g}{name}"
    return str(size)
