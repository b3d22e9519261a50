"""What an LLM judge's opinions tell about it, on opinions whose outcome can be worked out by hand."""

import numpy as np
import pytest

from ragtrial.analysis.analysing import analyse
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import AnalysisPlan, Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.generation import JudgeSpec
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import LoggedOpinion, Opinion
from ragtrial.domain.trial import Answer, Ranking, Trial, Usage
from ragtrial.domain.verdict import Analysis
from unit.test_analysis import conclude, evaluation, table

ARMS = ("baseline", "custom")
EMBEDDING = EmbeddingSpec(provider="hashing", model="a")


def experiment(primary: str) -> Experiment:
    return Experiment(
        name="test",
        data=DataSpec(path="somewhere"),
        arms=(Arm(name="baseline", role="control", embedding=EMBEDDING), Arm(name="custom", role="treatment", embedding=EMBEDDING)),
        metrics=MetricsPlan(primary=PrimaryMetric(name=primary), judge=JudgeSpec(model="m")),
        analysis=AnalysisPlan(resamples=1000, min_queries=10),
    )


def opinions_of(metric: str, arm: str, values: np.ndarray, *, shared: frozenset[int] = frozenset()) -> list[LoggedOpinion]:
    """One opinion for each query (row) and repetition (column); shared queries have the same key in both arms."""
    return [
        LoggedOpinion(
            arm=arm,
            query_id=f"q{query}",
            trial_repetition=0,
            metric=metric,
            opinion=Opinion(
                repetition=again,
                key=f"{'both' if query in shared else arm}-{query}-{again}",
                value=float(value),
                verdict="treatment",
                n_calls=1,
                cost_usd=0.001,
            ),
        )
        for (query, again), value in np.ndenumerate(values)
    ]


def judged(control: np.ndarray, treatment: np.ndarray, *, shared: frozenset[int] = frozenset(), trials: tuple[Trial, ...] = ()) -> Analysis:
    metric, n = "judge_correctness", len(control)
    plan = experiment(metric)
    tables = {metric: table(metric, {"baseline": control.mean(axis=1), "custom": treatment.mean(axis=1)})}
    gold = GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(n)), judgments=())
    opinions = [*opinions_of(metric, "baseline", control, shared=shared), *opinions_of(metric, "custom", treatment, shared=shared)]
    return analyse(
        evaluation=evaluation(plan, n),
        experiment=plan,
        gold=gold,
        tables=tables,
        failures={},
        opinions=opinions,
        trials=trials,
        scorers={metric: "judge/1 m 12345678"},
    )


def test_a_judge_that_never_wavers_adds_nothing_to_the_variance() -> None:
    rng = np.random.default_rng(3)
    control, treatment = (np.repeat(rng.choice([0.0, 0.5, 1.0], 40)[:, None], 3, axis=1) for _ in ARMS)
    (judge,) = judged(control, treatment).judges
    assert (judge.n_opinions, judge.n_repeated, judge.flipped, judge.disagreement, judge.noise_share) == (240, 80, 0.0, 0.0, 0.0)
    assert judge.half_width == judge.half_width_judgments
    assert judge.scorer == "judge/1 m 12345678"


def test_a_judge_that_throws_coins_is_all_the_variance_there_is() -> None:
    rng = np.random.default_rng(4)
    control, treatment = (rng.choice([0.0, 1.0], (2_000, 3)) for _ in ARMS)
    (judge,) = judged(control, treatment).judges
    assert judge.flipped == pytest.approx(0.75, abs=0.03)  # three coins agree in 2 of 8 cases
    assert judge.disagreement == pytest.approx(0.5, abs=0.03)
    assert judge.noise_share == pytest.approx(1.0, abs=0.1)
    assert judge.half_width is not None
    assert judge.half_width_judgments == pytest.approx(judge.half_width / np.sqrt(2), rel=0.05)


