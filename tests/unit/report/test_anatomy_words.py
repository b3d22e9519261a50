"""Titles of the charts of where a difference comes from: what they found, in one sentence."""

import dataclasses

import pytest

from ragtrial.analysis.anatomy import Anatomy, LiftCell, OverlapAt, RecallAt
from ragtrial.domain.metric import metric_named
from ragtrial.report import anatomy_words as said

F1 = metric_named("answer_f1")


def cell(retrieval: str, better: int, equal: int, worse: int, **changes: object) -> LiftCell:
    n = better + equal + worse
    given = {"n": n, "n_scored": n, "mean": 0.1 if n else None, "low": 0.05 if n else None, "high": 0.15 if n else None, "reason": None}
    return LiftCell(retrieval=retrieval, better=better, equal=equal, worse=worse, **{**given, **changes})  # type: ignore[arg-type]


def anatomy(*cells: LiftCell, answers: str | None = "answer_f1", retrieval: str | None = "nDCG@10", **changes: object) -> Anatomy:
    empty = {"recall_curves": (), "overlaps": (), "n_without_ranking": 0, "n_without_score": 0, "gains": (), "n_gains": 0, "lengths": ()}
    return Anatomy(retrieval_metric=retrieval, answer_metric=answers, lift=cells, **{**empty, **changes})  # type: ignore[arg-type]


def curves(baseline: list[float], custom: list[float]) -> list[RecallAt]:
    lines = {"baseline": baseline, "custom": custom, "bm25": [0.0] * len(baseline)}
    return [
        RecallAt(arm=arm, k=k, mean=mean, low=None, high=None, n=10) for arm, line in lines.items() for k, mean in enumerate(line, start=1)
    ]


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        (
            [cell("better", 41, 19, 0), cell("worse", 0, 5, 2), cell("same passages", 0, 50, 0)],
            "Where custom retrieved better, answers got better in 41 of 60 queries; where both arms found the same passages they stayed the same",
        ),
        (
            [cell("better", 3, 2, 1), cell("same passages", 1, 50, 2)],
            (
                "Where custom retrieved better, answers got better in 3 of 6 queries and worse in 1; "
                "where both arms found the same passages 3 of 53 answers changed all the same"
            ),
        ),
        (
            [cell("better", 3, 2, 1), cell("worse", 10, 32, 12)],
            "Where custom retrieved worse, answers got worse in 12 of 54 queries and better in 10",
        ),
        (
            [cell("worse", 1, 3, 4)],
            "Where custom retrieved worse, answers got worse in 4 of 8 queries and better in 1",
        ),
        ([cell("same passages", 0, 9, 0)], "Where both arms found the same passages they stayed the same"),
        (
            [cell("other passages", 2, 9, 0)],
            "Both arms found other passages that are as good, and answers got better in 2 of 11 queries",
        ),
    ],
)
def test_where_the_lift_comes_from(cells: list[LiftCell], title: str) -> None:
    assert said.lift(anatomy(*cells), treatment="custom") == title


def test_without_answers_it_tells_of_retrieval_alone() -> None:
    found = anatomy(cell("better", 0, 0, 0, n=30), cell("worse", 0, 0, 0, n=12), cell("same passages", 0, 0, 0, n=58), answers=None)
    assert said.lift(found, treatment="custom") == ("custom retrieved better on 30 and worse on 12 of 100 queries; answers were not scored")


def test_without_a_retrieval_metric_or_a_scored_answer_it_says_so() -> None:
    assert said.lift(anatomy(retrieval=None), treatment="custom").startswith("No retrieval metric was measured")
    unscored = cell("better", 0, 0, 0, n=30, reason="no query of these has a value of answer_f1 in both arms")
    assert said.lift(anatomy(unscored), treatment="custom") == (
        "No answers were scored in both arms: no query of these has a value of answer_f1 in both arms"
    )


