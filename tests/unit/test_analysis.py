"""The decision rule, on scores whose outcome can be worked out by hand."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from ragtrial.analysis.analysing import analyse, headline_answer_metric
from ragtrial.analysis.deciding import round_up
from ragtrial.analysis.health import unmeasured_index
from ragtrial.domain.data import DataSpec
from ragtrial.domain.evaluation import ArmFacts, Evaluation, IndexFacts
from ragtrial.domain.experiment import AnalysisPlan, Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import Guardrail, PrimaryMetric
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


def test_an_index_that_was_not_measured_is_said_to_be_with_its_reason() -> None:
    assert "compares a query with every one" in unmeasured_index("FLAT", 300_000, 1)
    assert "index.min_recall is 0" in unmeasured_index("HNSW", 300_000, 1)
    assert "by words alone" in unmeasured_index("FLAT", 10, 0)


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


@pytest.mark.parametrize(("n", "state"), [(100, "not shown"), (200, "holds")])
def test_that_nothing_failed_so_far_is_no_proof_that_nothing_does(n: int, state: str) -> None:
    plan = experiment(guardrails=(Guardrail(name="failed", max_increase=0.02),))
    none = {"failed": table("failed", {"baseline": np.zeros(n), "custom": np.zeros(n), "bm25": np.zeros(n)})}
    rng = np.random.default_rng(12)
    analysis = conclude(rng.random(n), rng.random(n), plan=plan, others=none)
    found = next(c.guardrail for c in analysis.comparisons if c.metric.name == "failed")
    assert found is not None
    assert (found.state, found.bound) == (state, pytest.approx(1 - 0.05 ** (1 / n)))


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
    assert "50 left out of both arms: nothing relevant" in coverage.detail


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


def test_the_primary_metric_decides_alone_and_what_was_not_planned_is_not_adjusted() -> None:
    analysis = conclude(
        *scores(300, 0.03),
        others={"P@5": table("P@5", dict(zip(("baseline", "custom", "bm25"), (*scores(300, 0.03), np.zeros(300)), strict=True)))},
    )
    by_name = {c.metric.name: c for c in analysis.comparisons}
    assert by_name["P@5"].role == "exploratory"
    assert by_name["P@5"].p_adjusted is None
    primary = by_name["nDCG@10"]
    assert primary.effect is not None
    assert primary.p_adjusted is None
    assert by_name["R@5"].role == "secondary"
    assert by_name["R@5"].p_adjusted is not None
    assert by_name["R@5"].p_adjusted >= primary.effect.p_value


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


def guarded(guardrail: Guardrail, baseline: ArrayLike, custom: ArrayLike, reasons: Mapping[tuple[str, int], str] | None = None) -> Analysis:
    """A shown gain of the primary metric, with one guardrail."""
    arms = {"baseline": baseline, "custom": custom, "bm25": baseline}
    others = {guardrail.name: table(guardrail.name, arms, reasons)}
    return conclude(*scores(300, 0.05), plan=experiment(guardrails=(guardrail,)), others=others)


def test_a_relative_guardrail_on_a_share_is_in_the_terms_of_its_margin() -> None:
    # 120 hits of 300, 9 of them lost: 9 / 120 = 7.5 % of the baseline, which is beyond 5 %. The delta method by hand:
    # (loss - 0.075 * hit) / 0.4 has the mean 0 and the variance (0.03 - 2 * 0.075 * 0.03 + 0.075 ** 2 * 0.4) / 0.16 * 300 / 299
    baseline = np.array([1.0] * 120 + [0.0] * 180)
    custom = np.array([0.0] * 9 + [1.0] * 111 + [0.0] * 180)
    analysis = guarded(Guardrail(name="P@5", max_relative_decrease=0.05), baseline, custom)
    result = next(c.guardrail for c in analysis.comparisons if c.metric.name == "P@5")
    assert result is not None
    assert (result.relative, result.state) == (True, "not shown")
    assert result.estimate == pytest.approx(0.075)
    error = math.sqrt((0.03 - 2 * 0.075 * 0.03 + 0.075**2 * 0.4) / 0.16 / 299)
    assert result.bound == pytest.approx(0.075 + stats.t.ppf(0.95, 299) * error)
    assert "worse by +7.5%" in analysis.verdict.sentence


def test_a_guardrail_without_any_value_or_with_a_baseline_of_0_is_not_shown_and_breaks_nothing() -> None:
    missing = {(arm, i): "not reported by the generator" for arm in ("baseline", "custom", "bm25") for i in range(300)}
    nothing = np.full(300, np.nan)
    rare = np.array([1.0] * 5 + [0.0] * 295)
    for analysis in (
        guarded(Guardrail(name="cost_usd", max_relative_increase=0.1), nothing, nothing, missing),
        guarded(Guardrail(name="abstained", max_relative_increase=0.1), np.zeros(300), rare),
    ):
        assert analysis.verdict.decision == "undecided"
        assert "could not be tested" in analysis.verdict.sentence


def test_a_guardrail_that_guards_nothing_is_refused() -> None:
    for name, margin in (("R@5", {"max_increase": 0.02}), ("latency_ms", {"max_decrease": 5.0}), ("R@5", {"max_relative_decrease": 1.0})):
        with pytest.raises(ValueError, match=f"guardrail '{name}'"):
            Guardrail(name=name, **margin)
    with pytest.raises(ValueError, match="one guardrail"):
        experiment(guardrails=(Guardrail(name="latency_ms", max_increase=5.0), Guardrail(name="latency_ms", max_relative_increase=0.1)))


def test_a_plan_that_could_not_be_analysed_is_refused_before_the_run() -> None:
    for name, value in (("alpha", 0.5), ("power", 0.04), ("assumed_sd", 0.0), ("seed", -1), ("latency_queries", -1), ("min_queries", 1)):
        with pytest.raises(ValueError, match=name):
            AnalysisPlan(**{name: value})  # type: ignore[arg-type]  # one keyword at a time


def test_an_arm_is_not_called_like_a_reference_line() -> None:
    with pytest.raises(ValueError, match="reference line"):
        dataclasses.replace(
            experiment(),
            arms=(Arm(name="bm25", role="control", embedding=MODEL), Arm(name="custom", role="treatment", embedding=MODEL)),
        )


def test_mcnemar_is_only_for_queries_that_are_independent() -> None:
    control = np.array([1.0, 0.0, 0.0] * 100)
    treatment = np.array([1.0, 0.0, 1.0] * 90 + [0.0, 0.0, 0.0] * 10)
    alone = conclude(control, treatment).primary.effect
    shared = conclude(control, treatment, clusters=[f"d{i // 2}" for i in range(300)]).primary.effect
    assert alone is not None
    assert alone.p_mcnemar is not None
    assert shared is not None
    assert shared.p_mcnemar is None


def test_a_document_that_holds_most_queries_is_warned_of() -> None:
    control, treatment = scores(300, 0.05)

    def independence(clusters: list[str]) -> str:
        checks = conclude(control, treatment, clusters=clusters).checks
        return next(check.state for check in checks if check.name == "independence")

    assert independence([f"d{i // 10}" for i in range(300)]) == "pass"
    # 200 queries of one document and 50 pairs: (200 + 100)^2 / (200^2 + 50 * 2^2) = 2.2 equal clusters
    assert independence(["d"] * 200 + [f"d{i // 2}" for i in range(100)]) == "warn"


def test_parity_without_a_certificate_is_unknown() -> None:
    plan = experiment()
    run = dataclasses.replace(evaluation(plan, 300), parity=ParityCertificate(ok=True, digest=None, declared=("nothing is known",)))
    control, treatment = scores(300, 0.05)
    arms = {"baseline": control, "custom": treatment, "bm25": np.zeros(300)}
    gold = GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(300)), judgments=())
    tables = {name: table(name, arms) for name in ("nDCG@10", "R@5")}
    analysis = analyse(evaluation=run, experiment=plan, gold=gold, tables=tables, failures={})
    assert next(check.state for check in analysis.checks if check.name == "parity") == "unknown"


def test_the_level_of_the_interval_is_not_rounded() -> None:
    assert "99.9% interval" in conclude(*scores(300, 0.05), plan=experiment(alpha=0.001)).verdict.sentence


def test_scores_of_another_design_are_not_paired() -> None:
    live = dataclasses.replace(table("nDCG@10", {"baseline": [0.1, 0.2], "custom": [0.2, 0.1]}), design="by_unit")
    with pytest.raises(ValueError, match="by_unit"):
        live.paired("baseline", "custom")
