"""The report's charts as Vega-Lite specifications (dicts), for a page or a dashboard.

Every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`. Arms differ in
colour and in shape: the control is a circle, the treatment a square, reference lines are triangles and diamonds.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ragtrial.domain.metric import Metric
from ragtrial.domain.outcome import TIE
from ragtrial.domain.verdict import Comparison, Slice
from ragtrial.report import words
from ragtrial.report.cost_words import STAGE_NAMES, timed
from ragtrial.report.drawing import (
    FONT,
    Look,
    Spec,
    axis_name,
    finished,
    marked_line,
    name_axis,
    spec_of,
    title_of,
    unit_of,
    value_axis,
    values,
)
from ragtrial.report.examples import QueryDifference
from ragtrial.report.summary import StageLatency
from ragtrial.report.words import Estimated

MOST_SLICES = 30
"""More rows than this nobody reads off a chart: the table has them all."""

_SHAPES = ["circle", "square", "triangle-up", "diamond"]


def primary_effect(metric: Metric, effect: Estimated, *, min_effect: float, level: str, look: Look) -> Spec:
    """The effect with its interval, on an axis with 0 and the smallest gain that is worth it.

    Args:
        metric: The primary metric.
        effect: Its difference with an interval.
        min_effect: The margin, positive.
        level: What the interval covers, e.g. `95%`.
        look: Colours and width.
    """
    sign = 1 if metric.higher_is_better else -1
    margin = sign * min_effect
    span = [effect.low, effect.high, 0.0, margin, -margin]
    reach = max(span) - min(span)
    domain = [min(span) - 0.08 * reach, max(span) + 0.08 * reach]
    title = title_of(f"difference in {axis_name(metric)}", look)
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=domain, nice=False, zero=False), axis=value_axis(look))
    row = {"low": effect.low, "high": effect.high, "estimate": effect.estimate, "label": words.signed(effect.estimate, metric)}
    zone = alt.Chart(values([{"low": min(margin, -margin), "high": max(margin, -margin)}])).mark_rect(color=look.zone)
    base = alt.Chart(values([row]))
    layers = [
        zone.encode(x=x, x2="high:Q"),
        *marked_line(0.0, "no difference", domain, top=True, look=look),
        *marked_line(margin, f"worth having: {words.signed(margin, metric)}", domain, top=False, look=look),
        base.mark_rule(color=look.custom, size=4, strokeCap="round").encode(x=x, x2="high:Q", y=alt.value(44)),
        base.mark_point(color=look.custom, shape="square", filled=True, size=150, opacity=1).encode(x="estimate:Q", y=alt.value(44)),
        base.mark_text(color=look.ink, dy=-18, fontSize=14, fontWeight=700).encode(x="estimate:Q", y=alt.value(44), text="label:N"),
    ]
    description = (
        f"{metric.name}: difference {words.difference(effect, metric)}, {level} interval; 0 is no difference, "
        f"worth having from {words.signed(margin, metric)}."
    )
    return spec_of(alt.layer(*layers), look, height=84, description=description)


def forest(comparisons: Sequence[Comparison], *, alpha: float, level: str, look: Look) -> Spec:
    """Effects with intervals of all metrics that are shares and have one; filled: shown beyond chance at `alpha`."""
    shown = [(c, c.effect) for c in comparisons if c.effect is not None and c.metric.unit == "share"]
    rows = [
        {
            "name": c.metric.name + (", decides" if c.role == "primary" else "" if c.metric.higher_is_better else " (lower is better)"),
            "role": c.role,
            "low": effect.low,
            "high": effect.high,
            "estimate": effect.estimate,
            "value": words.difference(effect, c.metric),
            "shown": words.beyond_chance(c, alpha=alpha) != 0,
        }
        for c, effect in shown
    ]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    return _intervals(
        rows,
        look=look,
        title="difference, custom minus baseline (shares of 0 to 1)",
        description=f"Differences with {level} intervals: {said}.",
        primary="primary",
    )


def slice_effects(slices: Sequence[Slice], metric: Metric, *, alpha: float, level: str, look: Look) -> Spec:
    """The primary metric's effect on each slice that was tested; of many, those with the most queries. Filled: adjusted p below `alpha`."""
    tested = [(part, part.effect) for part in slices if part.effect is not None]
    largest = sorted(tested, key=lambda row: -row[0].n_scored)[:MOST_SLICES]
    kept = [row for row in tested if row in largest]
    values_ = [part.value for part, _ in kept]
    rows = [
        {
            "name": _slice_name(part, values_, look),
            "role": "slice",
            "low": effect.low,
            "high": effect.high,
            "estimate": effect.estimate,
            "value": words.difference(effect, metric),
            "shown": words.slice_shown(part, alpha=alpha),
        }
        for part, effect in kept
    ]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    title = f"difference in {axis_name(metric)}"
    return _intervals(rows, look=look, title=title, description=f"Differences in {metric.name} with {level} intervals: {said}.", primary="")


