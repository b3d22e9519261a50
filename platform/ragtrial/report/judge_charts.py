"""Charts of LLM judges: beside people, and beside themselves.

Arms keep their colours and shapes; everything else is drawn in greys, so that a colour always means an arm.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ragtrial.domain.calibration import Agreement, Calibration, Estimate
from ragtrial.domain.verdict import JudgeQuality
from ragtrial.report import people, words
from ragtrial.report.drawing import Look, Spec, name_axis, spec_of, title_of, value_axis, values

_ROW = 52
"""Height of a row with its value above its mark, in pixels."""
_EDGE = 0.22
"""Share of the axis at either end where a value is written towards the middle."""
_WAVERS, _DIFFER = "the judge's wavering", "how queries differ"


def agreement(found: Sequence[Agreement], *, level: str, look: Look) -> Spec:
    """How far people and judge say the same: the share of equal words, and kappa, with their intervals.

    Args:
        found: Of one metric; labels that came by themselves are hollow.
        level: What the intervals cover, e.g. `95%`.
        look: Colours and width.
    """
    rows = []
    for each in found:
        drawn = each.selection == "random"
        about = f"n = {each.n:,}"
        parts = [("same word", each.share, f"{each.share.estimate:.0%} [{each.share.low:.0%}, {each.share.high:.0%}]")]
        if drawn:
            parts += [
                (name, value, f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]")
                for name, value in (("kappa", each.kappa), ("weighted kappa", each.weighted_kappa))
                if value is not None
            ]
        rows += [
            _row(name if drawn else "volunteered", value, f"{said}, {about}", look.ink, "circle", filled=drawn)
            for name, value, said in parts
        ]
    bounds = [0.0, 1.0, *(row["low"] for row in rows)]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    title = "share of answers, or kappa (1: always the same; kappa 0: as much as by chance)"
    return _rows(
        rows, [min(bounds), 1.0], title, f"Agreement of the judge with people, with {level} intervals: {said}.", look, lines=(0.0,)
    )


def confusion(found: Agreement, *, look: Look) -> Spec:
    """How often people said one word where the judge said another: people in rows, the judge in columns."""
    totals = [sum(row) for row in found.confusion]
    names = [f"{word} ({n:,})" for word, n in zip(found.words, totals, strict=True)]
    cells = [
        {"people": names[i], "judge": judge, "n": n, "share": n / totals[i] if totals[i] else 0.0, "same": i == j, "said": f"{n:,}"}
        for i, row in enumerate(found.confusion)
        for j, (judge, n) in enumerate(zip(found.words, row, strict=True))
    ]
    room = name_axis(names, look)
    x = alt.X(
        "judge:N",
        sort=list(found.words),
        axis=alt.Axis(title="the judge said", orient="top", labelAngle=0, labelLimit=90, domain=False, ticks=False, labelOverlap=False),
    )
    y = alt.Y("people:N", sort=names, axis=room)
    base = alt.Chart(values(cells)).encode(x=x, y=y)
    layers = [
        base.mark_rect(color=look.reference, stroke=look.surface, strokeWidth=2).encode(
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 0.6]), legend=None)
        ),
        base.transform_filter("datum.same").mark_rect(fillOpacity=0, stroke=look.ink, strokeWidth=1.5),
        base.mark_text(color=look.ink, fontSize=14).encode(
            text="said:N", opacity=alt.condition("datum.n > 0", alt.value(1.0), alt.value(0.45))
        ),
    ]
    apart = [
        f"people {word}, judge {judge}: {n:,}"
        for word, row in zip(found.words, found.confusion, strict=True)
        for judge, n in zip(found.words, row, strict=True)
        if n
    ]
    description = f"What people said of {words.count(found.n, 'label')}, by what the judge said: {'; '.join(apart)}."
    return spec_of(alt.layer(*layers), look, height=alt.Step(40), description=description)


def bias(found: Calibration, *, control: str, treatment: str, level: str, look: Look) -> Spec:
    """How much more the judge gives than people do, in each arm, and how much more to the treatment.

    Args:
        found: Of one metric; what can't be told is left out.
        control: The control arm's name.
        treatment: The treatment arm's name.
        level: What the intervals cover.
        look: Colours and width.
    """
    parts = [
        (control, found.bias.control, look.baseline, "circle"),
        (treatment, found.bias.treatment, look.custom, "square"),
        ("difference", found.bias.difference, look.ink, "diamond"),
    ]
    rows = [_row(name, value, people.signed(value), colour, shape) for name, value, colour, shape in parts if value is not None]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    title = f"judge minus people, {found.metric} (share of 0 to 1; right of 0: the judge is lenient)"
    return _rows(rows, _around(rows), title, f"Judge minus people, with {level} intervals: {said}.", look, lines=(0.0,))


def corrected(found: Calibration, *, min_effect: float | None, level: str, look: Look) -> Spec:
    """The difference between the arms as judged, and as people's labels correct it.

    Args:
        found: Of one metric.
        min_effect: The smallest gain worth having, where the metric decides; else None.
        level: What the intervals cover.
        look: Colours and width.
    """
    parts = [("as judged", found.naive.difference, "square", False), ("corrected by people", found.corrected.difference, "square", True)]
    rows = [
        _row(name, value, people.signed(value), look.custom if filled else look.muted, shape, filled=filled)
        for name, value, shape, filled in parts
        if value is not None
    ]
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    worth = () if min_effect is None else (min_effect,)
    margin = "" if min_effect is None else f"; dashed: worth having, {min_effect:+.4g}"
    title = f"difference in {found.metric}, custom minus baseline (share of 0 to 1{margin})"
    description = f"Difference in {found.metric} with {level} intervals: {said}."
    return _rows(rows, _around(rows, *worth), title, description, look, lines=(0.0, *worth))


def half_widths(rows: Sequence[tuple[str, float]], *, metric: str, look: Look) -> Spec:
    """How wide an interval is now, and how wide it would be: to scale, around 0.

    Args:
        rows: What would be done, and half of the width then; the first is now.
        metric: Whose difference it is.
        look: Colours and width.
    """
    data = [
        {"name": name, "low": -half, "high": half, "value": f"±{half:.4f}", "colour": look.ink if i == 0 else look.reference}
        for i, (name, half) in enumerate(rows)
    ]
    order = [name for name, _ in rows]
    reach = max((half for _, half in rows), default=1.0) or 1.0
    scale = alt.Scale(domain=[-1.08 * reach, 1.08 * reach], nice=False)
    x = alt.X(
        "low:Q",
        title=title_of(f"{metric}: half of the interval's width on both sides (share of 0 to 1)", look),
        scale=scale,
        axis=value_axis(look),
    )
    base = alt.Chart(values(data)).encode(y=alt.Y("name:N", sort=order, axis=name_axis(order, look)))
    layers = [
        base.mark_rule(size=8, strokeCap="butt").encode(x=x, x2="high:Q", color=alt.Color("colour:N", scale=None)),
        base.mark_text(color=look.ink, dy=-13, fontWeight=600).encode(x=alt.X(datum=0.0), text="value:N"),
    ]
    said = "; ".join(f"{row['name']} {row['value']}" for row in data)
    return spec_of(alt.layer(*layers), look, height=alt.Step(44), description=f"Half of the width of the interval of {metric}: {said}.")


def noise(judges: Sequence[JudgeQuality], *, look: Look) -> Spec:
    """Of what each difference's uncertainty is made: the judge's wavering, and how queries differ.

    Args:
        judges: Those whose noise is known are drawn.
        look: Colours and width.
    """
    shown = [(judge, judge.noise_share) for judge in judges if judge.noise_share is not None]
    order = [judge.metric for judge, _ in shown]
    data = [
        {"metric": judge.metric, "part": part, "share": each, "begin": begin, "end": begin + each, "at": i}
        for judge, share in shown
        for i, (part, each, begin) in enumerate(((_WAVERS, share, 0.0), (_DIFFER, 1.0 - share, share)))
    ]
    title = title_of("share of the variance of the mean difference", look)
    x = alt.X("begin:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=_percent(look))
    colour = alt.Color(
        "part:N",
        scale=alt.Scale(domain=[_WAVERS, _DIFFER], range=[look.ink, look.reference]),
        legend=alt.Legend(title=None, orient="top", direction="vertical" if look.narrow else "horizontal", symbolOpacity=1),
    )
    base = alt.Chart(values(data)).encode(y=alt.Y("metric:N", sort=order, axis=name_axis(order, look)))
    layers = [
        base.mark_bar(height=14, stroke=look.surface, strokeWidth=2).encode(x=x, x2="end:Q", color=colour),
        base.transform_filter("datum.at == 0")
        .mark_text(align="left", dy=-15, color=look.ink, fontWeight=600)
        .encode(x=alt.X(datum=0.0), text=alt.Text("share:Q", format=".0%")),
    ]
    said = "; ".join(f"{judge.metric}: {share:.0%} is the judge's wavering, the rest how queries differ" for judge, share in shown)
    return spec_of(alt.layer(*layers), look, height=alt.Step(48), description=f"Of the variance of the mean difference, {said}.")


def flips(judges: Sequence[JudgeQuality], *, level: str, look: Look) -> Spec:
    """On what share of the answers that it judged again each judge changed its mind, with its interval.

    Args:
        judges: Those that were asked again are drawn.
        level: What the intervals cover.
        look: Colours and width.
    """
    rows = []
    for judge in judges:
        if judge.flipped is None or judge.flipped_low is None or judge.flipped_high is None:
            continue
        found = Estimate(estimate=judge.flipped, low=judge.flipped_low, high=judge.flipped_high)
        said = f"{found.estimate:.0%} [{found.low:.0%}, {found.high:.0%}], n = {judge.n_repeated:,}"
        rows.append(_row(judge.metric, found, said, look.ink, "circle"))
    top = max([0.25, *(row["high"] for row in rows)])
    said = "; ".join(f"{row['name']} {row['value']}" for row in rows)
    title = "share of the answers judged again on which it changed its mind"
    description = f"{title.capitalize()}, with {level} intervals: {said}."
    return _rows(rows, [0.0, min(1.0, 1.05 * top)], title, description, look, lines=(), axis=_percent(look))


def _percent(look: Look) -> Any:
    axis = value_axis(look, grid=False)
    axis.format = ".0%"
    return axis


def _row(name: str, value: Estimate, said: str, colour: str, shape: str, *, filled: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "low": value.low,
        "high": value.high,
        "estimate": value.estimate,
        "value": said,
        "colour": colour,
        "shape": shape,
        "filled": filled,
    }


def _around(rows: Sequence[dict[str, Any]], *marks: float) -> list[float]:
    """An axis that shows all intervals, 0 and the marks."""
    bounds = [0.0, *marks, *(row["low"] for row in rows), *(row["high"] for row in rows)]
    room = 0.08 * (max(bounds) - min(bounds) or 1.0)
    return [min(bounds) - room, max(bounds) + room]


def _rows(
    rows: list[dict[str, Any]], domain: list[float], title: str, description: str, look: Look, *, lines: Sequence[float], axis: Any = None
) -> Spec:
    """A row for each estimate: its interval, its mark, and above it its value, turned to the middle near the ends of the axis."""
    order = [row["name"] for row in rows]
    reach, edge = domain[1] - domain[0] or 1.0, 0.5 if look.narrow else _EDGE
    for row in rows:
        at = (row["estimate"] - domain[0]) / reach
        row["align"] = "left" if at < edge else "right" if at > 1.0 - edge or look.narrow else "center"
        row["at"] = domain[0] if row["align"] == "left" else domain[1] if row["align"] == "right" else row["estimate"]
    x = alt.X("low:Q", title=title_of(title, look), scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis or value_axis(look))
    base = alt.Chart(values(rows)).encode(y=alt.Y("name:N", sort=order, axis=name_axis(order, look)))
    colour, shape = alt.Color("colour:N", scale=None), alt.Shape("shape:N", scale=None)
    layers: list[Any] = [
        alt.Chart(values([{"at": line}]))
        .mark_rule(color=look.ink if line == 0.0 else look.muted, size=1.2, strokeDash=[1, 0] if line == 0.0 else [5, 4])
        .encode(x="at:Q")
        for line in lines
    ]
    layers += [
        base.mark_rule(size=3, strokeCap="round").encode(x=x, x2="high:Q", color=colour),
        base.transform_filter("datum.filled")
        .mark_point(filled=True, size=110, opacity=1)
        .encode(x="estimate:Q", color=colour, shape=shape),
        base.transform_filter("!datum.filled")
        .mark_point(filled=True, size=90, opacity=1, strokeWidth=2, fill=look.surface)
        .encode(x="estimate:Q", stroke=colour, shape=shape),
    ]
    for align in sorted({row["align"] for row in rows}):
        mine = base.transform_filter(f"datum.align == '{align}'").encode(x="at:Q", text="value:N")
        halo = mine.mark_text(
            align=align, dy=-15, fontWeight=600, color=look.surface, stroke=look.surface, strokeWidth=5, strokeJoin="round"
        )
        layers += [halo, mine.mark_text(align=align, dy=-15, fontWeight=600, color=look.ink)]
    return spec_of(alt.layer(*layers), look, height=alt.Step(_ROW), description=description)
