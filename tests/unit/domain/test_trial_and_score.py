"""What happened and what it was worth: a result or a failure, a number or a reason, never both and never neither."""

import math

import numpy as np
import pytest

from ragtrial.domain.metric import metric_named
from ragtrial.domain.score import Design, Score, ScoreTable
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial

METRIC = metric_named("nDCG@10")
FAILURE = Failure(stage="search", kind="StoreError", message="gone")


def hits(*similarities: float) -> tuple[Hit, ...]:
    return tuple(Hit(passage_id=f"p{i}", similarity=similarity) for i, similarity in enumerate(similarities))


def table(
    *rows: tuple[int, str, float | str], n: int = 4, clusters: tuple[str, ...] | None = None, design: Design = "paired"
) -> ScoreTable:
    """Rows of (query's place, arm, value or reason)."""
    return ScoreTable(
        metric=METRIC,
        design=design,
        query_ids=tuple(f"q{i}" for i in range(n)),
        clusters=clusters,
        query=np.array([row[0] for row in rows], dtype=np.int64),
        arm=np.array([row[1] for row in rows], dtype=np.str_),
        value=np.array([row[2] if isinstance(row[2], float) else np.nan for row in rows], dtype=np.float64),
        unscored=np.array([row[2] if isinstance(row[2], str) else None for row in rows], dtype=object),
    )


def test_a_ranking_is_best_first_finite_and_holds_a_passage_once() -> None:
    assert Ranking(query_id="q", hits=hits(0.9, 0.9, 0.1)).passage_ids == ("p0", "p1", "p2")
    assert Ranking(query_id="q", hits=()).passage_ids == ()
    for similarities in ((0.1, 0.2), (math.nan,), (math.inf,)):
        with pytest.raises(ValueError, match="ranking of 'q': similarity"):
            Ranking(query_id="q", hits=hits(*similarities))
    with pytest.raises(ValueError, match="holds a passage twice"):
        Ranking(query_id="q", hits=(*hits(0.5), *hits(0.5)))


def test_an_answer_is_empty_exactly_where_it_abstained() -> None:
    for text, reason in (("", "stop"), ("  ", "length"), ("Yes.", "abstained")):
        with pytest.raises(ValueError, match="empty exactly where it abstained"):
            Answer(text=text, finish_reason=reason, generator="g")  # type: ignore[arg-type]


def test_a_trial_has_a_ranking_or_a_failure_and_never_an_answer_with_a_failure() -> None:
    with pytest.raises(ValueError, match="trial of 'q' in arm 'a' has neither a ranking nor a failure"):
        Trial(arm="a", query_id="q")
    with pytest.raises(ValueError, match="has both an answer and a failure"):
        Trial(arm="a", query_id="q", ranking=Ranking(query_id="q", hits=()), answer=Answer(text="x", generator="g"), failure=FAILURE)
    assert Trial(arm="a", query_id="q", failure=FAILURE).answer is None


def test_latency_is_from_the_query_to_the_answer() -> None:
    assert Timings(embed_ms=1.0, search_ms=20.0, generate_ms=300.0).latency_ms == 321.0


@pytest.mark.parametrize("parts", [{}, {"value": 0.5, "unscored": "why"}, {"unscored": ""}])
def test_a_score_is_a_number_or_a_reason(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give a value or the reason why there is none"):
        Score(metric="nDCG@10", scorer="s", **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="give the reason instead"):
        Score(metric="nDCG@10", value=value, scorer="s")


def test_a_table_with_a_value_and_a_reason_in_one_row_is_refused() -> None:
    good = table((0, "a", 0.5))
    with pytest.raises(ValueError, match="1 rows have both or neither"):
        ScoreTable(
            metric=METRIC,
            query_ids=good.query_ids,
            query=good.query,
            arm=good.arm,
            value=good.value,
            unscored=np.array(["why"], dtype=object),
        )


def test_repetitions_are_averaged_over_those_that_were_scored() -> None:
    scores = table((0, "a", 0.0), (0, "a", 1.0), (1, "a", 0.4), (1, "a", "failed: search"), (2, "a", "failed: search"))
    means = scores.per_query("a")
    assert means[:2] == pytest.approx([0.5, 0.4])
    assert np.isnan(means[2:]).all()
    assert np.isnan(scores.per_query("nobody")).all()


def test_pairs_are_the_queries_that_both_arms_have_and_the_others_are_counted_by_arm_and_reason() -> None:
    scores = table(
        *((0, "a", 0.1), (1, "a", 0.2), (2, "a", "nothing relevant"), (3, "a", 0.4)),
        *((0, "b", 0.5), (1, "b", "failed: search"), (2, "b", "nothing relevant")),
        clusters=("w", "x", "y", "z"),
    )
    pairs = scores.paired("a", "b")
    assert pairs.query_ids == ("q0",)
    assert pairs.differences == pytest.approx([0.4])  # 0.5 - 0.1: treatment minus control
    assert list(pairs.clusters if pairs.clusters is not None else ()) == ["w"]
    assert (pairs.n_scored, pairs.n_queries) == (1, 4)
    assert pairs.excluded == {"a: nothing relevant": 1, "b: failed: search": 1, "b: nothing relevant": 1, "b: no trial": 1}


def test_pairs_of_nothing_are_empty_and_say_why() -> None:
    pairs = table((0, "a", 0.1), n=1).paired("a", "b")
    assert (pairs.n_scored, pairs.differences.shape, pairs.clusters) == (0, (0,), None)
    assert pairs.excluded == {"b: no trial": 1}


def test_scores_of_different_units_are_not_paired() -> None:
    with pytest.raises(ValueError, match="by_unit"):
        table((0, "a", 0.1), design="by_unit").paired("a", "b")


def test_reasons_are_counted_by_row() -> None:
    scores = table((0, "a", "failed: search"), (0, "a", "failed: search"), (1, "a", 0.5), (1, "b", "no answer"))
    assert scores.reasons("a") == {"failed: search": 2}
    assert scores.reasons("b") == {"no answer": 1}
