"""From a vote to the model that it changed, and back: the lineage of all that a loop has made."""

from collections.abc import Iterator

from ragtrial.errors import InputError
from ragtrial.finetuning.lineage_graph import Graph, Node, graph_of, joined
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.formats.pairs import read_pairs
from ragtrial.formats.policy import PolicyFile
from ragtrial.suite.candidates import registry_of
from ragtrial.suite.cycles import CycleLog
from ragtrial.suite.looping import PAIRS


def loop_graph(file: PolicyFile, *, trial: str | None = None) -> Graph:
    """Votes, pairs, models, evaluations and promotions of every cycle.

    Args:
        file: The policy.
        trial: Only what came of the votes on this live trial, every trial beside it left out.

    Raises:
        InputError: No model was trained on a vote on this trial.
        ModelError: A record of the registry can't be read.
    """
    registry, log = registry_of(file), CycleLog(file.folder)
    graphs = []
    for cycle in log.all():
        if cycle.model is not None:
            model = registry.get(cycle.model)
            pairs = read_pairs(log.home(cycle) / PAIRS)
            notes, history = registry.notes(model.reference), registry.records(model.name).history
            graphs.append(graph_of(model, notes=notes, history=history, pair_files=dict.fromkeys(_pair_files(model), pairs)))
    whole = joined(graphs)
    return whole if trial is None else _of_trial(whole, trial)


def _pair_files(model: RegisteredModel) -> Iterator[str]:
    """The file that the cycle wrote, as the lineage names it; a policy's own files of pairs come before it."""
    files = model.lineage.get("pair_files") or ()
    yield from (str(path) for path in files[-1:])


def _of_trial(graph: Graph, trial: str) -> Graph:
    """The trial's node with everything that it went into."""
    start = [node for node in graph.nodes if node.kind == "vote" and _is_of(node, trial)]
    if not start:
        raise InputError(f"no model was trained on a vote on trial {trial!r}")
    return graph.downstream(node.node_id for node in start)


def _is_of(node: Node, trial: str) -> bool:
    return node.node_id == f"vote:{trial}" or trial in node.details.get("trials", ())
