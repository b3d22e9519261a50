"""What drift is told from comes out of both databases as it was logged, and of a long log only as much as is wanted."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import wait

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_drift import drift_sample
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_drift import DriftName, DriftSample, Measured
from ragtrial.domain.live_trial import LiveTrial, StoredQuery
from ragtrial.domain.trial import Failure, Ranking, Trial
from unit.db import live_samples
from unit.db.live_samples import START, answered, failed, live_trial, query

ARMS = ("baseline", "custom")


def write(url: str, trials: Sequence[LiveTrial], *, name: str = "handbook") -> int:
    with LiveRecorder(url, live_samples.experiment(name=name), clock=live_samples.Clock(), max_pending=20_000) as recorder:
        done = [recorder.log(dataclasses.replace(trial, experiment=name)) for trial in trials]
        wait(done, 60)
        assert [future.exception() for future in done if future.exception()] == []
        return recorder.live_id


def asking(trial: LiveTrial, asked: StoredQuery) -> LiveTrial:
    """The same trial of another query."""
    return dataclasses.replace(trial, query=asked, trial=dataclasses.replace(trial.trial, query_id=asked.digest))


def values_in(sample: DriftSample, name: DriftName) -> list[float | None]:
    """The signal of each trial, None where it has none."""
    found = dict(zip(sample.signals[name].trial.tolist(), sample.signals[name].value.tolist(), strict=True))
    return [found.get(place) for place in range(sample.n_sampled)]


def read(url: str, live_id: int, *, n_trials: int = 0, arms: tuple[str, ...] = ARMS) -> DriftSample:
    with LiveBoardReader(url) as reader:
        return reader.drift_sample(live_id, arms=arms, n_trials=n_trials)


def drawn(url: str, live_id: int, *, n_trials: int, most: int) -> DriftSample:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return drift_sample(connection, live_id, arms=ARMS, n_trials=n_trials, most=most)
    finally:
        engine.dispose()


def test_each_signal_is_as_it_was_logged_and_what_is_not_known_has_no_value(url: str) -> None:
    empty = Trial(arm="baseline", query_id=query().digest, ranking=Ranking(query_id=query().digest, hits=()))
    no_answer = dataclasses.replace(
        answered("custom"), answer=None, failure=Failure(stage="generate", kind="TimeoutError", message="no answer")
    )
    hashed = StoredQuery(text=None, digest="0" * 32, stored="hash", gold_query_id="q2")
    trials = [
        asking(live_trial("t0", "ann", at=START + 5), query("Wie öffnet sich das Tor? 🚪", gold="q1")),
        live_trial("t1", "bob", "custom", made=answered("custom", text=""), at=START + 10),
        live_trial("t2", "ann", made=empty, at=START + 15),
        live_trial("t3", "bob", "custom", made=failed("custom"), at=START + 20),
        live_trial("t4", "cid", "custom", made=no_answer, at=START + 25),
        asking(live_trial("t5", "cid", "custom", at=START + 30), dataclasses.replace(query("a [name] b"), stored="redacted")),
        asking(live_trial("t6", "dot", at=START + 35), hashed),
    ]
    found = read(url, write(url, trials))
    assert found.at.tolist() == [START + 5 * n for n in range(1, 8)]
    assert found.arm.tolist() == [0, 1, 0, 1, 1, 1, 0]
    assert found.unit.tolist() == [0, 1, 0, 1, 2, 2, 3]
    asked = len("What opens the gate?")
    assert values_in(found, "similarity") == [0.9, 0.9, None, None, 0.9, 0.9, 0.9]
    assert values_in(found, "query_length") == [len("Wie öffnet sich das Tor? 🚪"), *[asked] * 4, None, None]
    assert values_in(found, "in_gold") == [1, 0, 0, 0, 0, 0, 1]
    assert values_in(found, "abstained") == [0, 1, None, None, None, 0, 0]


def test_only_what_was_split_and_only_this_experiment_is_looked_at(url: str) -> None:
    others = [
        live_trial(f"o{n}", f"u{n}", assignment=Assignment(unit=None, arm="baseline", reason=reason, bucket=1, version=1))
        for n, reason in enumerate(("override", "outside", "holdout", "stopped"))
    ]
    mine = write(url, [live_trial("mine", "ann", at=START + 1), *others, live_trial("nobody", None)])
    write(url, [live_trial("theirs", "ann", at=START + 2)], name="another")
    assert read(url, mine).at.tolist() == [START + 1]


def test_an_experiment_without_trials_has_an_empty_sample(url: str) -> None:
    found = read(url, write(url, []))
    assert found.n_sampled == 0
    assert all(signal.value.size == 0 for signal in found.signals.values())


def test_of_an_arm_that_is_not_asked_for_there_is_nothing(url: str) -> None:
    live_id = write(url, [live_trial("a", "ann"), live_trial("b", "bob", "custom")])
    assert read(url, live_id, arms=("custom",)).arm.tolist() == [0]


@pytest.fixture
def long_log(url: str) -> tuple[str, int]:
    """4,000 trials, the arms taking turns: as with silent twins, every second id is of one arm."""
    trials = [live_trial(f"t{n}", f"u{n}", ARMS[n % 2], at=START + n) for n in range(4_000)]
    return url, write(url, trials)


def test_of_a_long_log_as_much_is_read_as_is_wanted_evenly_from_both_arms_and_all_times(long_log: tuple[str, int]) -> None:
    url, live_id = long_log
    found = drawn(url, live_id, n_trials=4_000, most=400)
    assert found.n_sampled == pytest.approx(250, abs=4), "a sixteenth: the share is halved until it is no more than is wanted"
    assert abs(int(found.arm.sum()) - found.n_sampled // 2) <= 4
    tenths = np.bincount(((found.at - START) // 400).astype(int), minlength=10)
    assert tenths.min() >= 23
    assert tenths.max() <= 27


def test_the_sample_of_a_shorter_log_holds_that_of_a_longer_one(long_log: tuple[str, int]) -> None:
    url, live_id = long_log
    longer, shorter = (set(drawn(url, live_id, n_trials=n, most=400).at.tolist()) for n in (4_000, 1_000))
    assert longer < shorter


def test_trials_are_looked_up_by_number_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = write(url, [live_trial(f"t{n}", f"u{n}", ARMS[n % 2], at=START + n) for n in range(25)])
    everything = read(url, live_id).at.tolist()
    monkeypatch.setattr("ragtrial.db.live_drift._AT_ONCE", 10)
    assert read(url, live_id).at.tolist() == everything == [START + n for n in range(25)]


def test_a_sample_that_does_not_fit_together_is_refused() -> None:
    nothing: dict[DriftName, Measured] = {}
    with pytest.raises(ValueError, match="each trial needs a moment"):
        DriftSample(arms=ARMS, at=np.zeros(2), unit=np.zeros(3, int), arm=np.zeros(2, int), signals=nothing)
    with pytest.raises(ValueError, match="each value needs its trial"):
        Measured(trial=np.zeros(2, int), value=np.zeros(1))
    beyond: dict[DriftName, Measured] = {"in_gold": Measured(trial=np.array([2]), value=np.zeros(1))}
    with pytest.raises(ValueError, match="'in_gold' is of the trials 2 to 2, and there are 2"):
        DriftSample(arms=ARMS, at=np.zeros(2), unit=np.zeros(2, int), arm=np.zeros(2, int), signals=beyond)


def test_a_sample_is_drawn_from_numbers_beyond_32_bits(postgres_url: str) -> None:
    write(postgres_url, [live_trial("t0", "ann")])
    engine = create_engine(postgres_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT setval('live_trials_id_seq', 10030000000)"))
    finally:
        engine.dispose()
    live_id = write(postgres_url, [live_trial(f"t{n}", "ann", at=START + n) for n in range(1, 200)])
    assert 10 < drawn(postgres_url, live_id, n_trials=200, most=50).n_sampled < 100
