"""What is concluded from live sums, on tables whose outcome can be worked out or is planted."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_comparing import adjusted
from ragtrial.analysis.live_deciding import units_per_day
from ragtrial.analysis.live_guardrails import design_effect, guardrail_alarms, guardrail_of
from ragtrial.analysis.live_health import NOT_MEANT
from ragtrial.analysis.live_looks import until
from ragtrial.analysis.live_planning import Spread, plan_live, split_spread
from ragtrial.analysis.live_setting import TUNED_FOR, levels_of, live_of
from ragtrial.analysis.rule import Evidence, outcome
from ragtrial.domain.live import TrafficSpec, TrafficState
from ragtrial.domain.live_scores import NOT_SCORED, SplitScores, UnitSums, VoteCounts, VotesByUnit, WithinScores
from ragtrial.domain.live_trial import Outage
from ragtrial.domain.live_verdict import Interval, LiveAnalysis, LiveArm, LiveComparison, LiveEffect
from ragtrial.domain.metric import metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.verdict import Check, MetricRole
from ragtrial.errors import InputError, NotEnoughDataError
from ragtrial.report import live_words
from ragtrial.serving.scoring import NOT_GOLD, NOT_SAMPLED, STOOD_IN, TRIAL_FAILED
from ragtrial.stats.confidence_sequence import confidence_sequence
from ragtrial.stats.power import queries_for
from unit.live_parts import (
    DAY,
    START,
    Clock,
    experiment,
    exposure,
    rates,
    setting,
    split,
    timed,
    users,
    votes_by_unit,
    within,
    without_history,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def state_of(analysis: LiveAnalysis, name: str) -> str:
    return next(check.state for check in analysis.checks if check.name == name)


def detail_of(analysis: LiveAnalysis, name: str) -> str:
    return next(check.detail for check in analysis.checks if check.name == name)


def analysed(*, effect: float, n: int = 1_000, units_planned: int | None = None, **changes: object) -> LiveAnalysis:
    plan = experiment(units_planned=units_planned)
    table = split(rng(), "nDCG@10", n, control=0.5, treatment=0.5 + effect)
    frozen = {"nDCG@10": table} if units_planned is not None and 2 * n >= units_planned else {}
    clock = Clock(now=START + 10 * DAY, first=START, last=START + 9 * DAY, planned_at=START + DAY if frozen else None)
    return analyse_tables(setting(plan, {"nDCG@10": table}, **{"frozen": frozen, "clock": clock, **changes}))


# The rule


@pytest.mark.parametrize(
    ("low", "gain", "high", "guards", "came_to"),
    [
        (0.01, 0.03, 0.05, ["holds"], "adopt"),
        (0.01, 0.03, 0.05, [], "adopt"),
        (0.01, 0.03, 0.05, ["holds", "not shown"], "guardrails not shown"),
        (0.01, 0.03, 0.05, [None], "guardrails not shown"),
        (0.01, 0.03, 0.05, ["broken"], "guardrail broken"),
        (-0.01, 0.03, 0.07, ["holds"], "open"),
        (0.001, 0.015, 0.029, [], "open"),
        (-0.03, -0.01, 0.01, [], "not worth it"),
        (-0.03, -0.02, -0.01, [], "worse"),
    ],
)
def test_the_rule_is_that_of_evaluations(low: float, gain: float, high: float, guards: list[str | None], came_to: str) -> None:
    evidence = Evidence(gain=gain, low=low, high=high, p_value=0.001, alpha=0.05)
    assert outcome(evidence, min_effect=0.02, guards=guards) == came_to  # type: ignore[arg-type]  # states of guardrails


# Verdicts


def test_a_large_gain_is_adopted_at_any_look() -> None:
    found = analysed(effect=0.15)
    assert found.verdict.decision == "adopt custom"
    assert found.verdict.gate_passed
    assert "95% always-valid interval" in found.verdict.sentence
    effect = found.primary.effect
    assert effect is not None
    expected = confidence_sequence(
        effect.running.estimate, effect.standard_error, units=(1_000, 1_000), alpha=0.05, planned_units=TUNED_FOR
    )
    assert (effect.running.low, effect.running.high, effect.running.p_value) == (expected.low, expected.high, expected.p_value)


def test_a_loss_keeps_the_baseline() -> None:
    found = analysed(effect=-0.15)
    assert found.verdict.decision == "keep baseline"
    assert "custom is worse" in found.verdict.sentence


def test_a_gain_too_small_to_matter_keeps_the_baseline() -> None:
    plan = experiment(min_effect=0.1)
    table = split(rng(), "nDCG@10", 2_000, control=0.5, treatment=0.5)
    found = analyse_tables(setting(plan, {"nDCG@10": table}))
    assert found.verdict.decision == "keep baseline"
    assert "below the 0.1 that would be worth it" in found.verdict.sentence


def test_below_a_hundred_units_an_arm_there_is_no_interval() -> None:
    found = analysed(effect=0.5, n=99, units_planned=1_000)
    assert found.verdict.decision == "too few"
    assert found.primary.effect is None
    assert found.verdict.n_more == 1_000 - 198
    assert found.days_more == 43  # 802 more at 19 a day


def test_where_the_planned_size_is_there_but_hardly_a_score_no_waiting_is_promised() -> None:
    table = split(rng(), "nDCG@10", 90, control=0.5, treatment=0.5)
    seen = exposure((500, 500), (1_500, 1_500))
    clock = Clock(now=START + DAY, first=START, last=START, planned_at=START)
    found = analyse_tables(setting(experiment(units_planned=900), {"nDCG@10": table}, exposure=seen, clock=clock))
    assert found.verdict.decision == "too few"
    assert found.verdict.n_more is None
    assert "planned verdict" not in found.verdict.sentence


def test_before_the_planned_size_the_rest_of_the_way_is_told() -> None:
    found = analysed(effect=0.01, n=400, units_planned=2_000)
    assert found.verdict.decision == "undecided"
    assert found.verdict.sentence.startswith("Undecided so far: 800 of 2,000 planned units, the planned verdict comes in about 15 days.")
    assert (found.verdict.n_more, found.days_more) == (1_200, 15)
    assert found.progress.days_left == 15


def test_without_a_planned_size_the_units_are_told_that_would_probably_decide() -> None:
    found = analysed(effect=0.03, n=600)
    assert found.verdict.decision == "undecided"
    assert found.verdict.n_more is not None
    assert found.days_more is not None
    assert f"about {found.verdict.n_more:,} more units" in found.verdict.sentence


def test_alpha_is_spent_once_between_looking_and_the_planned_verdict() -> None:
    levels = levels_of(experiment(units_planned=600))
    assert levels.planned is not None
    assert levels.running + levels.planned == pytest.approx(0.05)
    assert levels_of(experiment()).running == 0.05
    found = analysed(effect=0.05, units_planned=1_500)
    assert found.primary.effect is not None
    assert found.primary.effect.planned is not None
    assert (found.primary.effect.running.alpha, found.primary.effect.planned.alpha) == pytest.approx((0.01, 0.04))


def test_the_planned_verdict_decides_where_the_wider_running_interval_is_open() -> None:
    found = analysed(effect=0.035, n=800, units_planned=1_500)
    effect = found.primary.effect
    assert effect is not None
    assert effect.planned is not None
    assert effect.running.low < 0 < effect.planned.low
    assert found.verdict.decision == "adopt custom"
    assert "96% interval at the planned size" in found.verdict.sentence


def doubled(sums: UnitSums) -> UnitSums:
    """Every query asked twice, with the same score."""
    return UnitSums(totals=2 * sums.totals, counts=2 * sums.counts, n_trials=2 * sums.n_trials)


def test_one_query_of_a_unit_more_counts_as_no_further_unit() -> None:
    few = analysed(effect=0.1, n=300)
    table = split(rng(), "nDCG@10", 300, control=0.5, treatment=0.6)
    twice = SplitScores(
        metric=table.metric,
        control=doubled(table.control),
        treatment=doubled(table.treatment),
    )
    many = analyse_tables(setting(experiment(), {"nDCG@10": twice}))
    assert few.primary.effect is not None
    assert many.primary.effect is not None
    assert many.primary.effect.running.low == pytest.approx(few.primary.effect.running.low)


def test_a_history_narrows_the_interval_and_a_short_one_is_not_used() -> None:
    table = split(rng(), "nDCG@10", 1_000, control=0.5, treatment=0.55, history=True)
    plain = SplitScores(metric=table.metric, control=without_history(table.control), treatment=without_history(table.treatment))
    with_history, without = (analyse_tables(setting(experiment(), {"nDCG@10": each})).primary.effect for each in (table, plain))
    assert with_history is not None
    assert without is not None
    assert with_history.standard_error < without.standard_error
    assert with_history.variance_reduction is not None
    pre = np.zeros(1_000)
    pre[:50] = 1
    short = dataclasses.replace(table.control, pre_totals=pre * 0.5, pre_counts=pre)
    fallback = analyse_tables(setting(experiment(), {"nDCG@10": dataclasses.replace(table, control=short)})).primary.effect
    assert fallback is not None
    assert fallback.variance_reduction is None


def test_secondary_metrics_are_corrected_behind_the_primary_one_and_guardrails_are_not() -> None:
    generator = rng()
    plan = experiment(secondary=("R@5", "RR@10"), guardrails=(Guardrail(name="abstained", max_increase=0.05),))
    tables = {
        "nDCG@10": split(generator, "nDCG@10", 800, control=0.5, treatment=0.56),
        "R@5": split(generator, "R@5", 800, control=0.5, treatment=0.54),
        "RR@10": split(generator, "RR@10", 800, control=0.5, treatment=0.54),
        "abstained": split(generator, "abstained", 800, control=0.3, treatment=0.3),
    }
    found = {c.metric.name: c for c in analyse_tables(setting(plan, tables)).comparisons}
    p = {name: found[name].effect.running.p_value for name in ("nDCG@10", "R@5", "RR@10")}  # type: ignore[union-attr]  # all have one
    smaller, larger = sorted(("R@5", "RR@10"), key=lambda name: p[name])
    holm = {smaller: min(1.0, 2 * p[smaller]), larger: min(1.0, max(2 * p[smaller], p[larger]))}
    assert {name: found[name].p_adjusted for name in holm} == pytest.approx(
        {name: max(p["nDCG@10"], value) for name, value in holm.items()}
    )
    assert found["nDCG@10"].p_adjusted is None
    assert found["abstained"].p_adjusted is None


def by_hand(name: str, role: MetricRole, **given: tuple[float, float, float]) -> LiveComparison:
    """A metric with a p, a lower and an upper end of its `running` and, where given, its `planned` interval; none: without an effect."""
    arm = LiveArm(mean=0.5, n_units=500, n_trials=500, n_scored=500)
    made = {
        kind: Interval(
            kind=kind,  # type: ignore[arg-type]  # one of both
            estimate=(low + high) / 2,
            low=low,
            high=high,
            p_value=p,
            alpha={"running": 0.01, "planned": 0.04}[kind],
            n_units=1_000,
        )
        for kind, (p, low, high) in given.items()
    }
    effect = LiveEffect(standard_error=0.01, method="by hand", **made) if made else None  # type: ignore[arg-type]  # forwarded by keyword
    return LiveComparison(metric=metric_named(name), role=role, baseline=arm, custom=arm, effect=effect)


def corrected(*comparisons: LiveComparison) -> dict[str, LiveComparison]:
    names = tuple(c.metric.name for c in comparisons if c.role == "secondary")
    plan = experiment(secondary=names, units_planned=900)
    here = setting(plan, {"nDCG@10": split(rng(), "nDCG@10", 500, control=0.5, treatment=0.5)})
    return {c.metric.name: c for c in adjusted(here, comparisons)}


def test_planned_intervals_are_corrected_among_themselves_and_judged_at_their_own_level() -> None:
    generator, names = rng(), ("nDCG@10", "R@5", "RR@10")
    plan = experiment(secondary=names[1:], units_planned=1_600)
    tables = {name: split(generator, name, 1_000, control=0.5, treatment=0.54) for name in names}
    early = {name: split(generator, name, 800, control=0.5, treatment=0.54) for name in names}
    clock = Clock(now=START + 10 * DAY, first=START, last=START + 9 * DAY, planned_at=START + DAY)
    analysis = analyse_tables(setting(plan, tables, frozen=early, clock=clock))
    found = {c.metric.name: c for c in analysis.comparisons}
    for kind, level in (("planned", 0.04), ("running", 0.01)):
        each = {name: getattr(found[name].effect, kind) for name in names}
        p = {name: interval.p_value for name, interval in each.items()}
        smaller, larger = sorted(names[1:], key=lambda name: p[name])
        holm = {smaller: min(1.0, 2 * p[smaller]), larger: min(1.0, max(2 * p[smaller], p[larger]))}
        assert {name: each[name].p_adjusted for name in holm} == pytest.approx(
            {name: max(p["nDCG@10"], value) for name, value in holm.items()}
        )
        assert each["nDCG@10"].p_adjusted is None
        assert each["R@5"].alpha == pytest.approx(level)


def test_a_secondary_metric_is_judged_at_the_level_of_its_own_p() -> None:
    found = corrected(
        by_hand("nDCG@10", "primary", running=(0.03, -0.01, 0.09), planned=(0.001, 0.02, 0.08)),
        by_hand("R@5", "secondary", running=(0.012, -0.005, 0.06), planned=(0.03, 0.002, 0.05)),
        by_hand("RR@10", "secondary", running=(0.9, -0.05, 0.05)),  # still waits for its scores at the planned size
    )
    # always-valid: max(0.03, 2 * 0.012) is above 0.01; planned: the metric that waits counts as one with p = 1, and 2 * 0.03 is above 0.04
    assert live_words.beyond_chance(found["R@5"]) == 0
    assert found["R@5"].p_adjusted == pytest.approx(0.06)
    assert found["RR@10"].p_adjusted == pytest.approx(0.9)
    clear = corrected(
        by_hand("nDCG@10", "primary", running=(0.03, -0.01, 0.09), planned=(0.001, 0.02, 0.08)),
        by_hand("R@5", "secondary", running=(0.012, -0.005, 0.06), planned=(0.015, 0.006, 0.05)),
        by_hand("RR@10", "secondary", running=(0.9, -0.05, 0.05)),
    )
    assert clear["R@5"].p_adjusted == pytest.approx(0.03)  # below 0.04, and what comes of the other one can't change that
    assert live_words.beyond_chance(clear["R@5"]) == 1


def test_where_only_the_always_valid_interval_shows_a_difference_it_counts_and_opens_the_gate_of_its_kind() -> None:
    found = corrected(
        by_hand("nDCG@10", "primary", running=(0.001, 0.01, 0.08), planned=(0.08, -0.005, 0.05)),
        by_hand("R@5", "secondary", running=(0.004, 0.002, 0.05), planned=(0.001, 0.01, 0.04)),
    )
    primary, secondary = found["nDCG@10"], found["R@5"]
    assert (live_words.own_p(primary), live_words.beyond_chance(primary)) == (0.001, 1)
    assert live_words.gain(primary) == "nDCG@10 gets better by +0.0450 [+0.0100, +0.0800]"
    # the planned one stands behind a primary metric that was not shown by then; the always-valid one does not
    assert (secondary.p_adjusted, live_words.beyond_chance(secondary)) == (0.004, 1)
    worse = corrected(
        by_hand("nDCG@10", "primary", running=(0.001, 0.01, 0.08), planned=(0.08, -0.005, 0.05)),
        by_hand("R@5", "secondary", running=(0.02, -0.01, 0.05), planned=(0.001, 0.01, 0.04)),
    )
    assert live_words.beyond_chance(worse["R@5"]) == 0


def test_the_planned_interval_counts_where_both_or_neither_shows_a_difference() -> None:
    both = by_hand("nDCG@10", "primary", running=(0.001, 0.01, 0.08), planned=(0.002, 0.01, 0.05))
    neither = by_hand("nDCG@10", "primary", running=(0.3, -0.02, 0.08), planned=(0.08, -0.005, 0.05))
    assert (live_words.own_p(both), live_words.own_p(neither)) == (0.002, 0.08)
    assert live_words.beyond_chance(neither) == 0
    assert live_words.own_p(by_hand("nDCG@10", "primary")) is None
    assert live_words.own_p(by_hand("nDCG@10", "primary", running=(0.3, -0.02, 0.08))) == 0.3


@pytest.mark.parametrize("correction", ["holm", "none"])
def test_where_the_primary_metric_has_no_effect_no_secondary_one_is_adjusted(correction: str) -> None:
    plan = experiment(secondary=("R@5",), correction=correction)
    tables = {name: split(rng(), name, n, control=0.5, treatment=0.7) for name, n in (("nDCG@10", 60), ("R@5", 800))}
    primary, secondary = analyse_tables(setting(plan, tables)).comparisons[:2]
    assert primary.effect is None
    assert secondary.effect is not None
    assert secondary.p_adjusted == (None if correction == "holm" else secondary.effect.running.p_value)
    assert live_words.beyond_chance(secondary) == (0 if correction == "holm" else 1)


def test_what_is_said_of_the_primary_metric_is_what_the_verdict_goes_by() -> None:
    early = split(rng(), "nDCG@10", 150, control=0.5, treatment=0.42)  # 0.09 more by chance, so 0.01
    found = analysed(effect=0.15, units_planned=300, frozen={"nDCG@10": early})
    effect = found.primary.effect
    assert effect is not None
    assert effect.planned is not None
    assert effect.planned.low < 0 < effect.running.low
    assert found.verdict.sentence.startswith("Adopt custom: ")
    assert "always-valid interval" in found.verdict.sentence
    assert live_words.own_p(found.primary) == effect.running.p_value
    assert live_words.gain(found.primary).startswith("nDCG@10 gets better by +0.1")


def test_a_plan_changed_after_the_data_is_labelled_and_passes_no_gate() -> None:
    found = analysed(effect=0.15, stored_digest="another")
    assert found.verdict.sentence.startswith("Exploratory")
    assert not found.verdict.gate_passed


# What refuses a verdict, and what is told


def test_lost_units_refuse_the_verdict_whatever_the_effect() -> None:
    table = split(rng(), "nDCG@10", 1_000, control=0.5, treatment=0.8)
    seen = exposure((1_000, 800), (table.control.n_trials, table.treatment.n_trials))
    found = analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=seen))
    assert found.verdict.decision == "refused"
    assert found.verdict.sentence.startswith("No verdict: srm_units:")
    assert not found.verdict.gate_passed


def test_a_ramp_is_compared_with_what_was_planned_at_each_time() -> None:
    table = split(rng(), "nDCG@10", 1_000, control=0.5, treatment=0.5)
    honest = dataclasses.replace(
        exposure((1, 1), (1, 1)),
        state_versions=(1, 2),
        units=np.array([[900, 100], [500, 500]]),
        trials=np.array([[2700, 300], [1500, 1500]]),
        expected=np.array([[0.9, 0.1], [0.5, 0.5]]),
    )
    found = analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=honest))
    assert state_of(found, "srm_units") == "pass"
    assert state_of(found, "allocation") == "fail"  # nine tenths of control's units would be of the first days, half of treatment's
    assert found.verdict.decision == "refused"
    hardly = dataclasses.replace(honest, units=np.array([[45, 5], [1_000, 1_000]]))
    assert state_of(analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=hardly)), "allocation") == "warn"
    broken = dataclasses.replace(honest, expected=np.array([[0.5, 0.5], [0.5, 0.5]]))
    assert state_of(analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=broken)), "srm_units") == "fail"


def test_a_unit_in_an_arm_without_traffic_is_a_mismatch() -> None:
    table = split(rng(), "nDCG@10", 200, control=0.5, treatment=0.5)
    seen = exposure((200, 3), (600, 9), expected=np.array([[1.0, 0.0]]))
    assert state_of(analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=seen)), "srm_units") == "fail"


def test_queries_lost_in_one_arm_refuse_the_verdict() -> None:
    table = split(rng(), "nDCG@10", 2_000, control=0.5, treatment=0.5)
    counts = np.maximum(1.0, np.round(table.treatment.counts * 0.5))
    lost = UnitSums(totals=np.zeros(2_000), counts=counts, n_trials=int(counts.sum()))
    whole = UnitSums(totals=np.zeros(2_000), counts=table.control.counts, n_trials=table.control.n_trials)
    tables = {"nDCG@10": table, "failed": SplitScores(metric=metric_named("failed"), control=whole, treatment=lost)}
    found = analyse_tables(setting(experiment(), tables))
    assert found.verdict.decision == "refused"
    assert found.verdict.sentence.startswith("No verdict: srm_queries:")


@pytest.mark.parametrize(("in_both", "state"), [(0, "pass"), (5, "warn"), (100, "fail")])
def test_units_in_both_arms_are_counted_and_many_refuse(in_both: int, state: str) -> None:
    table = split(rng(), "nDCG@10", 500, control=0.5, treatment=0.5)
    seen = exposure((500, 500), (1500, 1500), in_both=in_both)
    found = analyse_tables(setting(experiment(), {"nDCG@10": table}, exposure=seen))
    assert state_of(found, "in_both_arms") == state
    assert (found.verdict.decision == "refused") == (state == "fail")


def test_failures_outages_overrides_and_clocks_are_told_with_their_numbers() -> None:
    table = split(rng(), "nDCG@10", 500, control=0.5, treatment=0.5)
    seen = exposure(
        (500, 500), (1500, 1500), failed={"baseline": 3, "custom": 100}, excluded={"override": 400, "no unit": 9}, erased={"custom": 2}
    )
    found = analyse_tables(
        setting(
            experiment(),
            {"nDCG@10": table},
            exposure=seen,
            outages=(Outage(start=START, end=START + 5, refused=90, unlogged=10, reason="gone"),),
            clock=Clock(now=START, first=START, last=START + DAY, backwards=30),
            votes=(VoteCounts(arm="baseline", solicited=False, trials=1, up=0, down=0, withdrawn=0, late=6),),
            traffic=(TrafficState(version=2, share=1.0, treatment=0.5, stopped=True, actor="guardrail", reason="failed"),),
        )
    )
    assert found.verdict.decision == "refused"
    assert "100 of 1,500 trials failed in custom" in detail_of(found, "failures")
    assert [state_of(found, name) for name in ("outages", "overrides", "clock", "traffic")] == ["warn"] * 4
    counted = {each.what: each.n for each in found.left_out}
    assert counted["trials: of testers, put into an arm by hand"] == 400
    assert counted["queries refused while the log could not be written"] == 90
    assert counted["votes that came later than 7 days"] == 6


@pytest.mark.parametrize(("missing", "state"), [(0.1, "pass"), (0.4, "warn")])
def test_scores_that_one_arm_lacks_more_often_are_a_warning(missing: float, state: str) -> None:
    table = split(rng(), "nDCG@10", 1_500, control=0.5, treatment=0.5)
    arms = [
        dataclasses.replace(arm, n_trials=round(arm.n_trials / (1 - share)), unscored={"not sampled": 1})
        for arm, share in ((table.control, 0.1), (table.treatment, missing))
    ]
    found = analyse_tables(setting(experiment(), {"nDCG@10": SplitScores(metric=table.metric, control=arms[0], treatment=arms[1])}))
    assert state_of(found, "missing") == state


@pytest.mark.parametrize(
    ("unscored", "state"),
    [({}, "pass"), ({NOT_GOLD: 0.9}, "pass"), ({NOT_GOLD: 1.1}, "warn"), ({NOT_SAMPLED: 9.0, NOT_SCORED: 9.0, TRIAL_FAILED: 9.0}, "pass")],
)
def test_a_primary_score_on_fewer_than_half_of_what_could_be_scored_is_a_warning(unscored: dict[str, float], state: str) -> None:
    table = split(rng(), "nDCG@10", 300, control=0.5, treatment=0.5)
    arms = []
    for arm in (table.control, table.treatment):
        counted = {reason: round(times * arm.n_trials) for reason, times in unscored.items()}
        arms.append(dataclasses.replace(arm, n_trials=arm.n_trials + sum(counted.values()), unscored=counted))
    found = analyse_tables(setting(experiment(), {"nDCG@10": SplitScores(metric=table.metric, control=arms[0], treatment=arms[1])}))
    assert state_of(found, "coverage") == state
    assert ("48% of the" in detail_of(found, "coverage")) == (state == "warn")


def test_reasons_that_say_nothing_of_coverage_are_those_of_the_scorers() -> None:
    assert set(NOT_MEANT) == {NOT_SCORED, NOT_SAMPLED, TRIAL_FAILED, STOOD_IN}


def test_what_was_found_when_the_service_was_started_refuses_as_in_an_evaluation() -> None:
    leaked = (Check(name="leakage", state="fail", detail="3 gold queries are among the training texts"),)
    assert analysed(effect=0.15, given=leaked).verdict.decision == "refused"
    differs = ParityCertificate(ok=False, digest=None, undeclared=("retrieval.top_k: '10' / '5'",))
    assert analysed(effect=0.15, parity=differs).verdict.decision == "refused"
    assert state_of(analysed(effect=0.15, parity=None), "parity") == "unknown"


# Guardrails


def guarded(guardrail: Guardrail, table: SplitScores, *, units_planned: int | None = None) -> LiveAnalysis:
    plan = experiment(guardrails=(guardrail,), units_planned=units_planned)
    primary = split(rng(), "nDCG@10", table.control.counts.size, control=0.5, treatment=0.65)
    return analyse_tables(setting(plan, {"nDCG@10": primary, guardrail.name: table}))


def test_a_broken_guardrail_beats_a_gain_and_raises_an_alarm() -> None:
    generator = rng()
    counts = (users(generator, 1_000, mean=0.5).counts, users(generator, 1_000, mean=0.5).counts)
    table = rates(generator, "thumbs_down", counts, 0.02, 0.12)
    found = guarded(Guardrail(name="thumbs_down", max_increase=0.03), table)
    assert found.verdict.decision == "keep baseline"
    assert "thumbs_down is worse than its margin" in found.verdict.sentence
    plan = experiment(guardrails=(Guardrail(name="thumbs_down", max_increase=0.03),))
    alarms = guardrail_alarms({"thumbs_down": table}, exposure((1_000, 1_000), (3_000, 3_000)), plan)
    assert [alarm.metric for alarm in alarms] == ["thumbs_down"]
    assert alarms[0].guardrail.low > 0.03
    assert guardrail_alarms({"thumbs_down": table}, exposure((1_000, 0), (3_000, 0)), plan) == ()
    assert guardrail_alarms({}, exposure((1_000, 1_000), (3_000, 3_000)), plan) == ()


def test_no_failure_in_either_arm_holds_once_there_are_trials_enough() -> None:
    counts = (np.ones(40), np.ones(40))
    few = rates(rng(), "failed", counts, 0.0, 0.0)
    many = rates(rng(), "failed", (np.ones(2_000), np.ones(2_000)), 0.0, 0.0)
    plan, planned = experiment(), Guardrail(name="failed", max_increase=0.02)
    assert guardrail_of(few, planned, plan).state == "not shown"
    assert guardrail_of(many, planned, plan).state == "holds"


def test_an_arm_that_fails_always_is_stopped_after_a_few_trials() -> None:
    table = rates(rng(), "failed", (np.ones(12), np.ones(12)), 0.0, 1.0)
    assert guardrail_of(table, Guardrail(name="failed", max_increase=0.05), experiment()).state == "broken"


def test_one_user_who_fails_again_and_again_stops_nothing() -> None:
    counts, totals = np.ones(300), np.zeros(300)
    control = UnitSums(totals=totals, counts=counts, n_trials=300)
    retries = UnitSums(totals=np.append(totals[1:], 40.0), counts=np.append(counts[1:], 40.0), n_trials=339)
    table = SplitScores(metric=metric_named("failed"), control=control, treatment=retries)
    assert design_effect(retries) == 40
    assert guardrail_of(table, Guardrail(name="failed", max_increase=0.02), experiment()).state == "not shown"
    spread = UnitSums(totals=np.append(np.zeros(260), np.ones(40)), counts=np.ones(300), n_trials=300)
    assert design_effect(spread) == pytest.approx(300 / 299)  # independent trials: n / (n - 1)
    assert (
        guardrail_of(dataclasses.replace(table, treatment=spread), Guardrail(name="failed", max_increase=0.02), experiment()).state
        == "broken"
    )


@pytest.mark.parametrize(("slower", "state"), [(1.0, "holds"), (1.25, "not shown"), (1.6, "broken")])
def test_latency_is_compared_as_a_ratio_of_means(slower: float, state: str) -> None:
    generator = rng()
    sums = []
    for factor in (1.0, slower):
        counts = generator.geometric(1 / 3, 800).astype(float)
        totals = np.array([generator.gamma(4, 50 * factor, int(n)).sum() for n in counts])
        sums.append(UnitSums(totals=totals, counts=counts, n_trials=int(counts.sum())))
    table = SplitScores(metric=metric_named("latency_ms"), control=sums[0], treatment=sums[1])
    found = guardrail_of(table, Guardrail(name="latency_ms", max_relative_increase=0.25), experiment())
    assert found.state == state
    assert found.relative


def test_a_metric_that_must_not_fall_is_turned_around() -> None:
    generator = rng()
    counts = (users(generator, 1_500, mean=0.5).counts, users(generator, 1_500, mean=0.5).counts)
    table = rates(generator, "copied", counts, 0.4, 0.2)
    for planned in (Guardrail(name="copied", max_decrease=0.05), Guardrail(name="copied", max_relative_decrease=0.1)):
        found = guardrail_of(table, planned, experiment())
        assert found.state == "broken"
        assert found.estimate > 0
        assert found.low < found.estimate < found.high


def test_a_guardrail_that_cannot_be_tested_yet_is_no_leave_to_adopt() -> None:
    generator = rng()
    table = split(generator, "latency_ms", 90, control=200.0, treatment=200.0)
    plan = experiment(guardrails=(Guardrail(name="latency_ms", max_increase=50.0),))
    primary = split(generator, "nDCG@10", 1_000, control=0.5, treatment=0.7)
    found = analyse_tables(setting(plan, {"nDCG@10": primary, "latency_ms": table}))
    assert found.verdict.decision == "undecided"
    assert "at least 100" in found.verdict.sentence
    with pytest.raises(NotEnoughDataError):
        guardrail_of(table, Guardrail(name="latency_ms", max_increase=50.0), plan)


# Other modes


def test_shadow_mode_compares_the_same_queries_and_has_no_split_to_test() -> None:
    plan = experiment(mode="shadow", guardrails=(Guardrail(name="latency_ms", max_relative_increase=0.5),))
    table = within(rng(), "nDCG@10", 500, difference=0.1)
    waits = within(rng(), "latency_ms", 500, difference=5.0, control=100.0, spread=20.0)
    found = analyse_tables(setting(plan, {"nDCG@10": table, "latency_ms": waits}))
    assert found.verdict.decision == "adopt custom"
    assert found.sample_ratios == ()
    assert "srm_units" not in {check.name for check in found.checks}
    assert found.progress.n_units == 500
    assert found.primary.n_units == 1_000 or found.primary.n_units == 500


def test_interleaved_mode_decides_by_preference_and_tells_the_sign_test() -> None:
    plan = experiment(mode="interleaved", primary="preference", min_effect=0.05, exploratory=("failed",))
    table = within(rng(), "preference", 400, difference=0.5, control=None, spread=0.6)
    found = analyse_tables(setting(plan, {"preference": table}))
    assert found.verdict.decision == "adopt custom"
    assert found.preferred is not None
    assert found.preferred.units_for_treatment > found.preferred.units_for_control
    assert found.preferred.sign_p_value < 0.001
    assert found.primary.baseline.mean is None
    assert next(c for c in found.comparisons if c.metric.name == "failed").no_effect is not None


def test_one_user_whose_silent_answers_all_fail_is_no_broken_guardrail() -> None:
    guardrail = Guardrail(name="failed", max_increase=0.02)
    counts, totals = np.ones(201), np.zeros(201)
    counts[-1] = totals[-1] = 40.0
    sums = UnitSums(totals=totals, counts=counts, n_trials=240)
    table = WithinScores(metric=metric_named("failed"), differences=sums, control_mean=0.0, treatment_mean=40 / 240)
    assert guardrail_of(table, guardrail, experiment(mode="shadow", guardrails=(guardrail,))).state == "not shown"
    everywhere = UnitSums(totals=np.ones(240) * (np.arange(240) < 40), counts=np.ones(240), n_trials=240)
    table = dataclasses.replace(table, differences=everywhere)
    assert guardrail_of(table, guardrail, experiment(mode="shadow", guardrails=(guardrail,))).state == "broken"


def test_the_planned_interval_waits_for_the_scores_of_its_trials() -> None:
    table = split(rng(), "nDCG@10", 1_000, control=0.5, treatment=0.53)
    for waiting, there in ((2_000, False), (5, True)):
        late = dataclasses.replace(table.control, n_trials=table.control.n_trials + waiting, unscored={NOT_SCORED: waiting})
        found = analysed(effect=0.03, units_planned=2_000, frozen={"nDCG@10": dataclasses.replace(table, control=late)})
        assert found.primary.effect is not None
        assert (found.primary.effect.planned is not None) == there
    unsure = analysed(
        effect=0.012,
        units_planned=2_000,
        frozen={"nDCG@10": dataclasses.replace(table, control=dataclasses.replace(late, unscored={NOT_SCORED: 900}))},
    )
    assert "waits for the scores of 900 trials" in unsure.verdict.sentence


# Votes


def test_where_another_share_rates_the_vote_share_must_not_be_read() -> None:
    votes = (
        VoteCounts(arm="baseline", solicited=False, trials=2_000, up=60, down=40, withdrawn=1, late=0),
        VoteCounts(arm="custom", solicited=False, trials=2_000, up=200, down=200, withdrawn=0, late=2),
        VoteCounts(arm="baseline", solicited=True, trials=200, up=60, down=40, withdrawn=0, late=0),
        VoteCounts(arm="custom", solicited=True, trials=200, up=80, down=20, withdrawn=0, late=0),
    )
    everyone, asked = analysed(effect=0.0, votes=votes, votes_by_unit=votes_by_unit(votes)).votes
    assert everyone.who_rates_differs
    assert everyone.trials == (2_200, 2_200)
    assert everyone.share is not None
    assert everyone.share.estimate < 0
    assert everyone.bounds is not None
    assert everyone.bounds.low < -0.5 < 0.5 < everyone.bounds.high
    assert asked.solicited
    assert not asked.who_rates_differs
    assert asked.share is not None
    assert asked.share.estimate == pytest.approx(0.2)
    assert asked.share.low > 0


def test_votes_of_one_user_are_not_independent_also_where_they_were_asked_for() -> None:
    votes = tuple(VoteCounts(arm=arm, solicited=True, trials=400, up=up, down=200 - up, withdrawn=0, late=0) for arm, up in ARMS_UP)
    sums = {}
    for arm, up in ARMS_UP:
        units = np.zeros(40), np.full(40, 10.0)  # forty users, who were asked ten times each; half of them voted, always the same way
        ups, downs = units[0].copy(), units[0].copy()
        ups[: up // 10], downs[up // 10 : 20] = 10.0, 10.0
        sums[arm] = VotesByUnit(asked=units[1], up=ups, down=downs, asked_solicited=units[1], up_solicited=ups, down_solicited=downs)
    for found in analysed(effect=0.0, votes=votes, votes_by_unit=sums).votes:
        assert found.share is not None
        assert found.share.estimate == pytest.approx(0.15)
        assert found.share.low < -0.1  # 55 and 40 % of twenty users; of two hundred votes the interval would begin above 0.05
    (_, found) = analysed(effect=0.0, votes=votes).votes
    assert (found.share, found.rated) == (None, (200, 200))
    assert "by unit" in (found.reason or "")


ARMS_UP = (("baseline", 80), ("custom", 110))


def test_without_votes_there_is_a_reason_and_no_number() -> None:
    votes = (VoteCounts(arm="baseline", solicited=False, trials=50, up=0, down=0, withdrawn=0, late=0),)
    (found,) = analysed(effect=0.0, votes=votes).votes
    assert found.share is None
    assert found.reason


# Looks, tails and plans


def test_the_last_look_is_the_present_state_and_bands_shrink() -> None:
    plan, generator = experiment(), rng()
    table = split(generator, "nDCG@10", 600, control=0.5, treatment=0.55)
    steps = timed(table, generator)
    found = analyse_tables(setting(plan, {"nDCG@10": table}, timed=steps, assigned=steps))
    assert found.primary.effect is not None
    last, running = found.looks[-1], found.primary.effect.running
    assert (last.estimate, last.low, last.high, last.n_units) == pytest.approx(
        (running.estimate, running.low, running.high, running.n_units)
    )
    assert last.units == (600, 600)
    assert found.looks[0].estimate is None
    widths = [look.high - look.low for look in found.looks if look.high is not None and look.low is not None]
    assert widths[-1] < widths[0]
    middle = until(steps, 9, split=True)
    assert isinstance(middle, SplitScores)
    assert middle.control.counts.size == found.looks[9].units[0]


def test_the_tail_of_the_waiting_time_stands_beside_the_mean() -> None:
    generator = rng()
    waits = {
        arm: (np.repeat(np.arange(500), 3), generator.lognormal(5 + shift, 0.5, 1_500)) for arm, shift in (("baseline", 0), ("custom", 0.4))
    }
    tail = analysed(effect=0.0, latencies=waits).tail
    assert tail is not None
    assert tail.ratio_low is not None
    assert tail.ratio_low > 1.2
    few = analysed(effect=0.0, latencies={"baseline": waits["baseline"]}).tail
    assert few is not None
    assert few.control is None
    assert few.reason is not None


def test_the_planned_units_are_those_of_the_t_test_at_the_level_that_is_spent_on_it() -> None:
    plan = experiment(min_effect=0.02)
    spread = split_spread(unit_sd=0.25, treatment=0.5, source="given", said="given")
    assert spread.variance == pytest.approx(4 * 0.25**2)
    found = plan_live(plan, spread, units_per_day=200, paired_sd=0.15)
    exact = queries_for(0.02, 0.5, alpha=0.04, power=0.8)
    assert exact <= found.units_planned <= 1.1 * exact
    assert found.units_half < found.units_running
    assert found.units_planned < found.units_running
    assert found.days_planned == int(np.ceil(found.units_planned / 200))
    assert [week.units for week in found.weeks[:2]] == [1_400, 2_800]
    first = found.weeks[0]
    assert first.running is not None
    assert first.planned is not None
    assert first.running > first.planned > found.weeks[-1].planned  # type: ignore[operator]  # every week has one
    assert any("shadow" in said for said in found.advice)
    assert plan_live(plan, spread, units_per_day=None).days_planned is None


@pytest.mark.parametrize("treatment", [0.5, 0.1])
def test_the_spread_that_a_plan_prints_gives_the_same_plan_again(treatment: float) -> None:
    plan = experiment(min_effect=0.02)
    live = dataclasses.replace(live_of(plan), traffic=TrafficSpec(treatment=treatment))
    plan = dataclasses.replace(plan, live=live)
    first = plan_live(plan, Spread(variance=0.3386**2, source="live data", said="logged"), units_per_day=None)
    again = split_spread(unit_sd=float(f"{first.unit_sd:.6g}"), treatment=treatment, source="given", said="given")
    assert plan_live(plan, again, units_per_day=None).units_planned == first.units_planned


def test_a_plan_names_no_size_at_which_an_arm_has_too_few_units() -> None:
    plan = experiment(min_effect=0.5)
    live = dataclasses.replace(live_of(plan), traffic=TrafficSpec(treatment=0.1))
    spread = split_spread(unit_sd=0.1, treatment=0.1, source="given", said="given")
    found = plan_live(dataclasses.replace(plan, live=live), spread, units_per_day=None).units_planned
    assert found == 1_000
    dataclasses.replace(live, units_planned=found)


def test_an_experiment_without_a_live_section_is_refused() -> None:
    plan = dataclasses.replace(experiment(), live=None)
    with pytest.raises(InputError, match="no section 'live'"):
        live_of(plan)


@pytest.mark.parametrize(("new_units", "rate"), [([314], None), ([314, 20], None), ([5, 100, 20], 100.0), ([5, 100, 200, 20], 150.0)])
def test_units_a_day_are_of_full_days_only(new_units: list[int], rate: float | None) -> None:
    found = SimpleNamespace(exposure=SimpleNamespace(new_units=np.array(new_units)))
    assert units_per_day(found) == rate  # type: ignore[arg-type]  # all that is read of a setting
