"""One query's two rankings as a chart: which passages both arms found, and where the relevant ones stand."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from ragtrial.report import words
from ragtrial.report.drawing import Look, Spec, spec_of, values

MOST_RANKS = 20
"""Ranks that are drawn: deeper ones are in the lists below the chart."""

_ROW = 26
_LONGEST = 46


def two_rankings(
    baseline: Sequence[str],
    custom: Sequence[str],
    *,
    names: tuple[str, str],
    titles: Mapping[str, str],
    grades: Mapping[str, int],
    look: Look,
) -> Spec:
    """Both rankings beside each other, best first, with a line between the places of a passage that both hold.

    Relevant passages have a star and a filled mark, and their line is thick; passages of one ranking alone have no line.

    Args:
        baseline: Passage ids of the control, best first.
        custom: Passage ids of the treatment, best first.
        names: Of the control and the treatment.
        titles: What passages are called; the id where there is none.
        grades: Judgments of this query by passage.
        look: Colours and width.
    """
    sides = {"left": list(baseline[:MOST_RANKS]), "right": list(custom[:MOST_RANKS])}
    deepest = max(map(len, sides.values()), default=0) or 1
    rows = [
        {
            "side": side,
            "rank": rank,
            "said": _said(passage_id, titles, grades),
            "relevant": grades.get(passage_id, 0) > 0,
        }
        for side, ids in sides.items()
        for rank, passage_id in enumerate(ids, start=1)
    ]
    theirs = {passage_id: rank for rank, passage_id in enumerate(sides["right"], start=1)}
    links = [
        {"from": rank, "to": theirs[passage_id], "relevant": grades.get(passage_id, 0) > 0}
        for rank, passage_id in enumerate(sides["left"], start=1)
        if passage_id in theirs
    ]
    at = {"left": 0.42 if look.narrow else 0.4, "right": 0.58 if look.narrow else 0.6}
    height = _ROW * deepest + 30
    y = {"scale": alt.Scale(domain=[0.2, deepest + 0.6], reverse=True, nice=False), "axis": None}
    layers = [_links(links, at, y, look), *(layer for side in sides for layer in _side(rows, side, names, at, y, look))]
    return spec_of(alt.layer(*layers), look, height=height, description=_description(sides, names, grades, len(links)))


def _x(at: float) -> Any:
    return alt.XDatum(at, type="quantitative", scale=alt.Scale(domain=[0, 1], nice=False), axis=None)


def _links(links: Sequence[dict[str, Any]], at: Mapping[str, float], y: dict[str, Any], look: Look) -> Any:
    return (
        alt.Chart(values(links))
        .mark_rule()
        .encode(
            x=_x(at["left"]),
            x2=alt.X2Datum(at["right"]),
            y=alt.Y("from:Q", **y),
            y2="to:Q",
            color=alt.condition("datum.relevant", alt.value(look.ink), alt.value(look.reference)),
            size=alt.condition("datum.relevant", alt.value(3), alt.value(1.2)),
            opacity=alt.condition("datum.relevant", alt.value(1), alt.value(0.55)),
        )
    )


def _side(
    rows: Sequence[dict[str, Any]], side: str, names: tuple[str, str], at: Mapping[str, float], y: dict[str, Any], look: Look
) -> list[Any]:
    """One ranking: its name, its ranks in marks, and what the passages are called, outwards."""
    left = side == "left"
    colour, name = (look.baseline, names[0]) if left else (look.custom, names[1])
    base = alt.Chart(values([row for row in rows if row["side"] == side]))
    place = {"x": _x(at[side]), "y": alt.Y("rank:Q", **y)}
    outwards: dict[str, Any] = {"align": "right" if left else "left", "dx": -17 if left else 17, "baseline": "middle"}
    room = 0.84 * (
        look.width * (at["left"] if left else 1 - at["right"]) - 26
    )  # the page's font may be wider than the one it is measured with
    return [
        base.mark_circle(size=380, opacity=1, stroke=colour, strokeWidth=1.6).encode(
            **place, color=alt.condition("datum.relevant", alt.value(colour), alt.value(look.surface))
        ),
        base.mark_text(fontSize=11, fontWeight=600, baseline="middle").encode(
            **place, text="rank:Q", color=alt.condition("datum.relevant", alt.value(look.surface), alt.value(colour))
        ),
        base.mark_text(fontSize=12, limit=room, **outwards).encode(
            **place, text="said:N", color=alt.condition("datum.relevant", alt.value(look.ink), alt.value(look.muted))
        ),
        alt.Chart(values([{"rank": 0.35}]))
        .mark_text(fontSize=12, fontWeight=700, color=colour, **(outwards | {"dx": 10 if left else -10}), text=name)
        .encode(x=_x(at[side]), y=alt.Y("rank:Q", **y)),
    ]


def _said(passage_id: str, titles: Mapping[str, str], grades: Mapping[str, int]) -> str:
    name = words.plain(titles.get(passage_id) or passage_id).replace("\n", " ")
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return f"★ {short}" if grades.get(passage_id, 0) > 0 else short


def _description(sides: Mapping[str, Sequence[str]], names: tuple[str, str], grades: Mapping[str, int], shared: int) -> str:
    parts = []
    for name, ids in zip(names, sides.values(), strict=True):
        ranks = [str(rank) for rank, passage_id in enumerate(ids, start=1) if grades.get(passage_id, 0) > 0]
        where = f"relevant at {'ranks' if len(ranks) > 1 else 'rank'} {', '.join(ranks)}" if ranks else "none relevant"
        parts.append(f"{name} {words.count(len(ids), 'passage')}, {where}")
    return f"Rankings: {'; '.join(parts)}; {shared} in both."
