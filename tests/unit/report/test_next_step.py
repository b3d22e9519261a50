"""What to do next, for every way in which a verdict can end."""

import dataclasses

import numpy as np
import pytest

from ragtrial.analysis.deciding import round_up
from ragtrial.domain.planned import Guardrail
from ragtrial.domain.verdict import Analysis, Check
from ragtrial.report.live_content import LiveContent
from ragtrial.report.next_step import live_next_step, next_step
from unit.report import live_samples
from unit.test_analysis import conclude, experiment, scores, table

PLAN = experiment()
GUARDED = experiment(guardrails=(Guardrail(name="latency_ms", max_relative_increase=0.1), Guardrail(name="failed", max_increase=0.01)))


def step(analysis: Analysis, plan=PLAN) -> str:
    said = next_step(analysis, plan)
    assert said.endswith(".")
    assert said.count(". ") == 0
    return said


def with_check(analysis: Analysis, name: str, state: str) -> Analysis:
    checks = [check for check in analysis.checks if check.name != name]
    return dataclasses.replace(analysis, checks=(*checks, Check(name=name, state=state, detail="found")))  # type: ignore[arg-type]


def test_a_gain_is_ramped_up_on_live_traffic() -> None:
    analysis = conclude(*scores(300, 0.05))
    assert analysis.verdict.decision == "adopt custom"
    assert step(analysis) == "Ramp custom up on live traffic: a small share of the users first, then all of them."
    planned = live_samples.build().experiment
    assert "start it with ragtrial serve" in step(analysis, planned)


def test_a_gain_that_a_free_method_has_too_is_compared_with_it_first() -> None:
    assert "plain BM25" in step(with_check(conclude(*scores(300, 0.05)), "free_method", "warn"))


def test_a_plan_that_was_changed_is_evaluated_again_whatever_came_out() -> None:
    for gain in (0.05, -0.05):
        assert step(with_check(conclude(*scores(300, gain)), "plan", "warn")).startswith("Evaluate again under the plan as it is now")


def test_a_loss_keeps_the_baseline_and_names_a_broken_guardrail() -> None:
    assert "largest losses" in step(conclude(*scores(300, -0.05)))
    slow = {"latency_ms": table("latency_ms", {"baseline": np.full(300, 10.0), "custom": np.full(300, 20.0) + np.arange(300) % 3})}
    broken = conclude(
        *scores(300, 0.05),
        plan=dataclasses.replace(GUARDED, metrics=dataclasses.replace(GUARDED.metrics, guardrails=GUARDED.metrics.guardrails[:1])),
        others=slow,
    )
    assert broken.verdict.decision == "keep baseline"
    assert step(broken) == "Before another try, bring latency_ms back within what is tolerated."


def test_too_few_queries_are_counted() -> None:
    analysis = conclude(*scores(40, 0.05))
    assert analysis.verdict.decision == "too few"
    assert analysis.verdict.n_more is not None
    assert step(analysis) == f"Add about {round_up(analysis.verdict.n_more):,} more queries to the gold set, and evaluate again."


def test_an_open_gain_needs_so_many_more_queries_as_the_verdict_says() -> None:
    analysis = conclude(*scores(200, 0.02))
    assert analysis.verdict.decision == "undecided"
    assert step(analysis) == f"Collect about {analysis.verdict.n_more:,} more queries, and evaluate them as a new experiment."


def test_a_gain_on_the_very_margin_is_decided_by_cost() -> None:
    analysis = conclude(*scores(200, 0.0101, spread=0.1), plan=experiment(min_effect=0.01))
    hopeless = dataclasses.replace(analysis, verdict=dataclasses.replace(analysis.verdict, decision="undecided", n_more=2_000_000))
    assert step(hopeless) == "Decide by what custom costs: more queries won't tell whether its gain is worth it."


def test_guardrails_that_were_timed_on_few_queries_want_more_of_them() -> None:
    rng = np.random.default_rng(0)
    reasons = {(arm, i): "not timed" for arm in ("baseline", "custom") for i in range(20, 300)}
    slow = {
        "latency_ms": table("latency_ms", {arm: rng.uniform(5, 30, 300) for arm in ("baseline", "custom")}, reasons),
        "failed": table("failed", {arm: np.zeros(300) for arm in ("baseline", "custom")}),
    }
    analysis = conclude(*scores(300, 0.05), plan=GUARDED, others=slow)
    assert analysis.verdict.decision == "undecided"
    assert step(analysis, GUARDED) == "Time more queries (analysis.latency_queries) until latency_ms is shown to hold: the gain itself is."
    both = {
        "latency_ms": slow["latency_ms"],
        "failed": table("failed", {arm: rng.integers(0, 2, 300) / 1.0 for arm in ("baseline", "custom")}),
    }
    assert "latency_ms and failed are shown to hold" in step(conclude(*scores(300, 0.05), plan=GUARDED, others=both), GUARDED)


