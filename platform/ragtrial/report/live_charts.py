"""Charts of a live experiment: how the effect and the split came about, and guardrails against their stop lines."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import altair as alt

from ragtrial.domain.live_verdict import LiveComparison, Look, Range
from ragtrial.domain.metric import Metric
from ragtrial.report import live_words, words
from ragtrial.report.drawing import Look as Drawing
from ragtrial.report.drawing import Spec, name_axis, spec_of, title_of, value_axis, values

_FAR = 2.5
"""Margins beyond which a guardrail's interval is cut off."""


def effect_over_time(
    looks: Sequence[Look],
    metric: Metric,
    *,
    min_effect: float,
    planned_at: float | None,
    look: Drawing,
    single: Sequence[Range | None] = (),
) -> Spec:
    """The primary metric's difference with its always-valid band at each moment, with 0 and the smallest gain worth having.

    Args:
        looks: Those without an estimate leave a gap.
        metric: The primary metric.
        min_effect: The margin, positive.
        planned_at: When the planned number of units was there; None before.
        look: Colours and width.
        single: What an interval for a single look would have been at each, drawn as dashed lines within the band; empty: not drawn.
    """
    shown = [each for each in looks if each.estimate is not None]
    rows = [{"at": moment(each.at), "estimate": each.estimate, "low": each.low, "high": each.high} for each in shown]
    margin = min_effect if metric.higher_is_better else -min_effect
    domain = _domain([(each.low, each.estimate, each.high) for each in shown], margin)
    x = time_axis(*_span(looks), look=look)
    y = alt.Y(
        "low:Q",
        title=f"difference in {metric.name}",
        scale=alt.Scale(domain=domain, nice=False, clamp=True),
        axis=value_axis(look),
    )
    base = alt.Chart(values(rows))
    layers = [
        base.mark_area(color=look.custom, opacity=0.16, clip=True).encode(x=x, y=y, y2="high:Q"),
        _level(0.0, look.ink, "no difference", look, dash=False),
        _level(margin, look.muted, f"worth having: {words.signed(margin, metric)}", look, dash=True),
        base.mark_line(color=look.custom, strokeWidth=2.5, clip=True).encode(x=x, y=alt.Y("estimate:Q", scale=alt.Scale(domain=domain))),
    ]
    layers += _single_looks(looks, single, x, domain, look)
    if planned_at is not None:
        layers += _planned_size(planned_at, _span(looks), look)
    last = shown[-1] if shown else None
    now = "no interval yet"
    if last is not None:
        ends = (last.estimate, last.low, last.high)
        now = "now {}, between {} and {}".format(*(words.signed(value, metric) for value in ends))
    return spec_of(
        alt.layer(*layers), look, height=230, description=f"Difference in {metric.name} over time with its always-valid band: {now}."
    )


def _planned_size(at: float, span: tuple[float, float], look: Drawing) -> list[Any]:
    """An upright line where the planned number of units was there, with its name on the side that has more room."""
    base, x = alt.Chart(values([{"at": moment(at)}])), alt.X("at:T", scale=alt.Scale(type="utc"))
    left = at < sum(span) / 2
    name = base.mark_text(align="left" if left else "right", baseline="top", dx=4 if left else -4, color=look.muted, fontSize=11)
    return [
        base.mark_rule(color=look.muted, strokeDash=[2, 3]).encode(x=x),
        name.encode(x=x, y=alt.value(0), text=alt.value("planned size")),
    ]


def _single_looks(looks: Sequence[Look], single: Sequence[Range | None], x: Any, domain: list[float], look: Drawing) -> list[Any]:
    """Both ends of the intervals that would hold for one look."""
    rows = [{"at": moment(at.at), "low": one.low, "high": one.high} for at, one in zip(looks, single, strict=False) if one is not None]
    if not rows:
        return []
    line = alt.Chart(values(rows)).mark_line(color=look.muted, strokeWidth=1.2, strokeDash=[3, 3], clip=True)
    return [line.encode(x=x, y=alt.Y(f"{end}:Q", scale=alt.Scale(domain=domain))) for end in ("low", "high")]


