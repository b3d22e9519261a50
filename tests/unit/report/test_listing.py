"""The list of everything that was evaluated or served: states and verdicts from stored documents."""

import dataclasses

import pytest

from ragtrial.domain.live import TrafficState
from ragtrial.report import live_summary, summary
from ragtrial.report.content import ReportContent
from ragtrial.report.listing import essence, listed_evaluation, listed_live
from ragtrial.report.live_summary import LiveSummary
from unit.report import live_samples, samples

RUNNING = TrafficState(version=1, share=0.5, treatment=0.5, at=0.0)


def document(content: ReportContent) -> dict[str, object]:
    fields = {field.name: getattr(content, field.name) for field in dataclasses.fields(summary.Summary)}
    return summary.as_document(summary.Summary(**fields))


def live_document(**changes: object) -> dict[str, object]:
    content = live_samples.build(**changes)  # type: ignore[arg-type]
    return live_summary.as_document(LiveSummary(experiment=content.experiment, analysis=content.analysis, made_at=content.made_at))


def test_a_concluded_evaluation_has_verdict_sign_and_effect(content: ReportContent) -> None:
    row = listed_evaluation(content.evaluation, done=600, planned=600, known=essence(document(content)))
    assert (row.state, row.verdict, row.tone, row.sign) == ("finished", "Adopt custom", "good", "✓")
    assert row.effect == "nDCG@10 +0.1452 [+0.0935, +0.1969]"
    assert (row.kind, row.key, row.at) == ("evaluation", content.evaluation.evaluation_id, "2026-11-01 12:00")


def test_one_in_progress_shows_how_far_it_is_and_no_verdict(content: ReportContent) -> None:
    running = dataclasses.replace(content.evaluation, finished_at=None)
    row = listed_evaluation(running, done=1_200, planned=6_000, known=None)
    assert row.state == "in progress: 1,200 of 6,000 trials"
    assert row.verdict is None
    assert row.effect is None


def test_one_that_is_finished_is_being_concluded(content: ReportContent) -> None:
    row = listed_evaluation(content.evaluation, done=600, planned=600, known=None)
    assert row.state == "finished, being concluded"
    assert row.verdict is None


def test_one_that_cant_be_concluded_says_why(content: ReportContent) -> None:
    row = listed_evaluation(content.evaluation, done=600, planned=600, known=None, problem="no plan")
    assert (row.state, row.verdict, row.effect) == ("finished, can't be concluded", None, "no plan")


def test_one_without_an_effect_says_why() -> None:
    same = samples.build(same=True)
    row = listed_evaluation(same.evaluation, done=1, planned=1, known=essence(document(same)))
    assert row.verdict == "Undecided"
    assert row.effect is not None
    assert row.effect.startswith("nDCG@10: every one of the 146 queries got the same difference")


@pytest.mark.parametrize(
    ("changes", "ends"),
    [({"reached": True}, "planned"), ({"reached": False}, "running"), ({"effect": 0.09, "slow": 0.06}, "running")],
    ids=["planned", "not yet", "always-valid only"],
)
def test_a_live_experiment_shows_the_interval_that_counts(changes: dict[str, object], ends: str) -> None:
    found = live_document(**changes)
    row = listed_live(3, "chat", 1_800_000_000.0, traffic=RUNNING, known=essence(found), problem=None)
    interval = found["analysis"]["comparisons"][0]["effect"][ends]  # type: ignore[index]
    assert row.effect is not None
    assert f"[{interval['low']:+.4f}, {interval['high']:+.4f}]" in row.effect
    assert (row.kind, row.key, row.at) == ("live", "3", "2027-01-15 08:00")
    assert row.state == "running, 50% of the units take part"


def test_a_stopped_one_and_one_that_cant_be_analysed_say_so() -> None:
    stopped = dataclasses.replace(RUNNING, stopped=True)
    row = listed_live(3, "chat", 0.0, traffic=stopped, known=None, problem="there is no metric 'x'")
    assert (row.state, row.verdict, row.effect) == ("stopped", None, "there is no metric 'x'")


def test_a_live_verdict_counts_units_in_its_words() -> None:
    found = live_document(n=60, units_planned=4_000, reached=False)
    assert listed_live(3, "chat", 0.0, traffic=RUNNING, known=essence(found), problem=None).verdict == "Too few units"
