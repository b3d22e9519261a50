"""How `ragtrial index --estimate` is printed."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ragtrial.cli.terminal import console, progress_bars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ragtrial.index.estimates import IndexSize
    from ragtrial.suite.estimating import ArmEstimate, Estimate

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_HOUR, _MINUTE = 3600, 60


def print_estimate(experiment: Path, *, quiet: bool, as_json: bool) -> None:
    """Estimate what indexing will take, and print it."""
    from ragtrial.cli.quantizing import table
    from ragtrial.settings import read_settings
    from ragtrial.suite.estimating import estimate
    from ragtrial.suite.preparing import prepare

    with progress_bars(quiet=quiet or as_json) as progress:
        found = estimate(prepare(experiment, settings=read_settings()), progress=progress)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    out = console()
    headings = ("arm", "dimensions", "index", "vectors", "memory", "disk", "time to embed")
    table(out, headings, [_arm(arm) for arm in found.arms])
    for sizes, arms in _alike(found.arms).items():
        out.print(
            f"\n{' and '.join(arm.arm for arm in arms)}: what each type of index would take, one replica, without texts", markup=False
        )
        chosen = {arm.index_type for arm in arms}
        rows = [(f"{'* ' if size.type in chosen else '  '}{size.type}", in_units(size.memory), in_units(size.disk)) for size in sizes]
        table(out, ("type", "memory", "index on disk"), rows)
    out.print()
    for line in sentences(found):
        out.print(line, markup=False, soft_wrap=True)


def _alike(arms: "Iterable[ArmEstimate]") -> "dict[tuple[IndexSize, ...], list[ArmEstimate]]":
    """Arms with vectors, by what the types would take: most often both take the same."""
    found: dict[tuple[IndexSize, ...], list[ArmEstimate]] = {}
    for arm in arms:
        if arm.types:
            found.setdefault(arm.types, []).append(arm)
    return found


def sentences(found: "Estimate") -> list[str]:
    """What the table doesn't hold."""
    lines = [
        f"{found.n_passages:,} passages in each collection; texts, titles and ids: {in_units(found.text_bytes)}, held in memory with the vectors."
    ]
    if found.store == "server":
        mapped = "; mapped from disk, what is held is cache" if found.mapped else ""
        lines.append(
            f"query nodes together: {in_units(found.loaded_bytes)} loaded ({found.replicas} replica{'s' if found.replicas > 1 else ''}){mapped}, "
            f"{in_units(found.node_bytes)} with head room, {in_units(found.swap_bytes)} while a new collection is loaded before an alias moves."
        )
    lines += [
        f"{arm.arm} searches the collection of {arm.same_as}, which is counted once." for arm in found.arms if arm.same_as is not None
    ]
    lines += [f"{arm.arm}: {arm.model}, {arm.metric} over {arm.vectors}; time to embed: {arm.embed_reason}." for arm in found.arms]
    return [*lines, f"advice: {found.advice}."]


def in_units(size: float) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit in _UNITS:
        if abs(size) < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _arm(arm: "ArmEstimate") -> tuple[str, ...]:
    sizes = (in_units(size) for size in (arm.raw_bytes, arm.memory_bytes, arm.disk_bytes))
    return (arm.arm, f"{arm.dimension:,}", arm.index_type, *sizes, _span(arm.embed_seconds))


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds >= _HOUR:
        return f"about {seconds / _HOUR:.1f} h"
    return f"about {seconds / _MINUTE:.0f} min" if seconds >= _MINUTE else f"about {seconds:.0f} s"
