"""Charts of an assessment as Vega-Lite specifications."""

from collections.abc import Sequence

import altair as alt

from ragtrial.domain.assessment import Assessment, Option
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import PlottedQuery, SplitTerm
from ragtrial.report import assessment_words as said
from ragtrial.report.drawing import Look, Spec, finished, name_axis, spec_of, title_of, value_axis, values

_DOMAIN_ROOM = 0.06


def headroom(options: Sequence[Option], *, metric: str, min_effect: float, look: Look) -> Spec:
    """Gains over the baseline with their intervals: what is free, what a reranker could reach, what the index loses."""
    shown = [(option, option.difference) for option in options if option.difference.low is not None]
    rows = [
        {
            "name": option.name,
            "kind": option.purpose,
            "low": difference.low,
            "high": difference.high,
            "value": difference.value,
            "label": said.change(difference),
        }
        for option, difference in shown
    ]
    order = [option.name for option, _ in shown]
    ends = [0.0, min_effect, *(end for _, d in shown for end in (d.low or 0.0, d.high or 0.0))]
    reach = max(ends) - min(ends) or 1.0
    domain = [min(ends) - _DOMAIN_ROOM * reach, max(ends) + _DOMAIN_ROOM * reach]
    x = alt.X(
        "low:Q",
        title=title_of(f"difference in {metric} from the baseline", look),
        scale=alt.Scale(domain=domain, nice=False, zero=False),
        axis=value_axis(look),
    )
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["alternative", "ceiling", "index"], range=[look.custom, look.reference, look.baseline]),
        legend=None,
    )
    shape = alt.Shape(
        "kind:N", scale=alt.Scale(domain=["alternative", "ceiling", "index"], range=["square", "triangle-up", "circle"]), legend=None
    )
    base = alt.Chart(values(rows)).encode(y=alt.Y("name:N", sort=order, axis=name_axis(order, look)))
    zero = alt.Chart(values([{"at": 0.0}])).mark_rule(color=look.ink).encode(x="at:Q")
    worth = alt.Chart(values([{"at": min_effect}])).mark_rule(color=look.muted, strokeDash=[4, 3]).encode(x="at:Q")
    layers = [
        base.mark_rule(size=4, opacity=0.55).encode(x=x, x2="high:Q", color=colour),
        base.mark_point(filled=True, size=110, opacity=1).encode(x="value:Q", color=colour, shape=shape),
        zero,
        worth,
    ]
    if not look.narrow:
        layers.append(base.mark_text(color=look.ink, dy=-13, fontSize=11).encode(x="value:Q", text="label:N"))
    told = "; ".join(f"{row['name']} {row['label']}" for row in rows)
    return spec_of(
        alt.layer(*layers),
        look,
        height=alt.Step(46),
        description=f"Differences in {metric} from the baseline: {told}. Worth having from {min_effect:g}.",
    )


def fragmentation(terms: Sequence[SplitTerm], *, look: Look) -> Spec:
    """Terms that the model cuts into pieces: queries that succeed and that fail."""
    order = [f"{term.term} ({term.pieces} pieces)" for term in terms]
    rows = [
        {"name": name, "what": what, "n": n}
        for name, term in zip(order, terms, strict=True)
        for what, n in (("failed", term.n_failed), ("succeeded", term.n_queries - term.n_failed))
    ]
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=["failed", "succeeded"], range=[look.custom, look.baseline]),
        legend=alt.Legend(title=None, orient="top"),
    )
    chart = (
        alt.Chart(values(rows))
        .mark_bar()
        .encode(
            y=alt.Y("name:N", sort=order, axis=name_axis(order, look)),
            x=alt.X("n:Q", title="gold queries with the term", axis=value_axis(look)),
            color=colour,
            order=alt.Order("what:N"),
        )
    )
    told = "; ".join(f"{term.term}: {term.pieces} pieces, {term.n_failed} of {term.n_queries} queries fail" for term in terms)
    return spec_of(chart, look, height=alt.Step(22), description=f"Terms that the model has no token for. {told}.")


def failure_map(points: Sequence[PlottedQuery], *, look: Look) -> Spec:
    """Queries on a plane; those that fail are marked, those of one group carry its number."""
    rows = [
        {
            "x": point.x,
            "y": point.y,
            "what": "failed" if point.failed else "succeeded",
            "group": "" if point.group is None else str(point.group + 1),
        }
        for point in sorted(points, key=lambda point: point.failed)
    ]
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=["succeeded", "failed"], range=[look.baseline, look.custom]),
        legend=alt.Legend(title=None, orient="top"),
    )
    shape = alt.Shape("what:N", scale=alt.Scale(domain=["succeeded", "failed"], range=["circle", "square"]), legend=None)
    plain = alt.Axis(title=None, labels=False, ticks=False, grid=False, domain=False)
    base = alt.Chart(values(rows)).encode(x=alt.X("x:Q", axis=plain), y=alt.Y("y:Q", axis=plain))
    layers = [
        base.mark_point(filled=True, size=34, opacity=0.75).encode(color=colour, shape=shape),
        base.transform_filter("datum.group != ''").mark_text(dx=9, fontSize=10, color=look.ink).encode(text="group:N"),
    ]
    n = sum(point.failed for point in points)
    whole = {"contains": "padding", "type": "fit"}
    spec = finished(alt.layer(*layers), look, f"Map of {len(points)} queries; {n} of them fail. Near each other: alike for the model.")
    return {**spec, "width": look.width, "height": min(420, look.width), "autosize": whole}


def recall_by_depth(assessment: Assessment, *, look: Look) -> Spec:
    """Recall at 1, 5, 10, 50 and 100 passages, with intervals."""
    rows = []
    known: list[Estimate] = [*assessment.baseline, *(option.mean for option in assessment.deeper)]
    for estimate in known:
        measure, _, cut = estimate.name.partition("@")
        if measure == "R" and estimate.value is not None and estimate.low is not None and estimate.high is not None:
            rows.append({"k": cut, "value": estimate.value, "low": max(0.0, estimate.low), "high": min(1.0, estimate.high)})
    order = [row["k"] for row in rows]
    x = alt.X("k:N", sort=order, title="passages retrieved", axis=alt.Axis(labelAngle=0, domain=False, ticks=False))
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(values(rows)).encode(x=x)
    y = alt.Y("low:Q", title="share of relevant passages found", scale=scale, axis=value_axis(look))
    layers = [
        base.mark_rule(size=3, opacity=0.5, color=look.baseline).encode(y=y, y2="high:Q"),
        base.mark_line(color=look.baseline, opacity=0.5).encode(y=alt.Y("value:Q", scale=scale)),
        base.mark_point(filled=True, size=90, color=look.baseline, opacity=1).encode(y=alt.Y("value:Q", scale=scale)),
    ]
    told = ", ".join(f"{row['k']}: {row['value']:.3f}" for row in rows)
    return spec_of(alt.layer(*layers), look, height=220, description=f"Recall by the number of passages retrieved. {told}.")
