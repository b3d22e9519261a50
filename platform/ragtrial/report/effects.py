"""The effects on all metrics, an evaluation's and a live experiment's alike: as rows, in panels of one unit, and as a forest plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from ragtrial.analysis.sureness import live_together, together
from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.domain.metric import Metric, MetricKind
from ragtrial.domain.verdict import Comparison, GuardrailResult, MetricRole
from ragtrial.report import live_words, words
from ragtrial.report.drawing import FONT, Look, Spec, finished, name_axis, spec_of, title_of, value_axis, values
from ragtrial.report.live_content import LiveContent
from ragtrial.report.summary import Summary
from ragtrial.stats.simultaneous import SimultaneousInterval

MANY = 12
"""More exploratory metrics than this are shown in panels of their own kind."""

_KINDS: dict[MetricKind, str] = {"retrieval": "Retrieval", "answer": "Answers", "operation": "Operation", "feedback": "What users did"}
_UNIT_NAMES = {"share": "shares of 0 to 1", "ms": "milliseconds", "usd": "USD", "tokens": "tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRow:
    """The difference on one metric, custom minus baseline.

    Attributes:
        metric: What was measured.
        role: As planned.
        estimate: In the metric's unit.
        low: Lower end of its own interval.
        high: Upper end.
        level: What that covers, e.g. `95%`.
        together: The interval that holds together with those of all planned metrics; None where the metric is not of that family.
        shown: 1 where the treatment is shown to be better, -1 where it is shown to be worse, 0 where neither.
        guard: What became of it as a guardrail: `holds`, `broken` or `not shown`; None where it is none.
        n: Queries, or live units, behind it.
        of: Queries asked; None in a live experiment.
    """

    metric: Metric
    role: MetricRole
    estimate: float
    low: float
    high: float
    level: str
    together: SimultaneousInterval | None
    shown: int
    n: int
    of: int | None
    guard: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Rows of one unit that are drawn on one axis.

    Attributes:
        title: What they have in common.
        rows: At least one.
    """

    title: str
    rows: tuple[EffectRow, ...]


def effect_rows(content: Summary) -> tuple[EffectRow, ...]:
    """Every metric of an evaluation that has an effect."""
    plan = content.experiment.analysis
    widened = together(content.analysis.comparisons, plan)
    return tuple(
        EffectRow(
            metric=c.metric,
            role=c.role,
            estimate=c.effect.estimate,
            low=c.effect.low,
            high=c.effect.high,
            level=content.level,
            together=widened.get(c.metric.name),
            shown=words.beyond_chance(c, alpha=plan.alpha),
            n=c.n_scored,
            of=c.n,
            guard=None if c.role != "guardrail" else "not shown" if c.guardrail is None else c.guardrail.state,
        )
        for c in content.analysis.comparisons
        if c.effect is not None
    )


def live_effect_rows(content: LiveContent) -> tuple[EffectRow, ...]:
    """Every metric of a live experiment that has an effect so far, by the interval that counts."""
    widened = live_together(content.analysis.comparisons, content.analysis.progress.levels, content.experiment.analysis)
    rows = []
    for c in content.analysis.comparisons:
        interval = c.interval
        if interval is None:
            continue
        rows.append(
            EffectRow(
                metric=c.metric,
                role=c.role,
                estimate=interval.estimate,
                low=interval.low,
                high=interval.high,
                level=live_words.level(interval),
                together=widened.get(c.metric.name),
                shown=live_words.beyond_chance(c),
                n=interval.n_units,
                of=None,
                guard=live_words.guard_state(c) if c.role == "guardrail" else None,
            )
        )
    return tuple(rows)


def panels(rows: Sequence[EffectRow]) -> tuple[Panel, ...]:
    """Rows of one unit together, shares first; many of one unit by what they are about."""
    found = []
    for unit in dict.fromkeys(["share", *(row.metric.unit for row in rows)]):
        mine = [row for row in rows if row.metric.unit == unit]
        name = _UNIT_NAMES.get(unit, unit)
        parts = {name: mine}
        if len(mine) > MANY:
            parts = {f"{said}, {name}": [row for row in mine if row.metric.kind == kind] for kind, said in _KINDS.items()}
        found += [Panel(title=title[0].upper() + title[1:], rows=tuple(part)) for title, part in parts.items() if part]
    return tuple(found)


def levels(rows: Sequence[EffectRow]) -> str:
    """What the intervals cover: one level, or all that there are."""
    return " or ".join(dict.fromkeys(row.level for row in rows))