def _domain(bands: Sequence[tuple[float | None, float | None, float | None]], margin: float) -> list[float]:
    """An axis that shows the later bands whole; the first ones, of few units, may be cut off."""
    later = bands[len(bands) // 4 :] or bands
    ends = [end for band in later for end in band if end is not None]
    lowest, highest = min([*ends, 0.0, margin, -margin]), max([*ends, 0.0, margin, -margin])
    room = 0.12 * (highest - lowest)
    return [lowest - room, highest + room]


def _level(at: float, colour: str, said: str, look: Drawing, *, dash: bool) -> Any:
    """A horizontal line with its name at the right: above a dashed one, below the other."""
    base = alt.Chart(values([{"level": at}]))
    rule = base.mark_rule(color=colour, size=1.2, strokeDash=[5, 4] if dash else [1, 0]).encode(y="level:Q")
    name = base.mark_text(align="right", baseline="bottom" if dash else "top", dy=-3 if dash else 4, color=look.muted, fontSize=11)
    return rule + name.encode(x=alt.value(look.width - (92 if look.narrow else 78)), y="level:Q", text=alt.value(said))


def guardrails(comparisons: Sequence[LiveComparison], *, look: Drawing) -> Spec:
    """How much of its margin each guardrail has used up: 0 is no change, 1 the stop line.

    Args:
        comparisons: Those without a tested guardrail are left out.
        look: Colours and width.
    """
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    for comparison in comparisons:
        found = comparison.guardrail
        if found is None:
            continue
        low, estimate, high = (max(-_FAR, min(_FAR, value / found.margin)) for value in (found.low, found.estimate, found.high))
        tolerated = live_words.amount(found.margin, found, comparison.metric)
        rows.append({"name": comparison.metric.name, "low": low, "estimate": estimate, "high": high, "state": found.state})
        said.append(f"{comparison.metric.name} {found.state} (tolerated {tolerated})")
    order = [row["name"] for row in rows]
    reach = [min([-0.5, *(row["low"] for row in rows)]), max([1.4, *(row["high"] for row in rows)])]
    title = title_of("worse by how much of what is tolerated (0: no change, 1: stop; bars hold at any look)", look)
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=reach, nice=False), axis=value_axis(look))
    y = alt.Y("name:N", sort=order, axis=name_axis(order, look))
    base = alt.Chart(values(rows)).encode(y=y)
    colour = alt.condition("datum.state == 'broken'", alt.value(look.custom), alt.value(look.baseline))
    stop = alt.Chart(values([{"at": 1.0}]))
    layers = [
        alt.Chart(values([{"low": 1.0, "high": reach[1]}])).mark_rect(color=look.zone).encode(x=x, x2="high:Q"),
        alt.Chart(values([{"at": 0.0}])).mark_rule(color=look.ink, size=1.2).encode(x="at:Q"),
        stop.mark_rule(color=look.ink, strokeDash=[4, 3]).encode(x="at:Q"),
        base.mark_rule(size=3, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.mark_point(filled=True, shape="square", size=90, opacity=1).encode(x="estimate:Q", color=colour),
    ]
    return spec_of(alt.layer(*layers), look, height=alt.Step(34), description=f"Guardrails against their stop lines: {'; '.join(said)}.")


def assignments(looks: Sequence[Look], *, expected: float, look: Drawing) -> Spec:
    """The treatment's share of all units at each moment, with the planned share.

    Args:
        looks: Those without units are left out.
        expected: The planned share.
        look: Colours and width.
    """
    shown = [each for each in looks if each.treatment_share is not None]
    rows = [
        {"at": moment(each.at), "share": each.treatment_share, "low": _noise(each, expected, -1), "high": _noise(each, expected, 1)}
        for each in shown
    ]
    later = shown[len(shown) // 6 :] or shown
    ends = [
        expected,
        *(_noise(each, expected, side) for each in later for side in (-1, 1)),
        *(each.treatment_share for each in later if each.treatment_share is not None),
    ]
    room = 0.1 * (max(ends) - min(ends)) or 0.05
    scale = alt.Scale(domain=[max(0.0, min(ends) - room), min(1.0, max(ends) + room)], nice=False, clamp=True)
    x, axis = time_axis(*_span(looks), look=look), value_axis(look)
    axis.format = ".1%"
    y = alt.Y("low:Q", title="treatment's share of the units", scale=scale, axis=axis)
    base = alt.Chart(values(rows))
    layers = [
        base.mark_area(color=look.muted, opacity=0.14, clip=True).encode(x=x, y=y, y2="high:Q"),
        _level(expected, look.muted, f"planned: {expected:.1%}", look, dash=True),
        base.mark_line(color=look.custom, strokeWidth=2.5, clip=True).encode(x=x, y=alt.Y("share:Q", scale=scale)),
    ]
    now = f"{shown[-1].treatment_share:.2%} of {sum(shown[-1].units):,} units" if shown else "no unit yet"
    return spec_of(
        alt.layer(*layers), look, height=170, description=f"Treatment's share of the units over time: {now}, {expected:.2%} planned."
    )


def _noise(each: Look, expected: float, side: int) -> float:
    """Three binomial errors around the planned share: what chance alone does."""
    return float(expected + side * 3 * (expected * (1 - expected) / max(1, sum(each.units))) ** 0.5)


def moment(at: float) -> str:
    """Seconds since 1970 as charts take a moment, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_axis(begin: float, end: float, *, look: Drawing, field: str = "at") -> Any:
    """Time in UTC; hours where the whole is shorter than three days, seconds where it is shorter than ten minutes."""
    forms = ((600, "%H:%M:%S"), (86_400, "%H:%M"), (3 * 86_400, "%d %b %H:%M"))
    form = next((each for seconds, each in forms if end - begin < seconds), "%d %b")
    axis = alt.Axis(
        format=form,
        tickCount=3 if look.narrow else 7,
        labelOverlap="greedy",
        labelSeparation=20,  # screens have wider letters than those that the drawing was measured with
        labelFlush=30,
        grid=False,
        labelPadding=6,
        domainColor=look.line,
        tickColor=look.line,
    )
    return alt.X(f"{field}:T", title="time (UTC)", scale=alt.Scale(type="utc"), axis=axis)


def _span(looks: Sequence[Look]) -> tuple[float, float]:
    return (looks[0].at, looks[-1].at) if looks else (0.0, 0.0)
