"""What is said of simulated traffic: the verdict as it forms, and what came of all the requests."""

from collections import Counter
from typing import Any

from ragtrial.suite.traffic import Traffic, TrafficPlan
from ragtrial.suite.traffic_looks import Looks, summary


def analysis(**changes: Any) -> dict[str, Any]:
    """As the service gives it, as far as a look reads it."""
    effect = {"running": {"estimate": 0.1012, "low": -0.0021, "high": 0.2045}, "planned": None}
    metrics = [
        {"role": "guardrail", "name": "failed", "effect": None, "reason": "every unit has the same mean"},
        {"role": "primary", "name": "nDCG@10", "effect": changes.get("effect", effect), "reason": changes.get("reason")},
    ]
    state = {"stopped": False, "actor": "plan", "reason": "as planned"}
    return {
        "format": "ragtrial-live/1",
        "metrics": metrics,
        "progress": {"n_units": changes.get("n_units", 1213), "traffic": changes.get("traffic", state)},
        "verdict": {"decision": changes.get("decision", "undecided")},
    }


def test_a_look_shows_units_band_and_decision() -> None:
    assert Looks().line(600, analysis()) == "after 600 questions: 1,213 units; nDCG@10 +0.1012 [-0.0021, +0.2045]; undecided"


def test_a_look_says_when_the_planned_verdict_has_fallen() -> None:
    effect = {"running": {"estimate": 0.1, "low": 0.01, "high": 0.19}, "planned": {"estimate": 0.1}}
    said = Looks().line(600, analysis(effect=effect, decision="adopt custom"))
    assert said is not None
    assert said.endswith("adopt custom (the planned number of units is there)")


def test_a_look_says_why_nothing_can_be_compared_yet() -> None:
    said = Looks().line(200, analysis(effect=None, reason="12 units", decision="too few"))
    assert said == "after 200 questions: 1,213 units; nDCG@10 can't be compared yet (12 units); too few"


def test_a_band_without_ends_is_none() -> None:
    effect = {"running": {"estimate": 0.1, "low": None, "high": None}, "planned": None}
    assert "nDCG@10 +0.1000, no band yet; undecided" in str(Looks().line(200, analysis(effect=effect)))


def test_a_look_says_who_stopped_the_treatment() -> None:
    stopped = {"stopped": True, "actor": "guardrail", "reason": "latency_ms is broken"}
    assert str(Looks().line(900, analysis(traffic=stopped))).endswith("stopped by guardrail: latency_ms is broken")


def test_another_format_is_named_and_not_guessed_at() -> None:
    assert "'ragtrial-live/9'" in str(Looks().line(200, {"format": "ragtrial-live/9"}))


def test_the_same_look_is_not_said_twice() -> None:
    looks = Looks()
    assert looks.line(200, analysis())
    assert looks.line(400, analysis()) is None
    assert looks.line(600, analysis(n_units=1300))
    assert looks.line(800, "the log is out of reach") == "after 800 questions: the log is out of reach"
    assert looks.line(900, "the log is out of reach") is None


def test_the_summary_of_nothing_has_no_numbers_that_were_not_measured() -> None:
    rows = dict(summary(Traffic(plan=TrafficPlan())))
    assert rows["latency as users saw it"] == "nothing was answered"
    assert rows["answers"] == "none"
    assert rows["errors"] == "none"
    assert "lost by the planted fault" not in rows


def test_the_summary_names_the_commonest_errors_and_sums_the_others() -> None:
    traffic = Traffic(plan=TrafficPlan())
    traffic.counts.errors = Counter({f"400: wrong {n}": 10 - n for n in range(8)})
    assert dict(summary(traffic))["errors"].endswith("6 400: wrong 4, 12 others")
