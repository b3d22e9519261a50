"""Votes with what they were about, as training pairs need them."""

from pathlib import Path

import pytest

from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_votes_reader import LiveVotesReader
from ragtrial.domain.live_trial import Thumb
from unit.db.live_samples import DAY, START, Clock, experiment, live_trial, vote


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


def log(url: str, votes: list[tuple[str, str, Thumb, str | None, float]], *, name: str = "handbook") -> None:
    plan, clock = experiment(name=name), Clock()
    with LiveRecorder(url, plan, facts={}, clock=clock) as recorder:
        for trial_id in ("t1", "t2", "t3"):
            recorder.log(live_trial(f"{name}-{trial_id}", trial_id, at=START + 60)).result(10)
        for trial_id, key, thumb, source, at in votes:
            clock.now = at
            recorder.vote(vote(f"{name}-{trial_id}", key, thumb, source=source, at=at)).result(10)


def test_each_voted_trial_comes_with_its_history_and_what_stands_of_it(url: str) -> None:
    log(
        url,
        [
            ("t1", "a", "up", None, START + 100),
            ("t2", "a", "up", None, START + 101),
            ("t1", "b", "down", "p3", START + 102),
            ("t1", "c", "down", None, START + 103),
            ("t2", "b", "withdrawn", None, START + 20 * DAY),
        ],
    )
    log(url, [("t3", "a", "up", None, START + 100)], name="other")
    with LiveVotesReader(url) as reader:
        first, second = reader.voted("handbook")
        assert reader.voted("nobody") == ()
    assert first.trial.trial_id == "handbook-t1"
    assert first.trial.trial.ranking is not None
    assert [each.key for each in first.votes] == ["a", "b", "c"]
    assert {target: each.thumb for target, each in first.standing.items()} == {None: "down", "p3": "down"}
    assert first.late == frozenset()
    assert (second.standing, second.late) == ({}, {"b"}), "who withdraws late has withdrawn"
