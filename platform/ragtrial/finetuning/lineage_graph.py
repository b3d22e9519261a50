"""How a model came about and what became of it, as nodes and edges: data, pairs and votes -> model -> evaluation -> production.

A small structure that others build on: graphs are joined by their nodes' ids (`joined`), and drawn as Mermaid or DOT text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ragtrial.domain.fingerprint import digest
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.finetuning.registry_records import Change, Note

NodeKind = Literal["vote", "data", "pairs", "base", "model", "evaluation", "promotion"]
NODE_KINDS: tuple[NodeKind, ...] = get_args(NodeKind)

_SHAPES: dict[NodeKind, tuple[str, str, str]] = {
    "vote": ("([", "])", "oval"),
    "data": ("[(", ")]", "cylinder"),
    "pairs": ("[/", "/]", "parallelogram"),
    "base": ("[", "]", "box"),
    "model": ("[[", "]]", "box3d"),
    "evaluation": ("{{", "}}", "hexagon"),
    "promotion": (">", "]", "cds"),
}
_LABEL = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing in a lineage.

    Attributes:
        node_id: Unique in a graph; the same thing has the same id in every graph, e.g. `model:minilm@v2`.
        kind: What it is.
        label: For people, one line.
        details: Further facts, as JSON values.
    """

    node_id: str
    kind: NodeKind
    label: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """That one thing went into another.

    Attributes:
        source: Id of what went in.
        target: Id of what came of it.
        label: How; may be empty.
    """

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes and edges, each once; an edge's ends are among the nodes.

    Raises:
        ValueError: A node is there twice, or an edge has an end that is not there.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        ids = [node.node_id for node in self.nodes]
        if len(set(ids)) != len(ids):
            raise ValueError(f"a node is there twice: {Counter(ids).most_common(1)[0][0]!r}")
        strangers = {end for edge in self.edges for end in (edge.source, edge.target)} - set(ids)
        if strangers:
            raise ValueError(f"an edge leads to {min(strangers)!r}, which is no node")

    def downstream(self, node_ids: Iterable[str]) -> "Graph":
        """Some nodes with everything that they went into, directly or not, in the graph's order."""
        kept = set(node_ids)
        while grown := {edge.target for edge in self.edges if edge.source in kept} - kept:
            kept |= grown
        return Graph(
            nodes=tuple(node for node in self.nodes if node.node_id in kept),
            edges=tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        nodes = [{"id": node.node_id, "kind": node.kind, "label": node.label, "details": dict(node.details)} for node in self.nodes]
        return {"nodes": nodes, "edges": [{"source": e.source, "target": e.target, "label": e.label} for e in self.edges]}

    def mermaid(self) -> str:
        """A Mermaid flowchart, left to right."""
        ids = {node.node_id: f"n{number}" for number, node in enumerate(self.nodes)}
        lines = ["flowchart LR"]
        for node in self.nodes:
            opening, closing, _ = _SHAPES[node.kind]
            lines.append(f'    {ids[node.node_id]}{opening}"{_mermaid_text(node.label)}"{closing}:::{node.kind}')
        for edge in self.edges:
            arrow = f'-->|"{_mermaid_text(edge.label)}"|' if edge.label else "-->"
            lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
        return "\n".join(lines) + "\n"

    def dot(self) -> str:
        """A Graphviz digraph."""
        ids = {node.node_id: f"n{number}" for number, node in enumerate(self.nodes)}
        lines = ["digraph lineage {", "    rankdir=LR;"]
        lines += [f'    {ids[node.node_id]} [shape={_SHAPES[node.kind][2]}, label="{_dot_text(node.label)}"];' for node in self.nodes]
        lines += [f'    {ids[edge.source]} -> {ids[edge.target]} [label="{_dot_text(edge.label)}"];' for edge in self.edges]
        return "\n".join([*lines, "}"]) + "\n"


def joined(graphs: Iterable[Graph]) -> Graph:
    """All nodes and edges of several graphs, each once; of nodes with one id the first is kept."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str, str], Edge] = {}
    for graph in graphs:
        for node in graph.nodes:
            nodes.setdefault(node.node_id, node)
        for edge in graph.edges:
            edges.setdefault((edge.source, edge.target, edge.label), edge)
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges.values()))


def model_node(reference: str, lineage: Mapping[str, Any]) -> Node:
    """A registered version, `NAME@VERSION`."""
    made = str(lineage.get("created_at", ""))[:10]
    details = {"checksum": lineage.get("checksum"), "created_at": lineage.get("created_at")}
    return Node(node_id=f"model:{reference}", kind="model", label=f"{reference}{f', {made}' if made else ''}", details=details)


def pairs_node(path: str) -> Node:
    """A file of pairs, by its path as the training named it."""
    return Node(node_id=f"pairs:{path}", kind="pairs", label=path)


def of_model(reference: str, lineage: Mapping[str, Any]) -> Graph:
    """What a version was made from: its base, its judgments, its files of pairs."""
    model = model_node(reference, lineage)
    nodes, edges = [model], []
    base, data, pairs = (_mapping(lineage.get(key)) for key in ("base", "data", "pairs"))
    if base:
        registered = _registered(base)
        node_id = f"model:{registered}" if registered else f"base:{base.get('name')}@{base.get('revision')}"
        label = f"{base.get('name')}@{str(base.get('revision', ''))[:8]}"
        nodes.append(Node(node_id=node_id, kind="model" if registered else "base", label=label, details=dict(base)))
        edges.append(Edge(source=node_id, target=model.node_id, label="fine-tuned"))
    used = pairs.get("used")
    how = f"{used:,} pairs used of {pairs.get('found', used):,}" if isinstance(used, int) else ""
    if data:
        node_id = f"data:{data.get('path')}:{data.get('split')}"
        nodes.append(Node(node_id=node_id, kind="data", label=f"{data.get('path')} ({data.get('split')})", details=dict(data)))
        edges.append(Edge(source=node_id, target=model.node_id, label=how))
    for path in lineage.get("pair_files") or ():
        nodes.append(pairs_node(str(path)))
        edges.append(Edge(source=f"pairs:{path}", target=model.node_id, label="" if data else how))
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def of_pairs(path: str, pairs: Sequence[Pair], *, most_votes: int | None = 20) -> Graph:
    """Where a file's pairs come from: one node for each origin, and one for each trial whose votes made a pair.

    Args:
        path: As the training names the file.
        pairs: What it holds; `provenance["trials"]` names the trials that were voted on.
        most_votes: With more trials than that they are one node; None: never.
    """
    file = pairs_node(path)
    nodes, edges = {file.node_id: file}, []
    for origin, n in sorted(Counter(pair.origin for pair in pairs).items()):
        if origin == "vote":
            continue
        node = Node(node_id=f"data:{path}:{origin}", kind="data", label=f"{n:,} from {origin}", details={"origin": origin, "pairs": n})
        nodes[node.node_id] = node
        edges.append(Edge(source=node.node_id, target=file.node_id))
    voted = [(pair, trial) for pair in pairs if pair.origin == "vote" for trial in _trials(pair)]
    if most_votes is not None and len({trial for _, trial in voted}) > most_votes:
        many = sorted({trial for _, trial in voted})
        node = Node(node_id=f"vote:{path}", kind="vote", label=f"votes on {len(many):,} trials", details={"trials": many})
        nodes[node.node_id] = node
        edges.append(Edge(source=node.node_id, target=file.node_id))
        voted = []
    for pair, trial in voted:
        node_id = f"vote:{trial}"
        if node_id not in nodes:
            nodes[node_id] = Node(node_id=node_id, kind="vote", label=f"vote on trial {trial}", details=dict(pair.provenance))
            edges.append(Edge(source=node_id, target=file.node_id))
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges))


def of_notes(reference: str, lineage: Mapping[str, Any], notes: Sequence[Note]) -> Graph:
    """The evaluations that a version was part of."""
    model = model_node(reference, lineage)
    nodes, edges = {model.node_id: model}, []
    for note in notes:
        if note.kind != "evaluation":
            continue
        node_id = f"evaluation:{note.record.get('id')}"
        label = f"{note.record.get('id')}: {note.record.get('decision')}"
        nodes[node_id] = Node(node_id=node_id, kind="evaluation", label=label, details=dict(note.record))
        edges.append(Edge(source=model.node_id, target=node_id, label=str(note.record.get("role", ""))))
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges))


def of_history(name: str, lineages: Mapping[str, Mapping[str, Any]], history: Sequence[Change]) -> Graph:
    """What was promoted and rolled back, from the model and the evaluation that spoke for it.

    Args:
        name: Of the models.
        lineages: By version.
        history: Of the name.
    """
    nodes: dict[str, Node] = {}
    edges = []
    for change in history:
        if change.action not in ("promote", "rollback"):
            continue
        reference = f"{name}@{change.version}"
        model = model_node(reference, lineages.get(change.version, {}))
        said = f"{change.action} {reference}, {change.at[:16].replace('T', ' ')}"
        node_id = f"promotion:{change.details.get('operation') or digest([change.at, change.action, change.version])}"
        nodes[model.node_id] = model
        nodes[node_id] = Node(
            node_id=node_id, kind="promotion", label=said, details={"who": change.who, "reason": change.reason, **change.details}
        )
        evaluation = change.details.get("evaluation")
        if evaluation is None or change.action == "rollback":
            edges.append(Edge(source=model.node_id, target=node_id, label="forced" if change.details.get("overridden") else ""))
            continue
        source = f"evaluation:{evaluation}"
        nodes.setdefault(source, Node(node_id=source, kind="evaluation", label=str(evaluation)))
        edges += [Edge(source=model.node_id, target=source), Edge(source=source, target=node_id)]
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges))


def graph_of(
    model: RegisteredModel, *, notes: Sequence[Note], history: Sequence[Change], pair_files: Mapping[str, Sequence[Pair]]
) -> Graph:
    """Everything that is known of one version.

    Args:
        model: The version.
        notes: Of it.
        history: Of its name.
        pair_files: What the files hold that it was trained on, as far as they are at hand.
    """
    mine = [change for change in history if change.version == model.version]
    pairs = [of_pairs(path, found) for path, found in pair_files.items()]
    graph = joined(
        [
            *pairs,
            of_model(model.reference, model.lineage),
            of_notes(model.reference, model.lineage, notes),
            of_history(model.name, {model.version: model.lineage}, mine),
        ]
    )
    return _without_doubled_edges(graph)


def _without_doubled_edges(graph: Graph) -> Graph:
    """Of two edges between the same nodes the labelled one."""
    best: dict[tuple[str, str], Edge] = {}
    for edge in graph.edges:
        ends = (edge.source, edge.target)
        if ends not in best or not best[ends].label:
            best[ends] = edge
    return Graph(nodes=graph.nodes, edges=tuple(best.values()))


def _registered(base: Mapping[str, Any]) -> str | None:
    """`NAME@VERSION` of a base from the registry, also where it was asked for by an alias; None for any other base."""
    scheme, _, asked = str(base.get("location", "")).partition(":")
    name = asked.partition("@")[0]
    version = str(base.get("name", "")).removeprefix(f"{name}-")
    return f"{name}@{version}" if scheme == "registry" and re.fullmatch(r"v[1-9][0-9]*", version) else None


def _trials(pair: Pair) -> tuple[str, ...]:
    """The trials that were voted on; a file of other making may name one alone, or none."""
    many, one = pair.provenance.get("trials"), pair.provenance.get("trial_id")
    found = many if isinstance(many, list | tuple) else [one] if one is not None else ["not named"]
    return tuple(str(each) for each in found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mermaid_text(text: str) -> str:
    """Quotes end a label and `#` begins an entity; Mermaid reads its own entities, `#quot;`."""
    return re.sub(r"[`<>]", " ", _short(text)).replace("#", "#35;").replace('"', "#quot;")


def _dot_text(text: str) -> str:
    return _short(text).replace("\\", "\\\\").replace('"', '\\"')


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1]}…"
