"""The report's charts as Vega-Lite specifications (dicts), for a page or a dashboard.

Every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`. Arms differ in
colour and in shape: the control is a circle, the treatment a square, reference lines are triangles and diamonds.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Comparison, Effect, Slice
from ragtrial.report import words
from ragtrial.report.content import StageLatency
from ragtrial.report.examples import TIE, QueryDifference

Spec = dict[str, Any]

MOST_SLICES = 30
"""More rows than this nobody reads off a chart: the table has them all."""

_WIDE = 560
_SHAPES = ["circle", "square", "triangle-up", "diamond"]
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Colours and width of a chart.

    Attributes:
        ink: Text.
        muted: Axes, labels, what is not shown beyond chance.
        line: Grid.
        surface: What the chart lies on; fills marks that are hollow.
        baseline: The control.
        custom: The treatment.
        reference: Reference lines.
        zone: Shade of effects too small to be worth it.
        width: Of the whole chart, in pixels.
    """

    ink: str
    muted: str
    line: str
    surface: str
    baseline: str
    custom: str
    reference: str
    zone: str
    width: int = 720

    @property
    def narrow(self) -> bool:
        """Too narrow for values beside the marks."""
        return self.width < _WIDE


LIGHT = Look(
    ink="#16202c",
    muted="#5a6675",
    line="#e4e8ed",
    surface="#ffffff",
    baseline="#3d6f99",
    custom="#d55e00",
    reference="#7b8694",
    zone="#f0f2f5",
)
DARK = Look(
    ink="#e8edf3",
    muted="#9aa7b6",
    line="#2c3643",
    surface="#171e27",
    baseline="#7db4de",
    custom="#f0a13a",
    reference="#98a4b2",
    zone="#212a35",
)


def primary_effect(comparison: Comparison, effect: Effect, *, min_effect: float, level: str, look: Look) -> Spec:
    """The effect with its interval, on an axis with 0 and the smallest gain that is worth it.

    Args:
        comparison: The primary metric.
        effect: Its effect.
        min_effect: The margin, positive.
        level: What the interval covers, e.g. `95%`.
        look: Colours and width.
    """
    metric = comparison.metric
    sign = 1 if metric.higher_is_better else -1
    margin = sign * min_effect
    span = [effect.low, effect.high, 0.0, margin, -margin]
    reach = max(span) - min(span)
    domain = [min(span) - 0.08 * reach, max(span) + 0.08 * reach]
    title = _title(f"difference in {_axis_name(metric)}", look)
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=domain, nice=False, zero=False), axis=_value_axis(look))
    row = {"low": effect.low, "high": effect.high, "estimate": effect.estimate, "label": words.signed(effect.estimate, metric)}
    zone = alt.Chart(_values([{"low": min(margin, -margin), "high": max(margin, -margin)}])).mark_rect(color=look.zone)
    base = alt.Chart(_values([row]))
    layers = [
        zone.encode(x=x, x2="high:Q"),
        *_marked_line(0.0, "no difference", domain, top=True, look=look),
        *_marked_line(margin, f"worth having: {words.signed(margin, metric)}", domain, top=False, look=look),
        base.mark_rule(color=look.custom, size=4, strokeCap="round").encode(x=x, x2="high:Q", y=alt.value(44)),
        base.mark_point(color=look.custom, shape="square", filled=True, size=150, opacity=1).encode(x="estimate:Q", y=alt.value(44)),
        base.mark_text(color=look.ink, dy=-18, fontSize=14, fontWeight=700).encode(x="estimate:Q", y=alt.value(44), text="label:N"),
    ]
    description = (
        f"{metric.name}: difference {words.difference(effect, metric)}, {level} interval; 0 is no difference, "
        f"worth having from {words.signed(margin, metric)}."
    )
    return _spec(alt.layer(*layers), look, height=84, description=description)