def test_what_the_chart_leaves_out_is_counted() -> None:
    found = anatomy(cell("better", 1, 1, 0, n=5), n_without_ranking=2, n_without_score=1)
    assert said.lift_caption(found).endswith(
        "Not drawn: 3 queries without a scored answer in both arms; 2 queries whose search failed; "
        "1 query with other passages of which nothing says which are better."
    )
    assert "Not drawn" not in said.lift_caption(anatomy(cell("better", 1, 1, 0)))


def test_a_mean_gain_stands_with_its_interval_or_the_reason() -> None:
    assert said.cell_gain(cell("better", 1, 1, 0), F1) == "+0.1000 [+0.0500, +0.1500]"
    assert said.cell_gain(cell("better", 1, 1, 0, low=None, high=None, reason="one query"), F1) == "+0.1000, no interval"
    assert said.cell_gain(cell("better", 0, 0, 0, reason="nothing was scored"), F1) == "nothing was scored"


@pytest.mark.parametrize(
    ("baseline", "custom", "title"),
    [
        ([0.4, 0.6, 0.8], [0.5, 0.7, 0.9], "custom finds more at every depth (R@1 0.40 → 0.50, R@3 0.80 → 0.90)"),
        ([0.4, 0.6, 0.8], [0.4, 0.6, 0.8], "Both arms find as much at every depth (R@1 0.40 → 0.40, R@3 0.80 → 0.80)"),
        ([0.4, 0.6, 0.8], [0.3, 0.6, 0.8], "custom finds less in the first place (R@1 0.40 → 0.30, R@3 0.80 → 0.80)"),
        ([0.4, 0.6, 0.8], [0.5, 0.7, 0.7], "custom finds more among the first 2 and less from k = 3 on (R@1 0.40 → 0.50, R@3 0.80 → 0.70)"),
        ([0.4, 0.6, 0.8], [0.4, 0.7, 0.8], "custom finds more at 1 of 3 depths (R@1 0.40 → 0.40, R@3 0.80 → 0.80)"),
        ([0.4], [0.6], "custom finds more at every depth (R@1 0.40 → 0.60)"),
    ],
)
def test_who_finds_more_and_how_deep(baseline: list[float], custom: list[float], title: str) -> None:
    assert said.recall(curves(baseline, custom), baseline="baseline", custom="custom") == title


def test_recall_of_one_arm_alone_compares_nothing() -> None:
    alone = [each for each in curves([0.4], [0.5]) if each.arm != "custom"]
    assert said.recall(alone, baseline="baseline", custom="custom") == "Recall could not be measured: no query has a relevant passage"


def test_recall_values_hold_intervals_where_there_are_some() -> None:
    points = [RecallAt(arm="custom", k=k, mean=0.5, low=0.4, high=0.6, n=9) for k in (1, 5)]
    assert said.recall_values(points) == "Recall by depth: custom R@1 0.5000 [0.4000, 0.6000], R@5 0.5000 [0.4000, 0.6000]"


@pytest.mark.parametrize(
    ("shares", "title"),
    [
        ([0.57, 0.62], "The arms share 1.2 of their first 2 passages, and agree on the first one for 57% of 40 queries"),
        ([0.9, 0.999], "The arms share nearly all of their first 2 passages, and agree on the first one for 90% of 40 queries"),
        ([1.0, 1.0], "Both arms show the same 2 passages"),
        ([], "No query has a ranking in both arms, so nothing can be in common"),
    ],
)
def test_how_much_the_arms_have_in_common(shares: list[float], title: str) -> None:
    assert said.overlap([OverlapAt(k=k, mean=mean, n=40) for k, mean in enumerate(shares, start=1)]) == title


def test_cells_are_named_with_their_queries() -> None:
    assert said.cell_name(cell("other passages", 1, 2, 3)) == "others, as good (6)"
    changed = dataclasses.replace(cell("better", 1, 0, 0), low=None, high=None, reason="one query")
    assert said.cell_values(changed) == "retrieval better (1): 1 better, 0 the same, 0 worse, mean gain +0.1000"
