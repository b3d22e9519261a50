"""Charts of where a difference comes from: recall by depth, overlap of the rankings, what the answers did, and what the gain costs.

As in `charts`: every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from ragtrial.analysis.anatomy import Anatomy, LiftCell, OverlapAt, RecallAt
from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Comparison
from ragtrial.report import anatomy_words, charts, words
from ragtrial.report.drawing import FONT, Look, Spec, finished, name_axis, spec_of, title_of, unit_of, value_axis, values

_LINE_HEIGHT = 15
_RECALL = "R@k (share of 0 to 1)"
_SHAPES = ["circle", "square", "triangle-up", "diamond"]


def recall_curves(curves: Sequence[RecallAt], *, baseline: str, custom: str, look: Look) -> Spec:
    """How much of what is relevant each line has found among its first k passages, with bands around both arms.

    Args:
        curves: Of both arms and the reference lines.
        baseline: The control's name.
        custom: The treatment's name.
        look: Colours and width.
    """
    lines = {baseline: (look.baseline, "circle"), custom: (look.custom, "square")}
    order = [*lines, *dict.fromkeys(each.arm for each in curves if each.arm not in lines)]
    style = {arm: lines.get(arm, (look.reference, "triangle-up")) for arm in order}
    rows = [
        {
            "arm": each.arm,
            "k": each.k,
            "mean": each.mean,
            "low": each.low,
            "high": each.high,
            "kind": "arm" if each.arm in lines else "line",
        }
        for each in curves
    ]
    deepest = max((each.k for each in curves), default=1)
    ends = [end for each in curves for end in (each.mean, each.low, each.high) if end is not None]
    domain = [max(0.0, int(min(ends, default=0.0) * 10) / 10), min(1.0, (int(max(ends, default=1.0) * 10) + 1) / 10)]
    n = max((each.n for each in curves), default=0)
    x = alt.X(
        "k:Q",
        title=title_of(f"k: passages from the top (n = {n} queries with a relevant passage)", look),
        scale=alt.Scale(domain=[1, deepest + (0.42 if look.narrow else 0.16) * max(deepest - 1, 1)], nice=False),
        axis=_whole_axis(deepest, look),
    )
    scale = alt.Scale(domain=domain, nice=False, clamp=True)
    y = alt.Y("mean:Q", title=_RECALL, scale=scale, axis=value_axis(look))
    colour = alt.Color("arm:N", scale=alt.Scale(domain=order, range=[style[arm][0] for arm in order]), legend=None)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=order, range=[style[arm][1] for arm in order]), legend=None)
    base = alt.Chart(values(rows))
    arms, references = base.transform_filter(alt.datum.kind == "arm"), base.transform_filter(alt.datum.kind == "line")
    layers = [
        arms.transform_filter("isValid(datum.low)")
        .mark_area(opacity=0.13)
        .encode(x=x, y=alt.Y("low:Q", title=_RECALL, scale=scale), y2="high:Q", color=colour),
        references.mark_line(strokeWidth=1.6, strokeDash=[5, 4]).encode(x=x, y=y, color=colour),
        arms.mark_line(strokeWidth=2.5).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=46, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
        _names_at_the_end(_last_of(curves, order), domain, height=250, look=look),
    ]
    return spec_of(alt.layer(*layers), look, height=250, description=f"{anatomy_words.recall_values(curves)} (n = {n} queries).")


def _whole_axis(deepest: int, look: Look) -> Any:
    """An axis of whole numbers from 1."""
    step = next(step for step in (1, 5, 10, 50, 1_000) if deepest <= step * (6 if look.narrow else 12))
    axis = value_axis(look, grid=False)
    ticks = sorted({1, *range(step, deepest + 1, step)})
    axis.values, axis.tickCount, axis.format, axis.labelOverlap = ticks, len(ticks), "d", False  # more ticks than the count are halved
    return axis


def _last_of(curves: Sequence[RecallAt], order: Sequence[str]) -> list[RecallAt]:
    """The deepest point of each line."""
    return [
        max((each for each in curves if each.arm == arm), key=lambda each: each.k) for arm in order if any(c.arm == arm for c in curves)
    ]


def _names_at_the_end(points: Sequence[RecallAt], domain: Sequence[float], *, height: int, look: Look) -> Any:
    """Each line's name and last value beside its end, moved apart where ends lie close."""
    gap = _LINE_HEIGHT / height * (domain[1] - domain[0])
    rows: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda each: each.mean):
        at = point.mean if not rows else max(point.mean, rows[-1]["at"] + gap)
        rows.append({"k": point.k, "at": at, "said": f"{point.arm} {point.mean:.2f}"})
    over = max(0.0, rows[-1]["at"] - domain[1]) if rows else 0.0
    for row in rows:
        row["at"] -= over
    return (
        alt.Chart(values(rows))
        .mark_text(align="left", dx=9, color=look.ink, font=FONT, fontSize=12)
        .encode(x="k:Q", y=alt.Y("at:Q", scale=alt.Scale(domain=list(domain), clamp=True)), text="said:N")
    )


