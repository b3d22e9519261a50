"""Charts of what the arms cost: the whole distribution of the waiting time, and the room that an index takes.

As in `charts`: every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ragtrial.report import words
from ragtrial.report.cost_words import IndexSize, timed
from ragtrial.report.drawing import Look, Spec, name_axis, spec_of, title_of, value_axis, values
from ragtrial.report.summary import StageLatency

_BEYOND_P95 = 1.7
"""How far the axis goes, in times of the slower arm's p95: a single slow answer would press all others to the left."""

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def waits(rows: Sequence[StageLatency], *, baseline: str, custom: str, asked: str, look: Look) -> Spec:
    """Which share of the queries is answered within so many milliseconds.

    Args:
        rows: One stage of both arms; those without timings are left out.
        baseline: The control's name.
        custom: The treatment's name.
        asked: What the timings are of, as in `queries asked alone`.
        look: Colours and width.
    """
    found = [(row, row.quantiles) for row in rows if row.quantiles is not None and row.sample_ms]
    points = [
        {"arm": row.arm, "ms": ms, "share": (place + 1) / len(row.sample_ms)} for row, _ in found for place, ms in enumerate(row.sample_ms)
    ]
    reach = max((min(row.sample_ms[-1], _BEYOND_P95 * q.p95) for row, q in found), default=1.0)
    scale = alt.Scale(domain=[0, reach * 1.02], nice=False, clamp=True)
    n = timed([row for row, _ in found], (baseline, custom), asked)
    x = alt.X("ms:Q", title=title_of(f"milliseconds from query to answer ({n})", look), scale=scale)
    x.axis = value_axis(look)
    axis = value_axis(look)
    axis.format, axis.values = ".0%", [0, 0.25, 0.5, 0.75, 0.95]
    y = alt.Y("share:Q", title="answered by then", scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)
    legend = alt.Legend(title=None, orient="top", symbolSize=110, symbolOpacity=1)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=[baseline, custom], range=[look.baseline, look.custom]), legend=legend)
    marks = [{"arm": row.arm, "ms": q.p95, "share": 0.95} for row, q in found]
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=[baseline, custom], range=["circle", "square"]), legend=legend)
    layers = [
        alt.Chart(values(points)).mark_line(interpolate="step-after", strokeWidth=2.5, clip=True).encode(x=x, y=y, color=colour),
        alt.Chart(values(marks)).mark_point(filled=True, size=100, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ]
    said = "; ".join(f"{row.arm} half within {words.milliseconds(q.p50)}, 95% within {words.milliseconds(q.p95)}" for row, q in found)
    return spec_of(alt.layer(*layers), look, height=250, description=f"Share of queries answered by a time ({n}): {said}.")


def index_sizes(sizes: Sequence[IndexSize], *, look: Look) -> Spec:
    """What an index takes as it is, and what its vectors would take in other forms.

    Args:
        sizes: The first is the index as it is.
        look: Colours and width.
    """
    names = [each.form for each in sizes]
    largest = max((each.bytes for each in sizes), default=0)
    scale, unit = next((each for each in _UNITS if largest >= each[0]), _UNITS[-1])
    rows = [
        {"form": each.form, "size": each.bytes / scale, "said": words.size(each.bytes), "now": place == 0}
        for place, each in enumerate(sizes)
    ]
    domain = [0, (largest or 1) / scale * (1.4 if look.narrow else 1.2)]  # room for the largest one's label
    x = alt.X("size:Q", title=f"size of the vectors ({unit})", scale=alt.Scale(domain=domain, nice=False), axis=value_axis(look))
    y = alt.Y("form:N", sort=names, axis=name_axis(names, look), scale=alt.Scale(paddingInner=0.45, paddingOuter=0.2))
    base: Any = alt.Chart(values(rows)).encode(x=x, y=y)
    filled = alt.condition("datum.now", alt.value(look.custom), alt.value(look.reference))
    layers = [
        base.mark_bar(cornerRadiusEnd=3).encode(color=filled),
        base.mark_text(align="left", dx=7, color=look.ink).encode(text="said:N"),
    ]
    said = ", ".join(f"{each.form} {words.size(each.bytes)}" for each in sizes)
    return spec_of(alt.layer(*layers), look, height=alt.Step(38), description=f"Size of custom's vectors: {said}.")
