"""What operators change from pages: who may, what they are told before, and that it is in SQL with an entry in the audit log."""

from pathlib import Path

import pytest

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.access import Role
from ragtrial.domain.live import Mode, TrafficState, acted_on
from ragtrial.errors import ConflictError, InputError
from ragtrial.suite.steering import change_traffic, consequences
from unit.db.live_samples import experiment

FULL = TrafficState(version=1, share=1.0, treatment=0.5)
STOPPED = TrafficState(version=2, share=1.0, treatment=0.5, stopped=True, actor="guardrail", reason="failed, latency_ms: it is worse: by 3")


@pytest.fixture
def served(tmp_path: Path) -> tuple[str, int]:
    """The log of an experiment that was served: its URL and number."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with LiveRecorder(url, experiment()) as recorder:
        return url, recorder.live_id


def test_an_operator_ramps_down_and_the_audit_log_says_who_and_why(served: tuple[str, int]) -> None:
    url, live_id = served
    state = change_traffic(
        url, live_id, expected_version=1, actor="ann", role="operator", reason="  too slow  ", share=0.1, clock=lambda: 7.0
    )
    assert (state.version, state.share, state.stopped, state.actor, state.reason, state.at) == (2, 0.1, False, "ann", "too slow", 7.0)
    with LiveReader(url) as reader:
        assert reader.traffic(live_id) == state
        entry = reader.audit_log(live_id)[0]
    assert (entry.actor, entry.action, entry.detail["reason"], entry.at) == ("ann", "change traffic", "too slow", 7.0)
    assert (entry.detail["from"]["share"], entry.detail["to"]["share"]) == (1.0, 0.1)


@pytest.mark.parametrize("role", ["viewer", "tester"])
def test_whoever_may_not_operate_is_refused_and_nothing_changes(served: tuple[str, int], role: Role) -> None:
    url, live_id = served
    with pytest.raises(InputError, match=f"'eve' is a {role} and may not change traffic: ask an operator"):
        change_traffic(url, live_id, expected_version=1, actor="eve", role=role, reason="because", stopped=True)
    with LiveReader(url) as reader:
        assert (reader.traffic(live_id).version, reader.audit_log(live_id)) == (1, ())


def test_a_key_that_is_limited_to_asking_can_not_steer_whatever_its_role(served: tuple[str, int]) -> None:
    url, live_id = served
    with pytest.raises(InputError, match="may not change traffic"):
        change_traffic(url, live_id, expected_version=1, actor="web", role="admin", scopes={"ask"}, reason="because", stopped=True)


def test_whoever_decided_on_an_older_state_is_told_who_was_faster(served: tuple[str, int]) -> None:
    url, live_id = served
    change_traffic(url, live_id, expected_version=1, actor="ann", role="operator", reason="first", stopped=True)
    with pytest.raises(ConflictError, match="has version 2, changed by 'ann', and not 1"):
        change_traffic(url, live_id, expected_version=1, actor="bob", role="admin", reason="second", share=0.5)
    with LiveReader(url) as reader:
        assert [state.reason for state in reader.traffic_history(live_id)] == ["as planned", "first"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": " \n", "stopped": True}, "needs a reason"),
        ({"reason": "x" * 1001, "stopped": True}, "1,001 characters: give at most 1,000"),
        ({"reason": "why"}, "nothing is to be changed"),
        ({"reason": "why", "share": 1.2}, "give shares from 0 to 1"),
        ({"reason": "why", "share": float("nan")}, "give shares from 0 to 1"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(served: tuple[str, int], change: dict[str, object], said: str) -> None:
    url, live_id = served
    with pytest.raises(InputError, match=said):
        change_traffic(url, live_id, expected_version=1, actor="ann", role="operator", **change)  # type: ignore[arg-type]  # wrong on purpose
    with LiveReader(url) as reader:
        assert reader.traffic(live_id).version == 1


def test_a_ramp_down_says_who_leaves_and_what_is_kept() -> None:
    assert consequences([FULL], mode="split", share=0.1) == (
        "90% of the units leave: they get the baseline from their next query on, and what they ask from then on does not count.",
        "10% of the units then take part: 5% get custom, 5% the baseline.",
        "What was logged stays in the analysis.",
        "Nobody changes from one arm to the other.",
    )


def test_a_ramp_up_says_who_comes_in() -> None:
    tenth = TrafficState(version=1, share=0.1, treatment=0.2)
    assert consequences([tenth], mode="split", share=0.5) == (
        "40% of the units come in.",
        "50% of the units then take part: 10% get custom, 40% the baseline.",
        "Nobody changes from one arm to the other.",
    )
    assert consequences([tenth], mode="split", share=0.1) == ("Nothing changes.",)
    assert "Nobody takes part: everyone gets the baseline, and nothing is counted." in consequences([tenth], mode="split", share=0.0)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("split", "Everyone gets the baseline from the next query on, within a second; nobody gets custom."),
        ("shadow", "Custom answers nothing any more, within a second; users get the baseline as before."),
        ("interleaved", "Everyone gets the baseline's answers from the next query on, within a second."),
    ],
)
def test_a_stop_says_what_users_get_in_each_mode(mode: Mode, said: str) -> None:
    assert consequences([FULL], mode=mode, stopped=True)[0] == said
    assert consequences([FULL, STOPPED], mode=mode, stopped=True) == ("It is stopped already: nothing changes.",)


def test_modes_without_a_split_speak_of_no_arms_that_users_see() -> None:
    assert consequences([FULL], mode="shadow", share=0.5) == (
        "50% of the units leave: users get the baseline as before, and what they ask from then on does not count.",
        "Custom answers the queries of 50% of the units silently; nobody sees its answers.",
        "What was logged stays in the analysis.",
    )
    assert consequences([STOPPED], mode="interleaved", stopped=False)[0] == "100% of the units get answers from both models' passages."


def test_starting_again_after_a_guardrail_says_that_it_will_not_stop_it_again() -> None:
    warning = "A guardrail has stopped it (failed, latency_ms) and will not act on that again: to go on is your decision."
    assert consequences([FULL, STOPPED], mode="split", stopped=False)[-1] == warning
    by_hand = TrafficState(version=2, share=1.0, treatment=0.5, stopped=True, actor="ann", reason="guardrail: no")
    assert consequences([FULL, by_hand], mode="split", stopped=False)[-1] == "Units get the arm that they had before."
    ramped = TrafficState(version=2, share=0.1, treatment=0.5, actor="guardrail", reason="failed: worse")
    assert "will not act on that again" in consequences([FULL, ramped], mode="split", share=1.0)[-1]
    assert acted_on([FULL, STOPPED, ramped]) == ("failed", "latency_ms")