def overlap(curve: Sequence[OverlapAt], *, look: Look) -> Spec:
    """Which share of the first k passages both arms have in common.

    Args:
        curve: For k = 1, 2, ...
        look: Colours and width.
    """
    rows = [{"k": each.k, "mean": each.mean, "said": f"{each.mean:.0%}"} for each in curve]
    deepest, n = max((each.k for each in curve), default=1), max((each.n for each in curve), default=0)
    axis = value_axis(look)
    axis.format, axis.tickCount = ".0%", 5
    x = alt.X(
        "k:O",
        title=title_of(f"k: passages from the top (n = {n} queries with a ranking in both arms)", look),
        scale=alt.Scale(paddingInner=0.45, paddingOuter=0.3),
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False, labelPadding=6),
    )
    y = alt.Y("mean:Q", title="of the first k in both arms", scale=alt.Scale(domain=[0, 1]), axis=axis)
    base = alt.Chart(values(rows)).encode(x=x)
    labelled = base if deepest <= (10 if not look.narrow else 6) else base.transform_filter(f"datum.k == 1 || datum.k == {deepest}")
    layers = [
        base.mark_bar(color=look.reference, opacity=0.6).encode(y=y),
        labelled.mark_text(dy=-8, color=look.ink, fontWeight=600).encode(y=y, text="said:N"),
    ]
    said = ", ".join(f"{row['said']} of the first {row['k']}" for row in rows)
    return spec_of(alt.layer(*layers), look, height=190, description=f"Passages that both arms have in common: {said} (n = {n} queries).")


