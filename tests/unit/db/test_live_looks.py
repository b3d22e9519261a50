"""Sums by unit and time that the database makes are those that a plain loop over the same trials makes."""

import random
from collections import defaultdict
from concurrent.futures import wait

import numpy as np
import pytest

from ragtrial.db.live_looks import MOST_STEPS
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_trial import LiveTrial
from unit.db import live_samples
from unit.db.live_samples import DAY, START, answered, failed, live_trial, taking


def write(url: str, experiment: Experiment, trials: list[LiveTrial]) -> int:
    with LiveRecorder(url, experiment, clock=live_samples.Clock(), max_pending=20_000) as recorder:
        done = [recorder.log(trial) for trial in trials]
        wait(done, 60)
        assert [future.exception() for future in done if future.exception()] == []
        return recorder.live_id


def week(n: int = 400) -> list[LiveTrial]:
    """A week of 60 units in the order of time; some fail, one unit saw both arms, and one query has no unit."""
    chance = random.Random(4)
    moments = sorted(START + chance.random() * 7 * DAY for _ in range(n))
    trials = []
    for number, at in enumerate(moments):
        unit = chance.randrange(60)
        arm = ("baseline", "custom")[unit % 2] if unit != 7 else chance.choice(("baseline", "custom"))
        made = failed(arm) if chance.random() < 0.1 else answered(arm)
        trials.append(live_trial(f"t{number}", f"u{unit}", arm, made=made, at=at, waited_ms=chance.random() * 100))
    return [*trials, live_trial("nobody", None, at=START + 8 * DAY)]


def test_every_step_holds_what_came_in_it(url: str) -> None:
    experiment, trials = live_samples.experiment(), week()
    live_id = write(url, experiment, trials)
    with LiveReader(url) as reader:
        found = reader.timed(live_id, "latency_ms", experiment=experiment)
    assert found is not None
    kept = [t for t in trials if t.unit is not None and t.unit != live_trial("x", "u7").unit]
    ends = found.ends
    assert ends.size == MOST_STEPS
    assert ends[-1] == max(t.at for t in trials if t.assignment.counted)
    sums: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for trial in kept:
        if trial.trial.failure is None:
            sums[str(trial.unit), int(np.searchsorted(ends[:-1], trial.at, side="right"))].append(trial.waited_ms)
    expected = sorted((step, round(sum(values), 6), float(len(values))) for (_, step), values in sums.items())
    assert sorted(zip(found.step.tolist(), found.total.round(6).tolist(), found.count.tolist(), strict=True)) == expected
    assert np.unique(found.unit).size == len({unit for unit, _ in sums})
    units_of_treatment = {str(t.unit) for t in kept if t.trial.arm == "custom" and t.trial.failure is None}
    assert np.unique(found.unit[found.arm == 1]).size == len(units_of_treatment)


def test_units_stand_at_the_time_of_their_first_query(url: str) -> None:
    experiment, trials = live_samples.experiment(), week()
    live_id = write(url, experiment, trials)
    with LiveReader(url) as reader:
        every = reader.timed(live_id, "failed", experiment=experiment)
        first = reader.timed(live_id, "failed", experiment=experiment, first=True)
    assert every is not None
    assert first is not None
    came = {int(unit): int(every.step[every.unit == unit].min()) for unit in np.unique(every.unit)}
    assert sorted(first.step.tolist()) == sorted(came.values())
    assert np.unique(first.unit).size == first.unit.size == len(came)
    assert first.total.sum() == every.total.sum()


def test_sums_until_a_moment_leave_later_trials_out(url: str) -> None:
    experiment, trials = live_samples.experiment(), week()
    live_id, until = write(url, experiment, trials), START + 3 * DAY
    with LiveReader(url) as reader:
        found = reader.split_scores(live_id, "failed", experiment=experiment, until=until)
        everything = reader.split_scores(live_id, "failed", experiment=experiment)
    early = [t for t in trials if t.at <= until and t.unit is not None and t.unit != live_trial("x", "u7").unit]
    assert found.control.n_trials + found.treatment.n_trials == len(early)
    assert found.control.n_trials < everything.control.n_trials


def test_the_planned_moment_is_that_of_the_units_first_trial(url: str) -> None:
    experiment, trials = live_samples.experiment(), week()
    live_id = write(url, experiment, trials)
    first: dict[str, float] = {}
    for trial in trials:
        if trial.unit is not None and trial.unit != live_trial("x", "u7").unit:
            first.setdefault(trial.unit, trial.at)
    with LiveReader(url) as reader:
        assert reader.exposed_at(live_id, 20) == sorted(first.values())[19]
        assert reader.exposed_at(live_id, len(first)) == max(first.values())
        assert reader.exposed_at(live_id, len(first) + 1) is None


def test_a_clock_that_was_set_back_is_seen(url: str) -> None:
    experiment = live_samples.experiment()
    moments = [0, 10, 20, -3600, -3590, 30, 25]
    live_id = write(url, experiment, [live_trial(f"t{n}", f"u{n}", at=START + 4000 + at) for n, at in enumerate(moments)])
    with LiveReader(url) as reader:
        found = reader.times(live_id)
    assert found.backwards == 2
    assert (found.first, found.last) == (START + 400, START + 4030)


def test_a_log_without_trials_has_no_times(url: str) -> None:
    experiment = live_samples.experiment()
    live_id = write(url, experiment, [])
    with LiveReader(url) as reader:
        assert reader.timed(live_id, "failed", experiment=experiment) is None
        assert reader.times(live_id).first is None
        assert reader.exposed_at(live_id, 1) is None


@pytest.mark.parametrize("shed", [False, True])
def test_silent_answers_make_differences_by_query(url: str, shed: bool) -> None:
    experiment = live_samples.experiment("shadow")
    trials = [
        live_trial("a", "ann", at=START, made=taking("baseline", 10)),
        live_trial("b", "ann", at=START + 90, made=taking("baseline", 30)),
    ]
    trials.append(live_trial("a2", "ann", "custom", request_id="a", at=START, made=taking("custom", 14)))
    if not shed:
        trials.append(live_trial("b2", "ann", "custom", request_id="b", at=START + 90, made=taking("custom", 29)))
    live_id = write(url, experiment, trials)
    with LiveReader(url) as reader:
        found = reader.timed(live_id, "latency_ms", experiment=experiment)
    assert found is not None
    assert found.total[np.argsort(found.step)].tolist() == ([4.0] if shed else [4.0, -1.0])  # rows come in no order
    assert set(found.arm.tolist()) == {0}