def _marked_line(at: float, said: str, domain: Sequence[float], *, top: bool, look: Look) -> list[Any]:
    """A vertical line with its name, on the side of it that has more room."""
    base = alt.Chart(_values([{"at": at}]))
    left = at < (domain[0] + domain[1]) / 2
    rule = base.mark_rule(color=look.ink, size=1.2) if top else base.mark_rule(color=look.muted, strokeDash=[4, 3])
    name = base.mark_text(color=look.muted, align="left" if left else "right", dx=6 if left else -6, fontSize=11)
    begin, end = (0, 84 if left else 68) if top else (16, 84)  # stops where it would run through the other line's name
    return [
        rule.encode(x="at:Q", y=alt.value(begin), y2=alt.value(end)),
        name.encode(x="at:Q", y=alt.value(8 if top else 78), text=alt.value(said)),
    ]


def forest(comparisons: Sequence[Comparison], *, level: str, look: Look) -> Spec:
    """Effects with intervals of all metrics that are shares and have one."""
    shown = [(c, c.effect) for c in comparisons if c.effect is not None and c.metric.unit == "share"]
    rows = [
        {
            "name": c.metric.name + (", decides" if c.role == "primary" else "" if c.metric.higher_is_better else " (lower is better)"),
            "role": c.role,
            "low": effect.low,
            "high": effect.high,
            "estimate": effect.estimate,
            "value": words.difference(effect, c.metric),
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


def slice_effects(slices: Sequence[Slice], metric: Metric, *, level: str, look: Look) -> Spec:
    """The primary metric's effect on each slice that was tested; of many, those with the most queries."""
    tested = [(part, part.effect) for part in slices if part.effect is not None]
    largest = sorted(tested, key=lambda row: -row[0].n_scored)[:MOST_SLICES]
    kept = [row for row in tested if row in largest]
    short = look.narrow and len({part.value for part, _ in kept}) == len(kept)
    rows = [
        {
            "name": f"{part.value} ({part.n_scored})" if short else f"{part.tag}: {part.value} (n = {part.n_scored})",
            "role": "slice",
            "low": effect.low,
            "high": effect.high,
            "estimate": effect.estimate,
            "value": words.difference(effect, metric),
        }
        for part, effect in kept
    ]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    title = f"difference in {_axis_name(metric)}"
    return _intervals(rows, look=look, title=title, description=f"Differences in {metric.name} with {level} intervals: {said}.", primary="")


def _intervals(rows: list[dict[str, Any]], *, look: Look, title: str, description: str, primary: str) -> Spec:
    """A row for each estimate: its interval, its point, and its value where there is room."""
    order = [row["name"] for row in rows]
    bounds = [0.0, *(row["low"] for row in rows), *(row["high"] for row in rows)]
    reach = max(bounds) - min(bounds) or 1.0
    domain = [min(bounds) - 0.05 * reach, max(bounds) + 0.05 * reach]
    x = alt.X("low:Q", title=_title(title, look), scale=alt.Scale(domain=domain, nice=False, zero=False), axis=_value_axis(look))
    y = alt.Y("name:N", sort=order, axis=_name_axis(order, look))
    base = alt.Chart(_values(rows)).encode(y=y)
    colour = alt.condition("datum.low > 0 || datum.high < 0", alt.value(look.custom), alt.value(look.muted))
    fill = alt.condition("datum.low > 0 || datum.high < 0", alt.value(look.custom), alt.value(look.surface))
    layers = [
        alt.Chart(_values([{"at": 0.0}])).mark_rule(color=look.ink, size=1.2).encode(x="at:Q"),
        base.mark_rule(size=2.5, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.mark_point(shape="square", size=75, strokeWidth=2, opacity=1).encode(x="estimate:Q", stroke=colour, fill=fill),
    ]
    if primary:
        layers.append(
            base.transform_filter(alt.datum.role == primary).mark_rule(size=5, strokeCap="round").encode(x=x, x2="high:Q", color=colour)
        )
    chart = alt.layer(*layers)
    if look.narrow:
        return _spec(chart, look, height=alt.Step(30), description=description)
    values = (
        alt.Chart(_values(rows))
        .mark_text(align="left", color=look.ink, font=_FONT)
        .encode(x=alt.value(0), y=alt.Y("name:N", sort=order, axis=None), text="value:N")
    )
    side = values.properties(width=190, height=alt.Step(30))
    left = chart.properties(width=look.width - 190 - 210, height=alt.Step(30))
    return _finished(alt.hconcat(left, side, spacing=14), look, description)


def win_loss(differences: Sequence[QueryDifference], metric: Metric, *, look: Look) -> Spec:
    """The gain of each query, the largest first: how many queries win, and by how much."""
    n = len(differences)
    rows = [{"rank": i, "gain": row.gain} for i, row in enumerate(differences)]
    if rows:
        rows.append({"rank": n, "gain": rows[-1]["gain"]})
    x = alt.X(
        "rank:Q",
        title=_title(f"queries, from the largest gain to the largest loss (n = {n})", look),
        scale=alt.Scale(domain=[0, max(n, 1)], nice=False),
        axis=_value_axis(look, grid=False),
    )
    base = alt.Chart(_values(rows))
    wins = sum(row.gain > TIE for row in differences)
    losses = sum(row.gain < -TIE for row in differences)
    gained = base.transform_calculate(up="max(datum.gain, 0)", down="min(datum.gain, 0)")
    title = f"gain in {metric.name} ({words.UNITS.get(metric.unit, metric.unit)})"
    y = alt.Y("up:Q", title=title, axis=_value_axis(look))
    layers = [
        gained.mark_area(interpolate="step-after", color=look.custom, opacity=1).encode(x=x, y=y),
        gained.mark_area(interpolate="step-after", color=look.baseline, opacity=1).encode(x=x, y=alt.Y("down:Q", title=title)),
        alt.Chart(_values([{"at": 0.0}])).mark_rule(color=look.ink, size=1).encode(y="at:Q"),
        _corner(f"custom better on {wins:,}", at=n, low=False, look=look),
        _corner(f"baseline better on {losses:,}", at=0, low=True, look=look),
    ]
    description = f"Gain in {metric.name} of each of {n} queries, sorted: {wins} gain, {losses} lose, {n - wins - losses} are the same."
    return _spec(alt.layer(*layers), look, height=200, description=description)


def _corner(said: str, *, at: int, low: bool, look: Look) -> Any:
    """A name for one half of the sorted differences, in the corner that they leave free."""
    text = alt.Chart(_values([{"rank": at}])).mark_text(
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
    y = alt.Y("line:N", sort=order, axis=_name_axis(order, look))
    title = _title(f"mean {metric.name} ({_unit(metric)}; n = {comparison.n_scored})", look)
    x = alt.X("mean:Q", title=title, scale=alt.Scale(domain=domain, nice=False), axis=_value_axis(look))
    base = alt.Chart(_values(rows)).encode(y=y)
    stroke = alt.Color("colour:N", scale=None)
    shape = alt.Shape("shape:N", scale=alt.Scale(domain=_SHAPES, range=_SHAPES), legend=None)
    layers = [
        base.mark_rule(size=2, opacity=0.5).encode(x=alt.X("zero:Q", title=title), x2="mean:Q", color=stroke).transform_calculate(zero="0"),
        base.mark_point(filled=True, size=130, opacity=1).encode(x=x, color=stroke, shape=shape),
        base.mark_text(align="left", dx=12, color=look.ink, fontWeight=600).encode(x=x, text="value:N"),
    ]
    said = ", ".join(f"{row['line']} {row['value']}" for row in rows)
    return _spec(alt.layer(*layers), look, height=alt.Step(34), description=f"Mean {metric.name}: {said} (n = {comparison.n_scored}).")


def latency(rows: Sequence[StageLatency], *, baseline: str, custom: str, look: Look) -> Spec:
    """p50, p95 and p99 of every stage and arm that was timed."""
    stages = {"embed": "embed the query", "search": "search the index", "generate": "make the answer", "total": "all together"}
    found = [(row, row.quantiles) for row in rows if row.quantiles is not None]
    data = [
        {"stage": stages[row.stage], "arm": row.arm, "p50": q.p50, "p95": q.p95, "p99": q.p99, "n": q.n, "value": words.milliseconds(q.p50)}
        for row, q in found
    ]
    n = max((q.n for _, q in found), default=0)
    order = [stages[stage] for stage in stages if any(row.stage == stage for row, _ in found)]
    arms = alt.Scale(domain=[baseline, custom], range=[look.baseline, look.custom])
    legend = alt.Legend(title=None, orient="top", symbolSize=110, symbolOpacity=1)
    y = alt.Y("stage:N", sort=order, axis=_name_axis(order, look), scale=alt.Scale(paddingInner=0.25, paddingOuter=0.2))
    offset = alt.YOffset("arm:N", sort=[baseline, custom])
    colour = alt.Color("arm:N", scale=arms, legend=legend)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=[baseline, custom], range=["circle", "square"]), legend=legend)
    title = _title(f"milliseconds (filled mark p50, bar p95, ring p99; n = {n} queries asked alone)", look)
    x = alt.X("p50:Q", title=title, scale=alt.Scale(zero=True, nice=True), axis=_value_axis(look))
    base = alt.Chart(_values(data)).encode(y=y, yOffset=offset)
    layers = [
        base.mark_rule(size=3, opacity=0.45).encode(x=x, x2="p99:Q", color=colour),
        base.mark_tick(thickness=2.5, size=12).encode(x=alt.X("p95:Q", title=title), color=colour),
        base.mark_point(filled=False, size=40, strokeWidth=1.8, fill=look.surface, opacity=1, shape="circle").encode(
            x=alt.X("p99:Q", title=title), color=colour
        ),
        base.mark_point(filled=True, size=100, opacity=1).encode(x=x, color=colour, shape=shape),
    ]
    said = "; ".join(
        f"{row.arm}, {stages[row.stage]}: p50 {words.milliseconds(q.p50)}, p95 {words.milliseconds(q.p95)}, p99 {words.milliseconds(q.p99)}"
        for row, q in found
    )
    return _spec(alt.layer(*layers), look, height=alt.Step(22), description=f"Latency of {n} queries asked alone. {said}.")


def _values(rows: Sequence[dict[str, Any]]) -> Any:
    return alt.Data(values=list(rows))


def _unit(metric: Metric) -> str:
    return "share of 0 to 1" if metric.unit == "share" else words.UNITS.get(metric.unit, metric.unit)


def _axis_name(metric: Metric) -> str:
    return f"{metric.name}, custom minus baseline ({_unit(metric)}, {words.direction(metric)})"


def _title(text: str, look: Look) -> str | list[str]:
    """An axis title on as many lines as it needs."""
    return textwrap.wrap(text, 44) if look.narrow else text


def _value_axis(look: Look, *, grid: bool = True) -> Any:
    return alt.Axis(
        tickCount=4 if look.narrow else 7,
        grid=grid,
        titleAnchor="end" if look.narrow else "middle",
        domain=False,
        ticks=False,
        labelPadding=6,
    )


def _name_axis(names: Sequence[str], look: Look) -> Any:
    """An axis of names, with room for the widest: the page's font may be wider than the one that the chart was measured with."""
    limit = 130 if look.narrow else 230
    room = min(limit, max((7.3 * len(name) for name in names), default=0)) + 12
    return alt.Axis(title=None, labelLimit=limit, labelOverlap=False, domain=False, ticks=False, labelPadding=8, minExtent=room)


def _spec(chart: Any, look: Look, *, height: Any, description: str) -> Spec:
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return _finished(chart.properties(width=look.width, height=height, autosize=fit), look, description)


def _finished(chart: Any, look: Look, description: str) -> Spec:
    """The specification with its text alternative, in the look's colours, on whatever it lies on."""
    configured = (
        chart.properties(description=description, background="transparent", padding=4)
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=look.muted,
            titleColor=look.muted,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=look.line,
            titlePadding=10,
            titleLimit=look.width,
        )
        .configure_axisY(labelColor=look.ink)
        .configure_text(fontSize=12)
        .configure_legend(labelColor=look.ink, labelFontSize=12)
    )
    spec: Spec = configured.to_dict()
    return spec