def lift(cells: Sequence[LiftCell], metric: Metric, *, level: str, look: Look) -> Spec:
    """What the answers did where retrieval got better, got worse, or stayed the same: a bar of queries for each.

    Args:
        cells: Those without a scored query are left out.
        metric: What the answers are scored by.
        level: What intervals cover.
        look: Colours and width.
    """
    shown = [cell for cell in cells if cell.n_scored]
    order = [anatomy_words.cell_name(cell) for cell in shown]
    rows, most = [], max((cell.n_scored for cell in shown), default=1)
    for cell in shown:
        begin = 0
        for what, n in (("better", cell.better), ("the same", cell.equal), ("worse", cell.worse)):
            sign = {"better": "+", "the same": "=", "worse": "\N{MINUS SIGN}"}[what]
            said = f"{sign}{n:,}" if n >= (0.12 if look.narrow else 0.05) * most else ""
            rows.append({"cell": anatomy_words.cell_name(cell), "what": what, "begin": begin, "end": begin + n, "said": said})
            begin += n
    kinds = ["better", "the same", "worse"]
    shape = {"columns": 1 if look.narrow else 3, "orient": "top", "titleColor": look.muted, "titleFontWeight": "normal", "labelLimit": 200}
    legend = alt.Legend(title="answers with custom", **shape)
    scale = alt.Scale(domain=kinds, range=[look.custom, look.line, look.baseline])
    title = title_of("queries with a scored answer in both arms", look)
    x = alt.X("begin:Q", title=title, axis=value_axis(look))
    y = alt.Y("cell:N", sort=order, axis=name_axis(order, look), scale=alt.Scale(paddingInner=0.35, paddingOuter=0.2))
    base = alt.Chart(values(rows)).encode(y=y)
    inside = alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[look.surface, look.ink, look.surface]), legend=None)
    bars = base.mark_bar().encode(x=x, x2="end:Q", color=alt.Color("what:N", scale=scale, legend=legend))
    text = (
        base.transform_calculate(at="(datum.begin + datum.end) / 2")
        .mark_text(fontWeight=700)
        .encode(x=alt.X("at:Q", title=title), text="said:N", color=inside)
    )
    chart = alt.layer(bars, text).resolve_scale(color="independent")
    described = "; ".join(anatomy_words.cell_values(cell) for cell in shown)
    description = f"{metric.name} of the answers by what happened to retrieval: {described} ({level} intervals)."
    if look.narrow:
        return spec_of(chart, look, height=alt.Step(34), description=description)
    sides = [
        _beside(shown, order, [f"{cell.better:,} / {cell.equal:,} / {cell.worse:,}" for cell in shown], "better / same / worse", 130, look),
        _beside(shown, order, [anatomy_words.cell_gain(cell, metric) for cell in shown], f"mean gain, {level} interval", 180, look),
    ]
    left = chart.properties(width=look.width - 130 - 180 - name_axis(order, look).minExtent - 52, height=alt.Step(34))
    return finished(alt.hconcat(left, *sides, spacing=14), look, description)


def _beside(cells: Sequence[LiftCell], order: Sequence[str], said: Sequence[str], head: str, width: int, look: Look) -> Any:
    """Words beside the bars, under a head."""
    rows = [{"cell": anatomy_words.cell_name(cell), "said": words_} for cell, words_ in zip(cells, said, strict=True)]
    title = alt.TitleParams(head, anchor="start", color=look.muted, fontSize=12, fontWeight="normal", font=FONT)
    y = alt.Y("cell:N", sort=list(order), axis=None, scale=alt.Scale(type="band", paddingInner=0.35, paddingOuter=0.2))
    texts = alt.Chart(values(rows), title=title).mark_text(align="left", color=look.ink, font=FONT, limit=width + 60)
    return texts.encode(x=alt.value(0), y=y, text="said:N").properties(width=width, height=alt.Step(34))


