"""The decision rule, on scores whose outcome can be worked out by hand."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import ArrayLike

from ragtrial.analysis.analysing import analyse, headline_answer_metric
from ragtrial.analysis.deciding import round_up
from ragtrial.domain.evaluation import ArmFacts, Evaluation, IndexFacts
from ragtrial.domain.experiment import AnalysisPlan, Arm, DataSpec, EmbeddingSpec, Experiment, Guardrail, MetricsPlan, PrimaryMetric
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.score import ScoreTable
from ragtrial.domain.verdict import Analysis

MODEL = EmbeddingSpec(provider="hashing", model="a")


def experiment(*, min_effect: float = 0.01, guardrails: tuple[Guardrail, ...] = (), **plan: object) -> Experiment:
    return Experiment(
        name="test",
        data=DataSpec(path="somewhere"),
        arms=(Arm(name="baseline", role="control", embedding=MODEL), Arm(name="custom", role="treatment", embedding=MODEL)),
        metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@10", min_effect=min_effect), secondary=("R@5",), guardrails=guardrails),
        analysis=AnalysisPlan(resamples=1000, **plan),  # type: ignore[arg-type]  # forwarded by keyword
    )


def evaluation(plan: Experiment, n: int, *, parity: bool = True, leakage: str = "pass") -> Evaluation:
    index = IndexFacts(collection="c", alias="a", index_type="FLAT", metric="COSINE", n_passages=10, bytes=40, ann_recall=1.0)
    return Evaluation(
        evaluation_id="e-1",
        experiment="test",
        plan_digest=plan.plan_digest(),
        config_digest="c",
        corpus_fingerprint="f",
        gold_fingerprint="g",
        n_queries=n,
        arms=(
            ArmFacts(arm="baseline", role="control", index=index),
            ArmFacts(arm="custom", role="treatment", index=index),
            ArmFacts(arm="bm25", role="reference"),
        ),
        parity=ParityCertificate(ok=parity, digest="d" if parity else None, undeclared=() if parity else ("retrieval.top_k: '10' / '5'",)),
        started_at="2026-01-01T00:00:00+00:00",
        checks={"leakage": (leakage, "3 of 10 gold queries are among the training texts")},
    )


def table(
    name: str, arms: Mapping[str, ArrayLike], reasons: Mapping[tuple[str, int], str] | None = None, clusters: list[str] | None = None
) -> ScoreTable:
    values = {arm: np.asarray(v, dtype=float) for arm, v in arms.items()}
    n = len(next(iter(values.values())))
    unscored = [(reasons or {}).get((arm, i)) for arm in values for i in range(n)]
    value = np.concatenate(list(values.values()))
    value[[reason is not None for reason in unscored]] = np.nan
    return ScoreTable(
        metric=metric_named(name),
        query_ids=tuple(f"q{i}" for i in range(n)),
        clusters=None if clusters is None else tuple(clusters),
        query=np.tile(np.arange(n), len(values)),
        arm=np.repeat(list(values), n),
        value=value,
        unscored=np.array(unscored, dtype=object),
    )


def conclude(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    plan: Experiment | None = None,
    others: Mapping[str, ScoreTable] | None = None,
    reasons: Mapping[tuple[str, int], str] | None = None,
    clusters: list[str] | None = None,
    failures: Mapping[str, Mapping[str, int]] | None = None,
    gold: GoldSet | None = None,
    **about: object,
) -> Analysis:
    plan = plan or experiment()
    n = len(np.asarray(control))
    arms = {"baseline": control, "custom": treatment, "bm25": np.zeros(n)}
    tables = {"nDCG@10": table("nDCG@10", arms, reasons, clusters), "R@5": table("R@5", arms, reasons, clusters), **(others or {})}
    gold = gold or GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(n)), judgments=())
    run = evaluation(plan, n, **about)  # type: ignore[arg-type]  # forwarded by keyword
    return analyse(evaluation=run, experiment=plan, gold=gold, tables=tables, failures=failures or {})


def scores(n: int, gain: float, *, spread: float = 0.2, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two arms whose mean difference is exactly `gain`."""
    rng = np.random.default_rng(seed)
    control = rng.uniform(0.2, 0.8, n)
    noise = rng.normal(0, spread, n)
    return control, control + gain + noise - noise.mean()


