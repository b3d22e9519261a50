"""Charts of models: how training went, and where a model puts passages and queries.

As in `charts`: every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from ragtrial.domain.embedding_map import EmbeddingMap
from ragtrial.report.drawing import Look, Spec, spec_of, value_axis, values

MOST_TOPICS = 7
OTHER = "other"
NO_TOPIC = "no topic"

_TOPICS = ("#2b7fc3", "#d9691e", "#1f9d6f", "#bf5f9a", "#a08000", "#7d6bc4", "#4fa7b8")
"""After Okabe and Ito 2008, of a middle lightness: they show on white and on black."""

_HEIGHT = 360


def training(curve: Sequence[Mapping[str, Any]], *, metric: str, look: Look) -> Spec:
    """The dev metric and the loss at every step of a training that recorded them, on one axis of steps.

    Where training queries were watched beside, theirs is a thin line: how far it is above the other one shows overfitting.

    Args:
        curve: Of a lineage: rows with `step` and either `loss` or the dev metric, with `train <metric>` where it was measured.
        metric: Name of the dev metric.
        look: Colours and width.
    """
    losses = [{"step": row["step"], "loss": row["loss"]} for row in curve if "loss" in row]
    dev = [{"step": row["step"], "dev": row[metric], "said": f"{row[metric]:.3f}"} for row in curve if metric in row]
    train_metric = f"train {metric}"
    train = [{"step": row["step"], "dev": row[train_metric]} for row in curve if train_metric in row]
    last = max((row["step"] for row in curve), default=1)
    x = alt.X(
        "step:Q", title="training step", scale=alt.Scale(domain=[-0.04 * last, last * 1.06], nice=False), axis=value_axis(look, grid=False)
    )
    layers: list[Any] = []
    if losses:
        axis = value_axis(look, grid=False)
        axis.orient, axis.titleAnchor = "right", "middle"
        y = alt.Y("loss:Q", title="loss (dashed)", scale=alt.Scale(zero=True), axis=axis)
        layers.append(alt.Chart(values(losses)).mark_line(color=look.muted, strokeDash=[4, 3], strokeWidth=1.5).encode(x=x, y=y))
    if dev:
        title = f"{metric} on the dev split" + (" (thin: training queries)" if train else "")
        y = alt.Y("dev:Q", title=title, scale=alt.Scale(zero=False, padding=14), axis=value_axis(look))
        base = alt.Chart(values(dev)).encode(x=x, y=y)
        marks = [
            base.mark_line(color=look.custom, strokeWidth=2.5),
            base.mark_point(color=look.custom, shape="square", filled=True, size=90, opacity=1),
            base.mark_text(color=look.ink, dy=-14, fontWeight=600).encode(text="said:N"),
        ]
        beside = [alt.Chart(values(train)).mark_line(color=look.muted, strokeWidth=1.5).encode(x=x, y=y)] if train else []
        layers.append(alt.layer(*beside, *marks))
    first_last = f"{metric} from {dev[0]['said']} to {dev[-1]['said']}" if dev else "no dev metric was recorded"
    aside = f"; of training queries from {train[0]['dev']:.3f} to {train[-1]['dev']:.3f}" if train else ""
    drawn = alt.layer(*layers).resolve_scale(y="independent")
    return spec_of(drawn, look, height=230, description=f"Training over {last} steps: {first_last}{aside}.")


def topics_of(maps: Sequence[EmbeddingMap]) -> tuple[str, ...]:
    """The topics that have a colour of their own, the same in all maps: those of most queries."""
    counts = Counter(point.topic for each in maps for point in each.points if point.kind == "query" and point.topic)
    return tuple(sorted(topic for topic, _ in counts.most_common(MOST_TOPICS)))


def embedding_map(found: EmbeddingMap, *, topics: Sequence[str], look: Look) -> Spec:
    """Passages as small dots, queries as large ones, those that the baseline misses crossed; coloured by topic.

    Args:
        found: One arm's map.
        topics: From `topics_of`, for all maps that stand beside each other.
        look: Colours and width.
    """
    named = {topic: topic for topic in topics}
    rows = [
        {
            "x": point.x,
            "y": point.y,
            "topic": NO_TOPIC if point.topic is None else named.get(point.topic, OTHER),
            "what": "passage" if point.kind == "passage" else "missed" if point.missed else "query",
        }
        for point in found.points
    ]
    there = {row["topic"] for row in rows}
    order = [name for name in (*topics, OTHER, NO_TOPIC) if name in there]
    palette = dict(zip(topics, _TOPICS, strict=False))
    colours = [palette.get(name, look.reference if name == OTHER else look.line) for name in order]
    legend = alt.Legend(title=None, orient="top", columns=2 if look.narrow else 4, columnPadding=24, symbolSize=90, symbolOpacity=1)
    colour = alt.Color("topic:N", scale=alt.Scale(domain=order, range=colours), legend=legend)
    hidden = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    x = alt.X("x:Q", scale=alt.Scale(domain=[-1.05, 1.05]), axis=hidden)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[-1.05, 1.05]), axis=hidden)
    base = alt.Chart(values(rows)).encode(x=x, y=y, color=colour)
    layers = [
        base.transform_filter(alt.datum.what == "passage").mark_point(filled=True, size=14, opacity=0.4, shape="circle"),
        base.transform_filter(alt.datum.what == "query").mark_point(filled=True, size=58, opacity=0.95, shape="circle"),
        base.transform_filter(alt.datum.what == "missed").mark_point(filled=False, size=95, opacity=1, shape="cross", strokeWidth=2),
    ]
    kinds = Counter(row["what"] for row in rows)
    is_known = all(point.missed is not None for point in found.points if point.kind == "query")
    missed = f", {kinds['missed']} of them missed by the baseline" if is_known else ""
    description = (
        f"Map of {kinds['query'] + kinds['missed']} queries{missed}, and {kinds['passage']} passages as {found.arm}'s model sees them."
    )
    return spec_of(alt.layer(*layers), look, height=_HEIGHT, description=description)
