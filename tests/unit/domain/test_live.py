from dataclasses import replace

import pytest

from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.live import MINIMUM_ARM, LayerSpec, LiveMetrics, LiveSpec, Mode, OnlineScoring, TrafficSpec, TrafficState
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.domain.planned import Guardrail, PrimaryMetric
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS

PRIMARY = PrimaryMetric(name="nDCG@10", min_effect=0.01)
METRICS = LiveMetrics(primary=PRIMARY)
EMBEDDING = EmbeddingSpec(provider="hashing", model="a")


def experiment(live: LiveSpec | None, **more: object) -> Experiment:
    arms = (Arm(name="baseline", role="control", embedding=EMBEDDING), Arm(name="custom", role="treatment", embedding=EMBEDDING))
    plan = MetricsPlan(primary=PRIMARY)
    return Experiment(**({"name": "e", "data": DataSpec(path="."), "arms": arms, "metrics": plan, "live": live} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["thumbs_up", "thumbs_down", "up_share", "rated"])
def test_thumbs_can_never_be_the_primary_metric(name: str) -> None:
    with pytest.raises(ValueError, match="who rates is not a random sample"):
        LiveMetrics(primary=PrimaryMetric(name=name))


def test_thumbs_can_be_a_guardrail() -> None:
    assert "thumbs_down" in LiveMetrics(primary=PRIMARY, guardrails=(Guardrail(name="thumbs_down", max_increase=0.02),)).names


def test_what_users_do_is_no_offline_metric() -> None:
    with pytest.raises(ValueError, match="measured on live traffic only"):
        experiment(None, metrics=MetricsPlan(primary=PrimaryMetric(name="copied")))


@pytest.mark.parametrize(("mode", "primary"), [("interleaved", "nDCG@10"), ("split", "preference")])
def test_interleaving_and_nothing_else_decides_by_preference(mode: str, primary: str) -> None:
    with pytest.raises(ValueError, match="decides by 'preference'"):
        LiveSpec(mode=mode, metrics=LiveMetrics(primary=PrimaryMetric(name=primary)))  # type: ignore[arg-type]


def test_a_shadow_has_no_feedback() -> None:
    with pytest.raises(ValueError, match="nobody sees the custom arm"):
        LiveSpec(mode="shadow", metrics=LiveMetrics(primary=PRIMARY, secondary=("copied",)))


def test_a_judged_live_metric_needs_a_judge() -> None:
    live = LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="judge_groundedness")))
    with pytest.raises(ValueError, match=r"needs metrics\.judge"):
        experiment(live)


def test_a_live_metric_looks_no_further_than_the_ranking() -> None:
    with pytest.raises(ValueError, match="looks at 50 passages"):
        experiment(LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="nDCG@50"))))


def test_overrides_name_arms_that_there_are() -> None:
    with pytest.raises(ValueError, match="names the arm 'other'"):
        experiment(LiveSpec(metrics=METRICS, overrides={"tester": "other"}))


def test_a_unit_is_not_allowed_and_denied_at_once() -> None:
    with pytest.raises(ValueError, match="'u' stands in deny"):
        LiveSpec(metrics=METRICS, deny=("u",), overrides={"u": "custom"})


@pytest.mark.parametrize(("first", "end"), [(-1, 5), (5, 5), (0, 10_001)])
def test_a_layer_is_a_range_of_buckets(first: int, end: int) -> None:
    with pytest.raises(ValueError, match="first < end"):
        LayerSpec(name="answers", first=first, end=end)


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"share": -0.1}, {"treatment": 0.0}, {"treatment": 1.0}])
def test_shares_of_traffic_are_shares(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        TrafficSpec(**wrong)
    with pytest.raises(ValueError, match="share"):
        TrafficState(**({"version": 1, "share": 0.5, "treatment": 0.5} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"holdout": 1.0}, {"solicit": -0.1}, {"units_planned": 0}, {"retention_days": 0}, {"late_vote_days": 0}])
def test_numbers_that_can_not_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"live.{next(iter(wrong))}"):
        LiveSpec(metrics=METRICS, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "treatment", "least"), [("split", 0.5, 200), ("split", 0.1, 1_000), ("split", 0.9, 1_000), ("shadow", 0.1, 100)]
)
def test_a_planned_size_that_never_gives_a_verdict_is_refused(mode: Mode, treatment: float, least: int) -> None:
    given = {"mode": mode, "metrics": METRICS, "traffic": TrafficSpec(treatment=treatment)}
    with pytest.raises(ValueError, match=f"it would never come; give at least {least:,}"):
        LiveSpec(**given, units_planned=least - 1)  # type: ignore[arg-type]  # forwarded by keyword
    LiveSpec(**given, units_planned=least)  # type: ignore[arg-type]


def test_the_smallest_arm_is_that_of_the_statistics() -> None:
    assert MINIMUM_ARM == MINIMUM_UNITS


@pytest.mark.parametrize("wrong", [{"judge_share": 1.5}, {"max_cost_usd_per_day": 0.0}])
def test_scoring_has_a_share_and_a_budget(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="scoring"):
        OnlineScoring(**wrong)


def test_the_live_plan_has_a_digest_of_its_own() -> None:
    live = LiveSpec(metrics=METRICS)
    one, other = experiment(live), experiment(replace(live, units_planned=500))
    assert one.live_digest() != other.live_digest()
    assert one.plan_digest() == other.plan_digest() == experiment(None).plan_digest(), "an evaluation stays the same one"


def test_a_query_kept_as_a_hash_has_no_text() -> None:
    with pytest.raises(ValueError, match="kept as 'hash' has a text"):
        StoredQuery(text="secret", digest="d", stored="hash")


def test_in_mode_interleaved_nothing_can_be_guarded_that_one_answer_has_for_both_arms() -> None:
    primary, failed = PrimaryMetric(name="preference"), Guardrail(name="failed", max_increase=0.02)
    with pytest.raises(ValueError, match="'failed' a guardrail: both rankings make one answer"):
        LiveSpec(mode="interleaved", metrics=LiveMetrics(primary=primary, guardrails=(failed,)))
    with pytest.raises(ValueError, match="'copied' a secondary metric"):
        LiveSpec(mode="interleaved", metrics=LiveMetrics(primary=primary, secondary=("copied",)))
    LiveSpec(mode="interleaved", metrics=LiveMetrics(primary=primary, exploratory=("failed",)))
    LiveSpec(mode="interleaved", metrics=LiveMetrics(primary=primary, guardrails=(Guardrail(name="preference", max_decrease=0.1),)))
