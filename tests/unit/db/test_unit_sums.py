"""What is kept by unit is what the log says, whatever was written to it, changed or erased, and when."""

import dataclasses
import json
import random
from concurrent.futures import wait

import numpy as np
import pytest
from sqlalchemy import func, literal_column, select

from ragtrial.db.engine import open_engine, transaction
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.unit_models import LiveUnitRow, LiveUnitScoreRow, UnitChangeRow
from ragtrial.db.unit_reading import streamed
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import LiveMetrics
from ragtrial.domain.live_scores import SplitScores, UnitSums
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import Guardrail, PrimaryMetric
from ragtrial.domain.score import Score
from ragtrial.errors import StoreError
from ragtrial.splitting import pseudonym
from unit.db import live_samples
from unit.db.live_samples import DAY, START, signal, vote

EVERY_METRIC = (
    *("nDCG@10", "R@5", "failed", "latency_ms", "abstained", "rated", "thumbs_up", "thumbs_down", "up_share"),
    *("copied", "rephrased", "citation_clicked", "embed_ms", "search_ms", "generate_ms", "cost_usd", "prompt_tokens", "completion_tokens"),
)


def _experiment() -> Experiment:
    metrics = LiveMetrics(
        primary=PrimaryMetric(name="nDCG@10"),
        secondary=("citation_clicked",),
        guardrails=(Guardrail(name="failed", max_increase=0.02),),
        exploratory=("R@5",),
    )
    return live_samples.dataclasses.replace(
        live_samples.experiment(), live=live_samples.dataclasses.replace(live_samples.experiment().live, metrics=metrics, units_planned=200)
    )


class _Traffic:
    """Users who ask, vote, click and change their minds; two of them see both arms."""

    def __init__(self, recorder: LiveRecorder) -> None:
        self.recorder, self.chance = recorder, random.Random(3)
        self.trials: list[LiveTrial] = []

    def ask(self, n: int, *, version: int = 1) -> None:
        done = []
        for _ in range(n):
            number, chance = len(self.trials), self.chance
            unit = f"u{chance.randrange(300)}"
            arm = "custom" if int(unit[1:]) % 2 else "baseline"
            if int(unit[1:]) % 50 == 3 and chance.random() < 0.5:
                arm = "baseline" if arm == "custom" else "custom"
            kind = chance.random()
            made = live_samples.failed(arm) if kind < 0.1 else live_samples.answered(arm, text="" if kind < 0.3 else "an answer")
            trial = live_samples.live_trial(
                f"t{number}", unit, arm, made=made, waited_ms=chance.uniform(1, 100), solicited=chance.random() < 0.3, version=version,
                at=START + 120 * number - (4000 if kind > 0.95 else 0),
            )  # fmt: skip
            self.trials.append(trial)
            done.append(self.recorder.log(trial))
        self._done(done)

    def react(self, n: int, *, key: str) -> None:
        done = []
        for number in range(n):
            target, chance = self.chance.choice(self.trials), self.chance
            at = target.at + (chance.choice([1, 8]) * DAY if chance.random() < 0.3 else 5)
            thumb = chance.choice(["up", "down", "withdrawn"])
            source = "p1" if chance.random() < 0.2 and target.trial.ranking is not None else None
            done.append(self.recorder.vote(vote(target.trial_id, f"{key}{number}", thumb, source=source, at=at)))
            kind = chance.choice(["copied", "rephrased", "citation_clicked"])
            done.append(self.recorder.signal(signal(target.trial_id, f"{key}s{number}", kind, at=at)))
            value = Score(metric="nDCG@10", value=chance.random(), scorer="s")
            reason = Score(metric="nDCG@10", unscored=chance.choice(["not in the gold set", "no judgment"]), scorer="s")
            judged = Score(metric="R@5", value=chance.random(), scorer="j")
            done.append(self.recorder.score(target.trial_id, [value if chance.random() < 0.6 else reason, judged]))
        self._done(done)

    @staticmethod
    def _done(futures: list) -> None:
        wait(futures, 60)
        assert [future.exception() for future in futures if future.exception()] == []


def _pairs(sums: UnitSums) -> tuple[list[tuple[float, float]], dict[str, int], int]:
    rows = sorted(zip(sums.totals.round(9).tolist(), sums.counts.tolist(), strict=True))
    return rows, {reason: n for reason, n in sums.unscored.items() if n}, sums.n_trials


def _same(found: SplitScores, expected: SplitScores) -> None:
    assert found.metric == expected.metric
    for arm in ("control", "treatment"):
        assert _pairs(getattr(found, arm)) == _pairs(getattr(expected, arm)), (found.metric.name, arm)