def test_what_both_arms_share_is_asked_once_and_adds_no_noise() -> None:
    rng = np.random.default_rng(5)
    same = rng.choice([0.0, 1.0], (50, 3))
    control, treatment = np.vstack([same, np.zeros((50, 3))]), np.vstack([same, np.ones((50, 3))])
    treatment[50:60] = 0.0
    analysis = judged(control, treatment, shared=frozenset(range(50)))
    (judge,), (calls,) = analysis.judges, analysis.calls
    assert judge.noise_share == 0.0
    assert (calls.purpose, calls.made, calls.alone) == ("judge_correctness", 450, 600)
    assert (calls.cost_usd, calls.cost_alone_usd) == (pytest.approx(0.45), pytest.approx(0.6))


def test_judged_once_the_noise_is_not_known_and_that_is_said() -> None:
    rng = np.random.default_rng(6)
    (judge,) = judged(rng.random((30, 1)), rng.random((30, 1))).judges
    assert (judge.noise_share, judge.flipped) == (None, None)
    assert "judged twice" in (judge.why_not or "")


def repeated(answers: np.ndarray, *, same: bool = False, times: int = 3) -> list[LoggedOpinion]:
    """Opinions, all alike, on answers of shape (arm, query, repetition of the trial); `same`: one answer in all repetitions."""
    return [
        LoggedOpinion(
            arm=ARMS[arm],
            query_id=f"q{query}",
            trial_repetition=trial,
            metric="judge_correctness",
            opinion=Opinion(
                repetition=again, key=f"{arm}-{query}-{0 if same else trial}-{again}", value=float(value), n_calls=1, cost_usd=0.001
            ),
        )
        for (arm, query, trial), value in np.ndenumerate(answers)
        for again in range(times)
    ]


def analysed(opinions: list[LoggedOpinion], answers: np.ndarray) -> Analysis:
    metric, plan, n = "judge_correctness", experiment("judge_correctness"), answers.shape[1]
    return analyse(
        evaluation=evaluation(plan, n),
        experiment=plan,
        gold=GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(n)), judgments=()),
        tables={metric: table(metric, dict(zip(ARMS, answers.mean(axis=2), strict=True)))},
        failures={},
        opinions=opinions,
    )


def test_answers_that_differ_from_repetition_to_repetition_are_not_the_judges_noise() -> None:
    answers = np.random.default_rng(9).choice([0.0, 1.0], (2, 40, 3))
    (judge,) = analysed(repeated(answers), answers).judges
    assert (judge.flipped, judge.noise_share) == (0.0, 0.0)


def test_several_answers_judged_once_each_do_not_show_the_judges_noise() -> None:
    answers = np.random.default_rng(9).choice([0.0, 1.0], (2, 40, 3))
    (judge,) = analysed(repeated(answers, times=1), answers).judges
    assert judge.noise_share is None
    assert "judged twice" in (judge.why_not or "")


def test_an_answer_that_an_arm_gives_again_saves_nothing_by_sharing() -> None:
    answers = np.repeat(np.random.default_rng(9).choice([0.0, 1.0], (2, 40, 1)), 3, axis=2)
    (calls,) = analysed(repeated(answers, same=True), answers).calls
    assert (calls.made, calls.alone) == (240, 240)
    assert calls.cost_alone_usd == pytest.approx(0.24)


def answered(arm: str, query: int, *, shared: bool, cost: float | None = 0.01) -> Trial:
    answer = Answer(text="x", generator="openai-compatible/1", usage=Usage(cost_usd=cost), generate_ms=12.0)
    return Trial(arm=arm, query_id=f"q{query}", ranking=Ranking(query_id=f"q{query}", hits=()), answer=answer, answer_shared=shared)


