"""Drift is part of a live experiment's snapshot, in each mode, and is read again as it was."""

from pathlib import Path

import pytest

from ragtrial.analysis.drift import DriftSignal
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live import Mode
from ragtrial.report.live_summary import LiveSummary, read_live_summary
from ragtrial.suite.rolling import Rolling
from unit import live_logs
from unit.db.live_samples import DAY, START


def snapshot(url: str, live_id: int) -> LiveSummary:
    """Rolled up, analysed, stored and read again."""
    with Rolling(url, clock=lambda: START + 4 * DAY) as rolling:
        done = rolling.once()
    assert done.errors == ()
    assert [live.problem for live in done.live] == [None]
    with LiveReader(url) as reader, LiveBoardReader(url) as board:
        found = read_live_summary(reader, board, live_id)
    assert found is not None
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


def keys(signals: tuple[DriftSignal, ...]) -> set[tuple[str, str]]:
    return {(signal.name, signal.arm) for signal in signals}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("split", {(name, arm) for name in ("similarity", "query_length", "in_gold", "abstained") for arm in ("baseline", "custom")}),
        (
            "shadow",
            {
                *((name, arm) for name in ("similarity", "abstained") for arm in ("baseline", "custom")),
                *((name, "baseline") for name in ("query_length", "in_gold")),
            },
        ),
        ("interleaved", {(name, "interleaved") for name in ("similarity", "query_length", "in_gold", "abstained")}),
    ],
)
def test_a_snapshot_has_the_drift_of_each_signal_and_arm(url: str, mode: Mode, expected: set[tuple[str, str]]) -> None:
    found = snapshot(url, live_logs.fill(url, live_logs.experiment(mode), n_units=120))
    assert keys(found.drift) == expected
    trials = sum(usage.n_trials for usage in found.usage)
    assert {(signal.n_sampled, signal.n_trials) for signal in found.drift} == {(trials, trials)}
    assert {signal.name for signal in found.drift if signal.judged} == {"in_gold", "abstained"}


def test_what_this_log_does_not_tell_has_a_reason_and_no_number(url: str) -> None:
    found = snapshot(url, live_logs.fill(url, live_logs.experiment(), n_units=120))
    of = {signal.name: signal for signal in found.drift if signal.arm == "custom"}
    assert of["similarity"].reason == "no trial found a passage"  # its rankings are empty
    assert of["query_length"].judged == ()  # everyone asks the same
    reasons = {window.reason for window in of["query_length"].windows}
    assert "the values do not vary, so there is no standard deviation to measure a difference in" in reasons


def test_an_experiment_without_trials_has_no_drift(url: str) -> None:
    live_id = live_logs.registered(url, live_logs.experiment())
    with Rolling(url, clock=lambda: START + DAY) as rolling:
        assert rolling.once().errors == ()
    with LiveReader(url) as reader, LiveBoardReader(url) as board:
        found = read_live_summary(reader, board, live_id)
    assert found is None or found.drift == ()


def test_the_last_window_is_judged_when_it_is_over_though_nothing_more_arrives(url: str) -> None:
    live_id = live_logs.fill(url, live_logs.experiment(), n_units=120)
    with LiveReader(url) as reader:
        last = reader.times(live_id).last
    assert last is not None
    now = last + 1
    with Rolling(url, clock=lambda: now) as rolling, LiveBoardReader(url) as board:
        assert [live.snapshot for live in rolling.once().live] == ["made"]
        stored = board.snapshot(live_id)
        assert stored is not None
        assert stored.due_at is not None
        assert stored.due_at > now
        now = stored.due_at - 1
        assert [live.snapshot for live in rolling.once().live] == ["current"]
        now = stored.due_at
        assert [live.snapshot for live in rolling.once().live] == ["made"]
        again = board.snapshot(live_id)
        assert again is not None
        assert again.due_at is None
        assert [live.snapshot for live in rolling.once().live] == ["current"]
