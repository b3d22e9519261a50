"""Scores as a table, for those who have no database."""

from collections.abc import Sequence

import numpy as np

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score, ScoreTable


def table_of(metric: Metric, gold: GoldSet, rows: Sequence[tuple[str, str, Score]]) -> ScoreTable:
    """The score table of (query id, arm, score) rows; clusters as the queries name them, where all do."""
    position = {query.query_id: i for i, query in enumerate(gold.queries)}
    clusters = tuple(query.cluster for query in gold.queries)
    return ScoreTable(
        metric=metric,
        query_ids=tuple(position),
        clusters=None if None in clusters else tuple(cluster or "" for cluster in clusters),
        query=np.array([position[query_id] for query_id, _, _ in rows], dtype=np.int64),
        arm=np.array([arm for _, arm, _ in rows], dtype=np.str_),
        value=np.array([np.nan if score.value is None else score.value for _, _, score in rows], dtype=np.float64),
        unscored=np.array([score.unscored for _, _, score in rows], dtype=object),
    )
