"""trec_eval itself, through pytrec_eval: what our retrieval metrics are held to."""

from collections.abc import Mapping, Sequence

import pytrec_eval

_TREC_NAMES = {"nDCG": "ndcg_cut", "R": "recall", "P": "P", "AP": "map_cut", "Success": "success"}


def trec_eval(name: str, qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The metric of each query that has a ranking, by trec_eval.

    trec_eval ranks by score and breaks ties by id; it is given strictly decreasing scores, so it ranks as the rankings do.
    RR has no cut-off there: the ranking is cut instead.
    """
    measure, _, cutoff = name.partition("@")
    k = int(cutoff)
    depth = k if measure == "RR" else max(map(len, rankings.values()), default=0)
    run = {query_id: {p: float(depth - rank) for rank, p in enumerate(ids[:depth])} for query_id, ids in rankings.items() if ids}
    trec_name = "recip_rank" if measure == "RR" else f"{_TREC_NAMES[measure]}.{k}"
    evaluator = pytrec_eval.RelevanceEvaluator({q: dict(grades) for q, grades in qrels.items()}, {trec_name})
    return {query_id: values[trec_name.replace(".", "_")] for query_id, values in evaluator.evaluate(run).items()}