def test_a_clear_gain_is_adopted() -> None:
    analysis = conclude(*scores(300, 0.05))
    assert analysis.verdict.decision == "adopt custom"
    assert analysis.verdict.gate_passed
    assert analysis.primary.effect is not None
    assert analysis.primary.effect.estimate == pytest.approx(0.05)
    assert "+0.0500" in analysis.verdict.sentence


def test_a_truly_worse_treatment_is_not_adopted() -> None:
    analysis = conclude(*scores(300, -0.05))
    assert analysis.verdict.decision == "keep baseline"
    assert not analysis.verdict.gate_passed


def test_a_gain_shown_to_be_smaller_than_worth_it_keeps_the_baseline() -> None:
    analysis = conclude(*scores(300, 0.0, spread=0.01))
    assert analysis.verdict.decision == "keep baseline"
    assert "equivalent within the margin" in analysis.verdict.sentence


def test_an_unclear_difference_asks_for_more_queries_and_never_says_equal() -> None:
    analysis = conclude(*scores(300, 0.012))
    assert analysis.verdict.decision == "undecided"
    # half-width now 1.968 * 0.2 / sqrt(300) = 0.0227, needed 0.012 with 80 % power:
    # n = 300 * (0.0227 / 0.012 * (1.96 + 0.8416) / 1.96) ** 2 = about 2,200
    assert analysis.verdict.n_more is not None
    assert 1700 <= analysis.verdict.n_more <= 2100
    assert "would probably have been seen" in analysis.verdict.sentence
    assert "equal" not in analysis.verdict.sentence


def test_identical_arms_are_undecided_without_an_interval() -> None:
    control, _ = scores(300, 0.0)
    analysis = conclude(control, control)
    assert analysis.verdict.decision == "undecided"
    assert analysis.primary.effect is None
    assert analysis.primary.no_effect
    assert analysis.primary.p_adjusted is None


def test_below_a_hundred_queries_there_is_no_verdict_but_the_number_needed() -> None:
    analysis = conclude(*scores(60, 0.3))
    assert analysis.verdict.decision == "too few"
    assert analysis.verdict.n_more is not None
    assert analysis.verdict.n_more >= 40


def test_a_broken_parity_refuses_whatever_the_numbers_say() -> None:
    verdict = conclude(*scores(300, 0.2), parity=False).verdict
    assert verdict.decision == "refused"
    assert "top_k" in verdict.sentence


def test_leaked_gold_refuses() -> None:
    assert conclude(*scores(300, 0.2), leakage="fail").verdict.decision == "refused"


def test_low_coverage_refuses_and_names_what_is_missing() -> None:
    reasons = {("custom", i): "failed: search" for i in range(30)}
    verdict = conclude(*scores(300, 0.2), reasons=reasons).verdict
    assert verdict.decision == "refused"
    assert "custom: failed: search (30)" in verdict.sentence


def test_an_arm_that_failed_too_often_refuses_though_dropped_queries_score_zero() -> None:
    verdict = conclude(*scores(300, -0.2), failures={"custom": {"search: StoreError": 40}}).verdict
    assert verdict.decision == "refused"
    assert "40 trials" in verdict.sentence


def test_queries_with_nothing_relevant_are_left_out_of_both_arms_and_counted() -> None:
    reasons = {(arm, i): "nothing relevant" for arm in ("baseline", "custom", "bm25") for i in range(50)}
    analysis = conclude(*scores(300, 0.1), reasons=reasons)
    assert analysis.primary.n_scored == 250
    coverage = next(check for check in analysis.checks if check.name == "coverage")
    assert coverage.state == "pass"
    assert "50 have nothing relevant" in coverage.detail


def test_a_gain_without_shown_guardrails_is_undecided_and_a_broken_one_keeps_the_baseline() -> None:
    plan = experiment(guardrails=(Guardrail(name="latency_ms", max_relative_increase=0.25),))
    rng = np.random.default_rng(3)
    base = rng.lognormal(2, 0.1, 300)
    for factor, decision in ((1.0, "adopt custom"), (1.25, "undecided"), (1.6, "keep baseline")):
        custom = base * factor * rng.lognormal(0, 0.05, 300)
        latency = {"latency_ms": table("latency_ms", {"baseline": base, "custom": custom, "bm25": base})}
        assert conclude(*scores(300, 0.05), plan=plan, others=latency).verdict.decision == decision