def test_arms_that_never_differ_are_looked_at_and_not_evaluated_again() -> None:
    same = np.linspace(0, 1, 200)
    assert "different models" in step(conclude(same, same))
    assert step(conclude(same, same + 0.125)) == "Choose a primary metric that can be compared: nDCG@10 can't."


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"leakage": "fail"}, "Fix the leakage: take the gold queries out of the training pairs, train and evaluate again."),
        ({"parity": False}, "Make the arms differ in nothing but what is under test, and evaluate again."),
        ({"parity": False, "leakage": "fail"}, "; then look at the other 1 check that fails."),
    ],
)
def test_a_failing_check_is_mended_before_anything_else(about, said) -> None:
    analysis = conclude(*scores(300, 0.05), **about)
    assert analysis.verdict.decision == "refused"
    assert step(analysis).endswith(said)


def test_lost_trials_are_looked_into() -> None:
    assert "so many trials failed" in step(conclude(*scores(300, 0.05), reasons={("custom", i): "it broke" for i in range(60)}))


# Live


def live_step(content: LiveContent) -> str:
    said = live_next_step(content)
    assert said.endswith(".")
    assert said.count(". ") == 0
    return said


def decided(content: LiveContent, decision: str, **changes: object) -> LiveContent:
    verdict = dataclasses.replace(content.analysis.verdict, decision=decision, n_more=None)  # type: ignore[arg-type]
    return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, verdict=verdict, **changes))


def stopped(content: LiveContent) -> LiveContent:
    progress = content.analysis.progress
    traffic = dataclasses.replace(progress.traffic, stopped=True)
    return dataclasses.replace(
        content, analysis=dataclasses.replace(content.analysis, progress=dataclasses.replace(progress, traffic=traffic))
    )


def test_a_live_gain_is_ramped_up_and_one_that_nobody_saw_is_shown_to_a_few_first() -> None:
    content = decided(live_samples.build(), "adopt custom")
    assert live_step(content) == "Ramp custom up to all users, and watch the guardrails on the way."
    assert "is stopped" in live_step(stopped(content))
    assert "a small share of the users first" in live_step(decided(live_samples.interleaved(), "adopt custom"))


def test_a_live_loss_stops_the_treatment_unless_it_is_stopped() -> None:
    content = live_samples.build(down=0.2)
    assert content.analysis.verdict.decision == "keep baseline"
    assert live_step(content) == "Stop the treatment, and find out why thumbs_down got worse before users see custom again."
    assert live_step(stopped(content)).startswith("Everyone gets the baseline: find out why thumbs_down")
    plain = decided(live_samples.build(), "keep baseline")
    assert live_step(plain) == "Stop the treatment, so that everyone gets the baseline."
    assert live_step(stopped(plain)) == "Stay with the baseline, which everyone gets by now."


def test_a_running_experiment_is_left_running_for_so_many_units() -> None:
    content = live_samples.build(effect=0.001, n=500, units_planned=4_000, reached=False)
    verdict, days = content.analysis.verdict, content.analysis.days_more
    assert verdict.decision == "undecided"
    assert live_step(content) == f"Leave it running for about {verdict.n_more:,} more units, in about {days} days."
    assert "is stopped" in live_step(stopped(content))


def test_a_running_experiment_of_few_units_is_left_running() -> None:
    content = live_samples.build(n=60, units_planned=4_000, reached=False)
    assert content.analysis.verdict.decision == "too few"
    assert live_step(content).startswith("Leave it running for about 3,880 more units")


def test_a_planned_size_without_scores_waits_for_them() -> None:
    content = live_samples.build(effect=0.001)
    waiting = [
        dataclasses.replace(c, effect=None if c.effect is None else dataclasses.replace(c.effect, planned=None))
        for c in content.analysis.comparisons
    ]
    assert live_step(decided(content, "undecided", comparisons=tuple(waiting))).startswith("Wait until the trials of the planned size")


def test_a_live_gain_with_untested_guardrails_waits_for_them() -> None:
    content = live_samples.build()
    unshown = [
        c if c.guardrail is None else dataclasses.replace(c, guardrail=dataclasses.replace(c.guardrail, state="not shown"))
        for c in content.analysis.comparisons
    ]
    said = live_step(decided(content, "undecided", comparisons=tuple(unshown)))
    assert said.startswith("Leave it running until failed and latency_ms and")
    assert said.endswith("are shown to hold: the gain itself is.")


def test_an_open_live_gain_without_a_way_on_is_decided_by_cost() -> None:
    content = decided(live_samples.build(effect=0.0, units_planned=None), "undecided")
    assert live_step(content) == "Decide by what custom costs: more units won't tell whether its gain is worth it."


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("srm_units", "Find out where units are lost"),
        ("in_both_arms", "Let callers name the same user"),
        ("allocation", "Start again as a new experiment, with the treatment's share"),
        ("something new", "Mend what the health checks found"),
    ],
)
def test_a_live_check_that_fails_is_mended_first(name, said) -> None:
    content = live_samples.build()
    checks = (*content.analysis.checks, Check(name=name, state="fail", detail="found"))
    assert live_step(decided(content, "refused", checks=checks)).startswith(said)


def test_a_live_plan_that_was_changed_is_served_anew() -> None:
    content = live_samples.build()
    checks = tuple(dataclasses.replace(c, state="warn") if c.name == "plan" else c for c in content.analysis.checks)
    assert live_step(decided(content, "adopt custom", checks=checks)).startswith("Serve the plan as it is now")
