"""Which queries people are asked about on a judged metric: drawn in rounds, once for everybody, and kept as a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragtrial.analysis.calibrating import Beside, beside
from ragtrial.analysis.setting import Setting
from ragtrial.domain.score import LoggedOpinion, PairedScores
from ragtrial.stats.labelling import items_to_label

_PER_ROUND = 10
_MOST_ROUNDS = 60


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is asked on one judged metric of an evaluation.

    Attributes:
        scorer: Version of the judge; empty where it scored nothing.
        both: The judge's scores, without labels.
        rounds: Queries of each round, with the chance of each to be drawn by then; empty where no query was scored in both arms.
    """

    scorer: str
    both: Beside
    rounds: tuple[Mapping[str, float], ...]


def draw(setting: Setting, metric: str, opinions: Sequence[LoggedOpinion], scorer: str) -> Drawn:
    """Draw by the plan's seed: the same for everybody, whatever was labelled.

    Args:
        setting: The evaluation at hand.
        metric: What was judged.
        opinions: Of the judge on this metric.
        scorer: Version of the judge.
    """
    both = beside(setting, metric, (), opinions)
    return Drawn(scorer=scorer, both=both, rounds=rounds_of(setting, both, metric))


def rounds_of(setting: Setting, both: Beside, metric: str) -> tuple[dict[str, float], ...]:
    """The queries of each round, with the chance of each to be drawn by then."""
    rows: list[int] = []
    rounds: list[dict[str, float]] = []
    differences, query_ids = both.scores.differences, both.scores.query_ids
    while len(rows) < len(query_ids) and len(rounds) < _MOST_ROUNDS:
        rng = setting.rng("queue", metric, setting.evaluation.evaluation_id, str(len(rounds)))
        more = min(_PER_ROUND, len(query_ids) - len(rows))
        plan = items_to_label(differences, rows, more=more, rng=rng, uncertainty=both.uncertainty)
        rounds.append({query_ids[row]: float(plan.probabilities[row]) for row in plan.rows})
        rows += [int(row) for row in plan.rows]
    return tuple(rounds)


def as_document(drawn: Drawn) -> dict[str, Any]:
    """All of it as JSON; `read_drawn` makes the same of it again. Its form is that of the conclusion that it is stored with."""
    both, scores = drawn.both, drawn.both.scores
    return {
        "scorer": drawn.scorer,
        "query_ids": list(scores.query_ids),
        "control": scores.control.tolist(),
        "treatment": scores.treatment.tolist(),
        "clusters": None if scores.clusters is None else scores.clusters.tolist(),
        "is_clustered": both.clusters is not None,
        "n_queries": scores.n_queries,
        "excluded": dict(scores.excluded),
        "uncertainty": None if both.uncertainty is None else both.uncertainty.tolist(),
        "rounds": [dict(part) for part in drawn.rounds],
    }


def read_drawn(document: Mapping[str, Any]) -> Drawn:
    """What `as_document` made JSON of."""
    clusters, uncertainty = document["clusters"], document["uncertainty"]
    scores = PairedScores(
        query_ids=tuple(document["query_ids"]),
        control=np.array(document["control"], dtype=np.float64),
        treatment=np.array(document["treatment"], dtype=np.float64),
        clusters=None if clusters is None else np.array(clusters, dtype=np.str_),
        n_queries=document["n_queries"],
        excluded=document["excluded"],
    )
    both = Beside(
        scores=scores,
        clusters=scores.clusters if document["is_clustered"] else None,
        uncertainty=None if uncertainty is None else np.array(uncertainty, dtype=np.float64),
        control={},
        treatment={},
        chosen_by_chances=False,
    )
    return Drawn(scorer=document["scorer"], both=both, rounds=tuple(document["rounds"]))