def _compare(url: str, live_id: int, experiment: Experiment) -> int:
    """The sums by unit against sums of the log; returns how many units were summed on the way."""
    with LiveReader(url) as reader:
        units = reader.unit_tables(live_id, EVERY_METRIC, experiment=experiment)
        assert units is not None
        json.dumps([dataclasses.asdict(votes) for votes in units.votes])  # numbers of a kind that reports can write
        for name in EVERY_METRIC:
            for sums in (units.tables[name].control, units.tables[name].treatment):
                assert type(sums.n_trials) is int
            _same(units.tables[name], reader.split_scores(live_id, name, experiment=experiment))
        reached = reader.exposed_at(live_id, 200)
        assert units.planned_at == reached
        assert set(units.frozen) == (set() if reached is None else {"nDCG@10", "citation_clicked"})
        for name, table in units.frozen.items():
            _same(table, reader.split_scores(live_id, name, experiment=experiment, until=reached))
        exposure = reader.exposure(live_id, experiment=experiment)
        for field in ("units", "trials", "expected", "new_units"):
            assert np.array_equal(getattr(units.exposure, field), getattr(exposure, field)), field
        for field in ("state_versions", "in_both", "excluded", "failed", "erased"):
            assert getattr(units.exposure, field) == getattr(exposure, field), field
        assert units.votes == reader.votes(live_id)
        for arm, by_unit in reader.votes_by_unit(live_id).items() if units.votes_by_unit else ():
            names = ("asked", "up", "down", "asked_solicited", "up_solicited", "down_solicited")
            of = [
                sorted(zip(*(getattr(each, name).tolist() for name in names), strict=True)) for each in (units.votes_by_unit[arm], by_unit)
            ]
            assert of[0] == of[1]
        assert units.times == reader.times(live_id)
        for arm, (_units, waited) in reader.latencies(live_id).items():
            assert sorted(units.latencies[arm][1]) == sorted(waited)
        return units.summed


def _roll(url: str, live_id: int) -> None:
    with RollUp(url) as roll_up:
        found = roll_up.roll_units(live_id)
    assert found is not None
    assert found.left == 0


def test_sums_by_unit_are_those_of_the_log_whatever_happens_and_when(url: str) -> None:
    experiment = _experiment()
    with LiveRecorder(url, experiment, clock=live_samples.Clock(), max_pending=20_000) as recorder:
        live_id, traffic = recorder.live_id, _Traffic(recorder)
        traffic.ask(8)
        with LiveReader(url) as reader:
            assert reader.unit_tables(live_id, EVERY_METRIC, experiment=experiment) is None  # nobody keeps them
        _roll(url, live_id)
        assert _compare(url, live_id, experiment) == 0
        traffic.ask(500)
        traffic.react(150, key="a")
        assert _compare(url, live_id, experiment) > 20  # summed on the way
        _roll(url, live_id)
        assert _compare(url, live_id, experiment) == 0
        recorder.change_traffic(expected_version=1, actor="a", reason="r", share=0.5)
        traffic.ask(250, version=2)
        traffic.react(150, key="b")  # votes that overrule, scores that come late, late votes
        assert _compare(url, live_id, experiment) > 0
        _roll(url, live_id)
        assert _compare(url, live_id, experiment) == 0
        recorder.forget_unit("u1")
        recorder.forget_unit("u3")
        assert _compare(url, live_id, experiment) == 0  # at once: nobody has to sum anything for it
        _roll(url, live_id)
        assert _compare(url, live_id, experiment) == 0


def test_nothing_of_an_erased_unit_stays_beside_the_log(url: str) -> None:
    experiment = _experiment()
    with LiveRecorder(url, experiment, clock=live_samples.Clock(), max_pending=20_000) as recorder:
        traffic = _Traffic(recorder)
        traffic.ask(60)
        _roll(url, recorder.live_id)
        traffic.ask(60)
        unit = next(f"u{n}" for n in range(300) if pseudonym(f"u{n}") == traffic.trials[-1].unit)
        recorder.forget_unit(unit)
        engine = open_engine(url, read_only=True)
        with engine.connect() as connection:
            for table in (LiveUnitRow, LiveUnitScoreRow, UnitChangeRow):
                mine = select(func.count()).select_from(table).where(table.unit == pseudonym(unit))
                assert connection.execute(mine).scalar_one() == 0, table.__tablename__
        engine.dispose()


def test_a_log_that_nobody_sums_up_pays_nothing(url: str) -> None:
    with LiveRecorder(url, _experiment(), clock=live_samples.Clock()) as recorder:
        _Traffic(recorder).ask(5)
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(UnitChangeRow)).scalar_one() == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("pg_sleep(10)", "refused: canceling statement due to statement timeout"),
        ("pg_terminate_backend(pg_backend_pid())", "is out of reach: "),
    ],
)
def test_what_fails_while_columns_are_sent_is_said_as_everywhere(postgres_url: str, wanted: str, said: str) -> None:
    engine = open_engine(f"{postgres_url}&statement_timeout=1", read_only=True)
    with pytest.raises(StoreError, match=f"database 'the log' {said}"), transaction(engine, "the log") as connection:
        list(streamed(connection, select(literal_column(wanted))))
    with transaction(engine, "the log") as connection:  # what is broken is in no pool
        assert list(streamed(connection, select(literal_column("1")))) == [(1,)]
    engine.dispose()


@pytest.mark.parametrize("mode", ["shadow", "interleaved"])
def test_only_split_experiments_are_summed_by_unit(sqlite_url: str, mode: str) -> None:
    experiment = live_samples.experiment(mode)  # type: ignore[arg-type]  # one of the modes
    with LiveRecorder(sqlite_url, experiment, clock=live_samples.Clock()) as recorder, RollUp(sqlite_url) as roll_up:
        assert roll_up.roll_units(recorder.live_id) is None
        metric = "preference" if mode == "interleaved" else "nDCG@10"
        with LiveReader(sqlite_url) as reader:
            assert reader.unit_tables(recorder.live_id, [metric_named(metric).name], experiment=experiment) is None
