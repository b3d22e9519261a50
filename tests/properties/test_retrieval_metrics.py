"""On any judgments and any ranking, our metrics are trec_eval's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.trec_eval import trec_eval
from ragtrial.domain.metric import metric_named
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values

PASSAGES = [f"p{i}" for i in range(12)]
NAMES = [f"{measure}@{k}" for measure in ("nDCG", "R", "P", "RR", "AP", "Success") for k in (1, 2, 3, 5, 10, 20)]

grades = st.dictionaries(st.sampled_from(PASSAGES), st.integers(0, 5), max_size=len(PASSAGES))
ranking = st.lists(st.sampled_from(PASSAGES), max_size=20)  # may name a passage twice


@given(judged=st.lists(st.tuples(grades, ranking), min_size=1, max_size=5))
def test_any_ranking_scores_as_in_trec_eval(judged):
    qrels = {f"q{i}": grades for i, (grades, _) in enumerate(judged)}
    rankings = {f"q{i}": list(dict.fromkeys(ids)) for i, (_, ids) in enumerate(judged)}
    ranks = rank_arrays([ids for _, ids in judged], list(qrels.values()), depth=20)
    for name in NAMES:
        theirs = trec_eval(name, qrels, rankings)
        for query_id, value in zip(qrels, retrieval_values(metric_named(name), ranks), strict=True):
            if not any(grade > 0 for grade in qrels[query_id].values()):
                assert math.isnan(value)
            else:  # trec_eval leaves out a query without a ranking; its option -c counts it as 0
                assert value == pytest.approx(theirs.get(query_id, 0.0), abs=1e-9), (name, query_id)


@given(grades=grades, ids=ranking, better=st.integers(0, 18))
def test_moving_a_better_passage_up_never_lowers_a_metric(grades, ids, better):
    ids = list(dict.fromkeys(ids))
    rank = better % max(len(ids) - 1, 1)
    if len(ids) <= rank + 1 or grades.get(ids[rank + 1], 0) <= grades.get(ids[rank], 0):
        return
    swapped = [*ids[:rank], ids[rank + 1], ids[rank], *ids[rank + 2 :]]
    ranks = rank_arrays([ids, swapped], [grades, grades], depth=20)
    for name in NAMES:
        before, after = retrieval_values(metric_named(name), ranks)
        assert after >= before - 1e-12, name


@given(grades=grades, ids=ranking)
def test_every_defined_value_is_a_share(grades, ids):
    ranks = rank_arrays([ids], [grades], depth=20)
    for name in [*NAMES, "Judged@5", "Judged@20"]:
        (value,) = retrieval_values(metric_named(name), ranks)
        assert math.isnan(value) or 0 <= value <= 1 + 1e-12, name