def _slice_name(part: Slice, values_: Sequence[str], look: Look) -> str:
    """Tag, value and queries; where there is little room, the tag only where another one has the same value."""
    if not look.narrow:
        return f"{part.tag}: {part.value} (n = {part.n_scored})"
    return f"{part.value} ({part.n_scored})" if values_.count(part.value) == 1 else f"{part.value}, {part.tag} ({part.n_scored})"


def _intervals(rows: list[dict[str, Any]], *, look: Look, title: str, description: str, primary: str) -> Spec:
    """A row for each estimate: its interval, its point, and its value where there is room."""
    order = [row["name"] for row in rows]
    bounds = [0.0, *(row["low"] for row in rows), *(row["high"] for row in rows)]
    reach = max(bounds) - min(bounds) or 1.0
    domain = [min(bounds) - 0.05 * reach, max(bounds) + 0.05 * reach]
    x = alt.X("low:Q", title=title_of(title, look), scale=alt.Scale(domain=domain, nice=False, zero=False), axis=value_axis(look))
    y = alt.Y("name:N", sort=order, axis=name_axis(order, look))
    base = alt.Chart(values(rows)).encode(y=y)
    colour = alt.condition("datum.shown", alt.value(look.custom), alt.value(look.muted))
    fill = alt.condition("datum.shown", alt.value(look.custom), alt.value(look.surface))
    layers = [
        alt.Chart(values([{"at": 0.0}])).mark_rule(color=look.ink, size=1.2).encode(x="at:Q"),
        base.mark_rule(size=2.5, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.mark_point(shape="square", size=75, strokeWidth=2, opacity=1).encode(x="estimate:Q", stroke=colour, fill=fill),
    ]
    if primary:
        layers.append(
            base.transform_filter(alt.datum.role == primary).mark_rule(size=5, strokeCap="round").encode(x=x, x2="high:Q", color=colour)
        )
    chart = alt.layer(*layers)
    if look.narrow:
        return spec_of(chart, look, height=alt.Step(30), description=description)
    texts = (
        alt.Chart(values(rows))
        .mark_text(align="left", color=look.ink, font=FONT)
        .encode(x=alt.value(0), y=alt.Y("name:N", sort=order, axis=None), text="value:N")
    )
    side = texts.properties(width=190, height=alt.Step(30))
    left = chart.properties(width=look.width - 190 - name_axis(order, look).minExtent - 30, height=alt.Step(30))
    return finished(alt.hconcat(left, side, spacing=14), look, description)


def win_loss(differences: Sequence[QueryDifference], metric: Metric, *, look: Look) -> Spec:
    """The gain of each query, the largest first: how many queries win, and by how much."""
    wins = sum(row.gain > TIE for row in differences)
    losses = sum(row.gain < -TIE for row in differences)
    return sorted_gains([(i, row.gain) for i, row in enumerate(differences)], metric, counts=(wins, losses, len(differences)), look=look)


def sorted_gains(points: Sequence[tuple[int, float]], metric: Metric, *, counts: tuple[int, int, int], look: Look) -> Spec:
    """The sorted gains, all of them or some on the way from the first to the last.

    Args:
        points: Place, from 0 for the largest gain, and gain; each holds until the next one's place.
        metric: What was gained.
        counts: Queries that gain, queries that lose, and queries in all.
        look: Colours and width.
    """
    wins, losses, n = counts
    rows = [{"rank": place, "gain": gain} for place, gain in points]
    if rows:
        rows.append({"rank": n, "gain": rows[-1]["gain"]})
    x = alt.X(
        "rank:Q",
        title=title_of(f"queries, from the largest gain to the largest loss (n = {n})", look),
        scale=alt.Scale(domain=[0, max(n, 1)], nice=False),
        axis=value_axis(look, grid=False),
    )
    base = alt.Chart(values(rows))
    gained = base.transform_calculate(up="max(datum.gain, 0)", down="min(datum.gain, 0)")
    title = f"gain in {metric.name} ({words.UNITS.get(metric.unit, metric.unit)})"
    y = alt.Y("up:Q", title=title, axis=value_axis(look))
    layers = [
        gained.mark_area(interpolate="step-after", color=look.custom, opacity=1).encode(x=x, y=y),
        gained.mark_area(interpolate="step-after", color=look.baseline, opacity=1).encode(x=x, y=alt.Y("down:Q", title=title)),
        alt.Chart(values([{"at": 0.0}])).mark_rule(color=look.ink, size=1).encode(y="at:Q"),
        _corner(f"custom better on {wins:,}", at=n, low=False, look=look),
        _corner(f"baseline better on {losses:,}", at=0, low=True, look=look),
    ]
    description = f"Gain in {metric.name} of each of {n} queries, sorted: {wins} gain, {losses} lose, {n - wins - losses} are the same."
    return spec_of(alt.layer(*layers), look, height=200, description=description)


def _corner(said: str, *, at: int, low: bool, look: Look) -> Any:
    """A name for one half of the sorted differences, in the corner that they leave free."""
    text = alt.Chart(values([{"rank": at}])).mark_text(
        align="left" if low else "right", dx=6 if low else -6, color=look.ink, fontWeight=600
    )
    return text.encode(x="rank:Q", y=alt.value(188 if low else 12), text=alt.value(said))


def means(comparison: Comparison, *, baseline: str, custom: str, look: Look) -> Spec:
    """The mean of both arms and the reference lines on one metric, on an axis from 0.

    Args:
        comparison: The metric.
        baseline: The control's name.
        custom: The treatment's name.
        look: Colours and width.
    """
    metric = comparison.metric
    found = [
        (baseline, comparison.baseline.mean, look.baseline, "circle"),
        (custom, comparison.custom.mean, look.custom, "square"),
        *(
            (name, mean, look.reference, "diamond" if name == "shuffled-context" else "triangle-up")
            for name, mean in comparison.references.items()
        ),
    ]
    scored = [(name, mean, colour, shape) for name, mean, colour, shape in found if mean is not None]
    rows = [
        {"line": name, "mean": mean, "value": words.number(mean, metric), "colour": colour, "shape": shape}
        for name, mean, colour, shape in scored
    ]
    order = [name for name, *_ in scored]
    largest = max((mean for _, mean, *_ in scored), default=0.0) or 1.0
    domain = [0, largest * (1.3 if look.narrow else 1.15)]  # room for the last value
    y = alt.Y("line:N", sort=order, axis=name_axis(order, look))
    title = title_of(f"mean {metric.name} ({unit_of(metric)}; n = {comparison.n_scored})", look)
    x = alt.X("mean:Q", title=title, scale=alt.Scale(domain=domain, nice=False), axis=value_axis(look))
    base = alt.Chart(values(rows)).encode(y=y)
    stroke = alt.Color("colour:N", scale=None)
    shape = alt.Shape("shape:N", scale=alt.Scale(domain=_SHAPES, range=_SHAPES), legend=None)
    layers = [
        base.mark_rule(size=2, opacity=0.5).encode(x=alt.X("zero:Q", title=title), x2="mean:Q", color=stroke).transform_calculate(zero="0"),
        base.mark_point(filled=True, size=130, opacity=1).encode(x=x, color=stroke, shape=shape),
        base.mark_text(align="left", dx=12, color=look.ink, fontWeight=600).encode(x=x, text="value:N"),
    ]
    said = ", ".join(f"{row['line']} {row['value']}" for row in rows)
    return spec_of(alt.layer(*layers), look, height=alt.Step(34), description=f"Mean {metric.name}: {said} (n = {comparison.n_scored}).")


def latency(rows: Sequence[StageLatency], *, baseline: str, custom: str, look: Look, asked: str = "queries asked alone") -> Spec:
    """p50, p95 and p99 of every stage and arm that was timed; `asked` says what the timings are of."""
    found = [(row, row.quantiles) for row in rows if row.quantiles is not None]
    data = [
        {
            "stage": STAGE_NAMES[row.stage],
            "arm": row.arm,
            "p50": q.p50,
            "p95": q.p95,
            "p99": q.p99,
            "n": q.n,
            "value": words.milliseconds(q.p50),
        }
        for row, q in found
    ]
    n = timed([row for row, _ in found], (baseline, custom), asked)
    order = [STAGE_NAMES[stage] for stage in STAGE_NAMES if any(row.stage == stage for row, _ in found)]
    arms = alt.Scale(domain=[baseline, custom], range=[look.baseline, look.custom])
    legend = alt.Legend(title=None, orient="top", symbolSize=110, symbolOpacity=1)
    y = alt.Y("stage:N", sort=order, axis=name_axis(order, look), scale=alt.Scale(paddingInner=0.25, paddingOuter=0.2))
    offset = alt.YOffset("arm:N", sort=[baseline, custom])
    colour = alt.Color("arm:N", scale=arms, legend=legend)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=[baseline, custom], range=["circle", "square"]), legend=legend)
    title = title_of(f"milliseconds (filled mark p50, bar p95, ring p99; {n})", look)
    x = alt.X("p50:Q", title=title, scale=alt.Scale(zero=True, nice=True), axis=value_axis(look))
    base = alt.Chart(values(data)).encode(y=y, yOffset=offset)
    layers = [
        base.mark_rule(size=3, opacity=0.45).encode(x=x, x2="p99:Q", color=colour),
        base.mark_tick(thickness=2.5, size=12).encode(x=alt.X("p95:Q", title=title), color=colour),
        base.mark_point(filled=False, size=40, strokeWidth=1.8, fill=look.surface, opacity=1, shape="circle").encode(
            x=alt.X("p99:Q", title=title), color=colour
        ),
        base.mark_point(filled=True, size=100, opacity=1).encode(x=x, color=colour, shape=shape),
    ]
    said = "; ".join(
        f"{row.arm}, {STAGE_NAMES[row.stage]}: p50 {words.milliseconds(q.p50)}, p95 {words.milliseconds(q.p95)}, p99 {words.milliseconds(q.p99)}"
        for row, q in found
    )
    return spec_of(alt.layer(*layers), look, height=alt.Step(22), description=f"Latency ({n}). {said}.")