def test_no_regression_gate_passes_where_a_loss_is_excluded() -> None:
    plan = experiment(gate="no-regression")
    assert conclude(*scores(300, 0.0, spread=0.01), plan=plan).verdict.gate_passed
    assert not conclude(*scores(300, -0.1), plan=plan).verdict.gate_passed


def test_shared_source_documents_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    shared = np.repeat(rng.normal(0, 0.2, 30), 10)
    control = np.full(300, 0.5)
    treatment = control + 0.02 + shared + rng.normal(0, 0.05, 300)
    naive = conclude(control, treatment).primary.effect
    robust = conclude(control, treatment, clusters=[f"d{i // 10}" for i in range(300)]).primary.effect
    assert naive is not None
    assert robust is not None
    assert robust.high - robust.low > 1.5 * (naive.high - naive.low)
    assert "30 clusters" in robust.method


def test_holm_covers_primary_and_secondary_and_nothing_else() -> None:
    analysis = conclude(
        *scores(300, 0.03),
        others={"P@5": table("P@5", dict(zip(("baseline", "custom", "bm25"), (*scores(300, 0.03), np.zeros(300)), strict=True)))},
    )
    by_name = {c.metric.name: c for c in analysis.comparisons}
    assert by_name["P@5"].role == "exploratory"
    assert by_name["P@5"].p_adjusted is None
    primary = by_name["nDCG@10"]
    assert primary.effect is not None
    assert primary.p_adjusted == pytest.approx(min(1.0, 2 * primary.effect.p_value))


def test_slices_are_tested_with_benjamini_hochberg_and_small_ones_are_not() -> None:
    queries = tuple(Query(query_id=f"q{i}", text="?", tags={"topic": "big" if i < 295 else "small"}) for i in range(300))
    analysis = conclude(*scores(300, 0.05), gold=GoldSet(name="g", queries=queries, judgments=()))
    big, small = analysis.slices
    assert (big.value, big.n_scored) == ("big", 295)
    assert big.effect is not None
    assert big.p_adjusted == big.effect.p_value
    assert (small.n_scored, small.effect) == (5, None)
    assert small.no_effect


def test_a_free_method_that_beats_custom_is_said() -> None:
    control, treatment = scores(300, 0.05)
    arms = {"baseline": control, "custom": treatment, "bm25": np.full(300, 0.99)}
    analysis = conclude(control, treatment, others={"nDCG@10": table("nDCG@10", arms)})
    assert next(check for check in analysis.checks if check.name == "free_method").state == "warn"


def test_a_plan_changed_after_the_data_is_exploratory() -> None:
    plan = experiment()
    changed = dataclasses.replace(plan, analysis=dataclasses.replace(plan.analysis, alpha=0.2))
    control, treatment = scores(300, 0.05)
    arms = {"baseline": control, "custom": treatment, "bm25": np.zeros(300)}
    tables = {name: table(name, arms) for name in ("nDCG@10", "R@5")}
    gold = GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(300)), judgments=())
    analysis = analyse(evaluation=evaluation(plan, 300), experiment=changed, gold=gold, tables=tables, failures={})
    assert analysis.verdict.sentence.startswith("Exploratory")
    assert not analysis.verdict.gate_passed


def test_the_headline_answer_metric_follows_the_length_of_the_references() -> None:
    def gold(answer: str) -> GoldSet:
        return GoldSet(name="g", queries=(Query(query_id="q", text="?", answers=(answer,)),), judgments=())

    assert headline_answer_metric(gold("72 hours")) == "answer_containment"
    assert headline_answer_metric(gold("Messages stay on a lane for three days.")) == "answer_f1"
    assert headline_answer_metric(GoldSet(name="g", queries=(Query(query_id="q", text="?"),), judgments=())) is None


def test_planned_sizes_are_rounded_up_to_two_digits() -> None:
    assert [round_up(x) for x in (7.2, 99, 123, 2041, 15_500)] == [8, 99, 130, 2100, 16_000]
