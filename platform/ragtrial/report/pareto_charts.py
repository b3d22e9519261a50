"""The Pareto picture of a model's variants: what each loses against what it costs."""

from typing import Any

import altair as alt

from ragtrial.domain.quantization import Quantization, VariantResult
from ragtrial.report.drawing import Look, Spec, spec_of, value_axis, values

COSTS = {
    "all": "cost as a share of float32 (geometric mean of query, passages and bytes)",
    "query": "seconds a query as a share of float32",
    "passage": "seconds a passage as a share of float32",
    "bytes": "bytes a vector as a share of float32",
}


def pareto(found: Quantization, *, look: Look) -> Spec:
    """Each variant by its cost and its difference from the reference, with the simultaneous interval; the front joined, the pick filled.

    Args:
        found: The variants.
        look: Colours and width.
    """
    drawn = [result for result in (found.reference, *found.results) if result.costs is not None and _difference(result) is not None]
    rows = [_row(found, result) for result in drawn]
    title = COSTS[found.by].partition(" (")[0] if look.narrow else COSTS[found.by]
    x = alt.X("cost:Q", title=title, scale=alt.Scale(type="log", padding=18, nice=False), axis=value_axis(look))
    y = alt.Y("difference:Q", title=f"{found.metric}, variant minus reference", scale=alt.Scale(padding=14), axis=value_axis(look))
    margin = alt.Chart(values([{"at": -found.max_loss}])).mark_rule(color=look.muted, strokeDash=[4, 3]).encode(y="at:Q")
    front = (
        alt.Chart(values([row for row in rows if row["front"]])).mark_line(color=look.muted, strokeWidth=1.3, opacity=0.6).encode(x=x, y=y)
    )
    base = alt.Chart(values(rows))
    bars = base.transform_filter("isValid(datum.low)").mark_rule(color=look.muted, strokeWidth=1.3).encode(x=x, y="low:Q", y2="high:Q")
    colour = alt.Color(
        "kind:N", scale=alt.Scale(domain=["pick", "within", "beyond"], range=[look.custom, look.baseline, look.reference]), legend=None
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=colour)
    named = alt.Chart(values([row for row in rows if row["front"] or row["kind"] == "pick"]))
    text: dict[str, Any] = {"fontSize": 11, "color": look.ink}
    middle = max((row["cost"] for row in rows), default=1.0) ** 0.5 * min((row["cost"] for row in rows), default=1.0) ** 0.5
    sides = [("left", 7, f"datum.cost <= {middle}"), ("right", -7, f"datum.cost > {middle}")]  # towards the middle, where there is room
    heights = [(-14, "datum.kind == 'pick'"), (14, "datum.kind != 'pick'")]
    names = [
        named.transform_filter(f"{where} && {which}").mark_text(align=side, dx=dx, dy=dy, **text).encode(x=x, y=y, text="name:N")
        for side, dx, where in sides
        for dy, which in heights
    ]
    layers: list[Any] = [margin, front, bars, points, *([] if look.narrow else names)]
    said = f"{len(rows)} variants by cost and loss of {found.metric}; the pick is {found.pick.variant.name}."
    return spec_of(alt.layer(*layers), look, height=380, description=said)


def _difference(result: VariantResult) -> float | None:
    return 0.0 if result.identical else result.estimate


def _row(found: Quantization, result: VariantResult) -> dict[str, Any]:
    kind = "pick" if result is found.pick else "within" if result.within(found.max_loss) else "beyond"
    return {
        "name": result.variant.name,
        "cost": found.cost(result),
        "difference": _difference(result),
        "low": result.low,
        "high": result.high,
        "kind": kind,
        "front": found.on_front(result),
    }