def family_words(rows: Sequence[EffectRow]) -> str:
    """How the intervals of planned metrics are adjusted, for a caption."""
    family, level = [row for row in rows if row.together is not None], levels(rows)
    if not family:
        return f"Bars: {level} interval of each metric by itself. Nothing is adjusted for their number."
    if len(family) == 1:
        return f"Bars: {level} interval. With one planned metric there is nothing to adjust for."
    return (
        f"Thick bars: {level} interval of each metric by itself. Thin bars: wider, so that those of all {len(family)} planned metrics hold "
        "together (Bonferroni, Dunn 1961). A filled mark is shown beyond chance, by its interval and its p: the primary metric by its own, "
        "secondary ones by Holm's among themselves, and only where the primary one is shown."
    )


def forest(rows: Sequence[EffectRow], *, look: Look) -> Spec:
    """Differences with their intervals, of metrics of one unit: a row for each.

    Args:
        rows: Of one unit.
        look: Colours and width.
    """
    data = [_drawn(row, look) for row in rows]
    order = [row["name"] for row in data]
    bounds = [0.0, *(row["least"] for row in data), *(row["most"] for row in data)]
    reach = max(bounds) - min(bounds) or 1.0
    scale = alt.Scale(domain=[min(bounds) - 0.05 * reach, max(bounds) + 0.05 * reach], nice=False, zero=False)
    unit = _UNIT_NAMES.get(rows[0].metric.unit, rows[0].metric.unit) if rows else ""
    arrow = "; \N{DOWNWARDS ARROW} lower is better" if look.narrow and not all(row.metric.higher_is_better for row in rows) else ""
    title = title_of(f"difference, custom minus baseline ({unit}{arrow})", look)
    axis = value_axis(look)
    axis.tickCount = 4 if look.narrow else 5
    x = alt.X("low:Q", title=title, scale=scale, axis=axis)
    y = alt.Y("name:N", sort=order, axis=name_axis(order, look))
    base = alt.Chart(values(data)).encode(y=y)
    colour = alt.condition("datum.shown != 0", alt.value(look.custom), alt.value(look.muted))
    fill = alt.condition("datum.shown != 0", alt.value(look.custom), alt.value(look.surface))
    layers = [
        alt.Chart(values([{"at": 0.0}])).mark_rule(color=look.ink, size=1.2).encode(x="at:Q"),
        base.mark_rule(size=1.2).encode(x=alt.X("least:Q", title=title), x2="most:Q", color=colour),
        base.mark_rule(size=4, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.mark_point(shape="square", size=75, strokeWidth=2, opacity=1).encode(
            x=alt.X("estimate:Q", title=title), stroke=colour, fill=fill
        ),
    ]
    said = "; ".join(f"{row['name']} {row['value']} ({row['state']}, n = {row['n']})" for row in data)
    description, chart = f"Differences with {levels(rows)} intervals: {said}.", alt.layer(*layers)
    if look.narrow:
        return spec_of(chart + _above(base, look), look, height=alt.Step(38), description=description)
    columns = {
        "value": ("difference", _VALUE_WIDTHS.get(rows[0].metric.unit, 208)),
        "state": ("guardrail", 118) if rows[0].guard is not None else ("shown", 58),
        "n": ("n", 42),
    }
    sides = [_column(data, order, field, width, head, look) for field, (head, width) in columns.items()]
    beside = sum(width + 10 for _, width in columns.values())
    left = chart.properties(width=look.width - beside - name_axis(order, look).minExtent - 30, height=alt.Step(30))
    return finished(alt.hconcat(left, *sides, spacing=10), look, description)


_VALUE_WIDTHS = {"share": 178}


def _above(base: Any, look: Look) -> Any:
    """The difference and its n above each bar, where columns have no room."""
    halo = {"stroke": look.surface, "strokeWidth": 4}  # or the line at 0 would run through it
    texts = (base.mark_text(align="left", dy=-13, fontSize=10, color=look.muted, **drawn) for drawn in (halo, {}))
    return alt.layer(*(text.encode(x=alt.value(2), text="brief:N") for text in texts))


def _column(data: Sequence[dict[str, Any]], order: Sequence[str], field: str, width: int, head: str, look: Look) -> Any:
    """Values beside the marks, under a head."""
    title = alt.TitleParams(head, anchor="start", color=look.muted, fontSize=11, fontWeight="normal", font=FONT)
    texts = alt.Chart(values(data), title=title).mark_text(align="left", color=look.ink, font=FONT)
    drawn = texts.encode(x=alt.value(0), y=alt.Y("name:N", sort=list(order), axis=None), text=f"{field}:N")
    return drawn.properties(width=width, height=alt.Step(30))


def _drawn(row: EffectRow, look: Look) -> dict[str, Any]:
    lower = " \N{DOWNWARDS ARROW}" if look.narrow else " (lower is better)"
    low, high = (row.low, row.high) if row.together is None else (min(row.low, row.together.low), max(row.high, row.together.high))
    return {
        "name": row.metric.name + (", decides" if row.role == "primary" else "" if row.metric.higher_is_better else lower),
        "low": row.low,
        "high": row.high,
        "least": low,
        "most": high,
        "estimate": row.estimate,
        "shown": row.shown,
        "state": state(row),
        "value": f"{words.signed(row.estimate, row.metric)} {ends(row)}",
        "n": f"{row.n:,}",
        "brief": f"{words.signed(row.estimate, row.metric)}, n = {row.n:,}{'' if row.guard is None else f', {state(row)}'}",
    }


def state(row: EffectRow) -> str:
    """`better`, `worse` or `open`; of a guardrail, whether it holds."""
    if row.guard is not None:
        return "not shown to hold" if row.guard == "not shown" else row.guard
    return {1: "better", -1: "worse", 0: "open"}[row.shown]


OFFLINE_MEANS = "Means are over the queries scored in both arms."
LIVE_MEANS = "Means are over the units that the interval is of; where there is none, over those so far."
"""What the means of `metric_table` and of `live_metric_table` are of."""


def ends(row: EffectRow) -> str:
    """The metric's own interval."""
    return f"[{words.signed(row.low, row.metric, unit=False)}, {words.signed(row.high, row.metric, unit=False)}]"


def metric_table(content: Summary) -> list[dict[str, Any]]:
    """Every metric of an evaluation, with or without an effect: numbers for a table, None where there is none."""
    widened = together(content.analysis.comparisons, content.experiment.analysis)
    rows = []
    for c in content.analysis.comparisons:
        effect, wide = c.effect, widened.get(c.metric.name)
        rows.append(
            {
                "metric": c.metric.name,
                "role": c.role,
                "unit": c.metric.unit,
                "better": words.direction(c.metric).removesuffix(" is better"),
                content.control: c.baseline.mean,
                content.treatment: c.custom.mean,
                **{name: c.references.get(name) for name in content.references},
                "difference": None if effect is None else effect.estimate,
                "low": None if effect is None else effect.low,
                "high": None if effect is None else effect.high,
                "low, together": None if wide is None else wide.low,
                "high, together": None if wide is None else wide.high,
                "relative": None if effect is None else effect.relative,
                "p": None if effect is None else effect.p_value,
                "adjusted p": c.p_adjusted,
                "win": c.wins,
                "tie": c.ties,
                "loss": c.losses,
                "scored": c.n_scored,
                "of": c.n,
                "why no difference": c.no_effect or "",
            }
        )
    return rows


def guardrail_table(comparisons: Sequence[Comparison] | Sequence[LiveComparison]) -> list[dict[str, Any]]:
    """Guardrails as numbers for a table: how much worse, the bound on that, and what is tolerated; None where it can't be tested."""
    return [
        {
            "guardrail": c.metric.name,
            "state": "not shown" if c.guardrail is None else c.guardrail.state,
            "worse by": None if c.guardrail is None else c.guardrail.estimate,
            "bound": None if c.guardrail is None else c.guardrail.bound if isinstance(c.guardrail, GuardrailResult) else c.guardrail.high,
            "tolerated": None if c.guardrail is None else c.guardrail.margin,
            "unit": None if c.guardrail is None else "ratio minus 1" if c.guardrail.relative else c.metric.unit,
        }
        for c in comparisons
    ]


def live_metric_table(content: LiveContent) -> list[dict[str, Any]]:
    """The same of a live experiment, by the interval that counts: means, too, are of the units that it is of; so far where there is none."""
    widened = live_together(content.analysis.comparisons, content.analysis.progress.levels, content.experiment.analysis)
    rows = []
    for c in content.analysis.comparisons:
        found, wide = c.interval, widened.get(c.metric.name)
        means = (c.baseline.mean, c.custom.mean) if found is None else found.means or (None, None)
        rows.append(
            {
                "metric": c.metric.name,
                "role": c.role,
                "unit": c.metric.unit,
                "better": words.direction(c.metric).removesuffix(" is better"),
                content.control: means[0],
                content.treatment: means[1],
                "difference": None if found is None else found.estimate,
                "low": None if found is None else found.low,
                "high": None if found is None else found.high,
                "interval": "" if found is None else live_words.level(found),
                "low, together": None if wide is None else wide.low,
                "high, together": None if wide is None else wide.high,
                "relative": None if found is None else found.relative,
                "p": None if found is None else found.p_value,
                "adjusted p": c.p_adjusted,
                "units": c.n_units if found is None else found.n_units,
                "why no difference": live_words.not_compared(c) or "",
            }
        )
    return rows