def gains(anatomy: Anatomy, primary: Comparison, *, look: Look) -> Spec:
    """The gain of each query on the primary metric, the largest first."""
    points = [(point.place, point.gain) for point in anatomy.gains]
    return charts.sorted_gains(points, primary.metric, counts=(primary.wins, primary.losses, anatomy.n_gains), look=look)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an arm takes, beside what it reaches.

    Attributes:
        arm: Its name.
        price: E.g. milliseconds at the median.
        mean: Of the primary metric.
    """

    arm: str
    price: float
    mean: float


def quality_against(
    baseline: Price, custom: Price, comparison: Comparison, *, title: str, form: str, free: Mapping[str, float], look: Look
) -> Spec:
    """What each arm reaches against what it takes: the way from the baseline to custom, with the interval of the difference.

    Args:
        baseline: The control.
        custom: The treatment.
        comparison: The primary metric, with an effect.
        title: Of the axis of prices, with its unit.
        form: How a price is written there, as d3 writes it.
        free: Means of lines that take neither, such as plain BM25, by name.
        look: Colours and width.
    """
    metric, effect = comparison.metric, comparison.effect
    low, high = (custom.mean, custom.mean) if effect is None else (baseline.mean + effect.low, baseline.mean + effect.high)
    ends = [baseline.mean, custom.mean, low, high, *free.values()]
    room = 0.14 * (max(ends) - min(ends)) or 0.05
    tall = [min(ends) - room, max(ends) + room]
    prices = [baseline.price, custom.price]
    aside = 0.6 * (max(prices) - min(prices)) + 0.12 * max(prices) or 1.0
    wide = [max(0.0, min(prices) - aside), max(prices) + aside]
    axis = value_axis(look)
    axis.format = form
    x = alt.X("price:Q", title=title_of(title, look), scale=alt.Scale(domain=wide, nice=False, zero=False), axis=axis)
    y = alt.Y(
        "mean:Q",
        title=f"mean {metric.name} ({unit_of(metric)})",
        scale=alt.Scale(domain=tall, nice=False, zero=False),
        axis=value_axis(look),
    )
    rows = [
        {"arm": each.arm, "price": each.price, "mean": each.mean, "said": f"{each.arm} {words.number(each.mean, metric)}"}
        for each in (baseline, custom)
    ]
    base = alt.Chart(values(rows))
    colour = alt.Color("arm:N", scale=alt.Scale(domain=[baseline.arm, custom.arm], range=[look.baseline, look.custom]), legend=None)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=[baseline.arm, custom.arm], range=_SHAPES[:2]), legend=None)
    lines = [{"name": f"{name} {words.number(mean, metric)}", "mean": mean} for name, mean in free.items()]
    layers = [
        alt.Chart(values(lines)).mark_rule(color=look.reference, strokeDash=[4, 3]).encode(y=y),
        alt.Chart(values(lines))
        .mark_text(align="left", dx=4, dy=-7, color=look.muted, fontSize=11)
        .encode(x=alt.value(0), y=y, text="name:N"),
        base.mark_line(color=look.muted, strokeWidth=1.2, strokeDash=[2, 2]).encode(x=x, y=y),
        alt.Chart(values([{"price": custom.price, "mean": low, "high": high}]))
        .mark_rule(color=look.custom, size=3, strokeCap="round")
        .encode(x=x, y=y, y2="high:Q"),
        base.mark_point(filled=True, size=150, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
        *(
            _name_beside(row, place=_place_of(each, other, wide, look), look=look, x=x, y=y)
            for row, each, other in zip(rows, (baseline, custom), (custom, baseline), strict=True)
        ),
    ]
    said = ", ".join(
        f"{row['arm']} {words.number(each.mean, metric)} at {each.price:,.4g}" for row, each in zip(rows, (baseline, custom), strict=True)
    )
    return spec_of(alt.layer(*layers), look, height=220, description=f"Mean {metric.name} against {title}: {said}.")


def _place_of(arm: Price, other: Price, domain: Sequence[float], look: Look) -> dict[str, Any]:
    """Where a name stands: left of its mark that of the cheaper arm, where there is room for it, right of it the other one.

    In a narrow drawing there is no such room: it stands above or below the mark, away from the other one, and runs towards the middle.
    """
    cheaper = arm.price < other.price
    if look.narrow:
        above = (arm.mean, cheaper) >= (other.mean, not cheaper)
        return {"align": "left" if cheaper else "right", "dx": 8 if cheaper else -8, "dy": -14 if above else 18}
    left = cheaper and arm.price - domain[0] > 0.25 * (domain[1] - domain[0])
    return {"align": "right" if left else "left", "dx": -13 if left else 13}


def _name_beside(row: dict[str, Any], *, place: dict[str, Any], look: Look, x: Any, y: Any) -> Any:
    """An arm's name and mean beside its mark."""
    text = alt.Chart(values([row])).mark_text(color=look.ink, fontWeight=600, **place)
    return text.encode(x=x, y=y, text="said:N")