def test_shared_answers_are_counted_once() -> None:
    values = np.random.default_rng(7).random((20, 1))
    trials = tuple(answered(arm, query, shared=query < 5) for arm in ARMS for query in range(20))
    answers = judged(values, values[::-1], trials=trials).calls[0]
    assert (answers.purpose, answers.made, answers.alone) == ("answer", 35, 40)
    assert answers.cost_usd == pytest.approx(0.35)


def test_what_has_no_price_is_counted_beside_the_sum_of_the_others() -> None:
    values = np.random.default_rng(8).random((20, 1))
    trials = tuple(answered("custom", query, shared=False, cost=None if query == 3 else 0.01) for query in range(20))
    answers = judged(values, values[::-1], trials=trials).calls[0]
    assert (answers.cost_usd, answers.unpriced) == (pytest.approx(0.19), 1)


def test_where_one_arm_lacks_more_scores_the_worst_case_stands_beside_the_estimate() -> None:
    n = 100
    control, treatment = np.full(n, 0.4), np.full(n, 0.6)
    control[::2], treatment[::3] = 0.5, 0.7
    reasons = {("custom", i): "judge failed: refused" for i in range(10)}
    analysis = conclude(control, treatment, reasons=reasons)
    bounds = analysis.primary.worst_case
    assert bounds is not None
    assert (bounds.missing_control, bounds.missing_treatment) == (0, 10)
    assert bounds.estimate_high - bounds.estimate_low == pytest.approx(0.1)  # ten in a hundred could be anything from 0 to 1
    assert bounds.low < bounds.estimate_low < (analysis.primary.effect.estimate if analysis.primary.effect else 0) < bounds.estimate_high
    check = next(check for check in analysis.checks if check.name == "failures")
    assert check.state == "warn"
    assert "0 of 100 queries have no nDCG@10 in baseline, 10 in custom" in check.detail


def test_abstentions_are_told_apart_from_failures_and_refuse_no_verdict() -> None:
    n = 200
    rng = np.random.default_rng(11)
    reasons = {(arm, i): "abstained" for arm, first in (("baseline", 0), ("custom", 10)) for i in range(first, first + 16)}
    analysis = conclude(rng.random(n), rng.random(n), reasons=reasons)
    coverage = next(check for check in analysis.checks if check.name == "coverage")
    assert coverage.state == "warn"
    assert "up to 32 left out because an arm abstained there" in coverage.detail
    assert analysis.verdict.decision != "refused"


def test_what_the_query_itself_leaves_out_is_no_failure() -> None:
    n = 100
    rng = np.random.default_rng(9)
    reasons = {(arm, i): "nothing relevant" for arm in ("baseline", "custom", "bm25") for i in range(10)}
    analysis = conclude(rng.random(n), rng.random(n), reasons=reasons)
    assert analysis.primary.worst_case is None
    assert not [check for check in analysis.checks if check.name == "failures"]


def test_an_arm_that_fails_is_seen_where_its_failures_take_the_other_arms_preferences_with_them() -> None:
    n = 100
    treatment = np.tile([1.0, 0.0, 0.5, 1.0], n // 4)
    reasons = {("custom", i): "failed: generate" for i in range(10)}
    reasons |= {("baseline", i): "other arm: failed: generate" for i in range(10)}
    metric, plan = "judge_preference", experiment("judge_preference")
    analysis = analyse(
        evaluation=evaluation(plan, n),
        experiment=plan,
        gold=GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(n)), judgments=()),
        tables={metric: table(metric, {"baseline": 1.0 - treatment, "custom": treatment}, reasons)},
        failures={},
    )
    bounds = analysis.primary.worst_case
    assert bounds is not None
    assert (bounds.missing_control, bounds.missing_treatment) == (0, 10)
    assert bounds.estimate_high - bounds.estimate_low == pytest.approx(0.2)  # ten pairs in a hundred, each from -1 to 1
    check = next(check for check in analysis.checks if check.name == "failures")
    assert check.state == "warn"
    assert "0 of 100 queries have no judge_preference in baseline, 10 in custom" in check.detail
