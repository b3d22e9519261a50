"""Sums by unit that the database makes are those that a plain loop over the same trials makes."""

import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import wait

import numpy as np
import pytest

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_scores import UnitSums, VoteCounts
from ragtrial.domain.live_trial import LiveTrial, SignalEvent, Vote
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Ranking, Trial
from ragtrial.errors import InputError
from unit.db import live_samples
from unit.db.live_samples import DAY, START, answered, live_trial, signal, taking, vote

COUNTED = ("trials", "up", "down")
Measure = Callable[[LiveTrial], float | str]


def _write(
    url: str,
    experiment: Experiment,
    trials: Iterable[LiveTrial],
    *,
    votes: Iterable[Vote] = (),
    signals: Iterable[SignalEvent] = (),
    scores: Iterable[tuple[str, Score]] = (),
    start: float = START,
) -> int:
    with LiveRecorder(url, experiment, clock=live_samples.Clock(start), max_pending=20_000) as recorder:
        done = [recorder.log(trial) for trial in trials]
        done += [recorder.vote(one) for one in votes]
        done += [recorder.signal(one) for one in signals]
        done += [recorder.score(trial_id, [score]) for trial_id, score in scores]
        wait(done, 60)
        assert [future.exception() for future in done if future.exception()] == []
        return recorder.live_id


def _sums(found: UnitSums) -> list[tuple[float, float]]:
    return sorted(zip(found.totals.round(9).tolist(), found.counts.tolist(), strict=True))


def _by_unit(trials: Iterable[LiveTrial], measure: Measure) -> tuple[list[tuple[float, float]], dict[str, int]]:
    """The oracle: sums and counts of values by unit, and the reasons why there are none."""
    sums: defaultdict[str, list[float]] = defaultdict(list)
    reasons: Counter[str] = Counter()
    for trial in trials:
        found = measure(trial)
        if isinstance(found, str):
            reasons[found] += 1
        else:
            sums[str(trial.unit)].append(found)
    return sorted((round(sum(values), 9), float(len(values))) for values in sums.values()), dict(reasons)


def _random_trials(chance: random.Random, n: int) -> list[LiveTrial]:
    """Of 40 units, sticky but for two; a tenth fails, some abstain, some generate nothing, some are not timed."""
    trials = []
    for number in range(n):
        unit = f"u{chance.randrange(40)}"
        arm = "custom" if int(unit[1:]) % 2 else "baseline"
        if unit in ("u3", "u8") and chance.random() < 0.5:
            arm = "baseline" if arm == "custom" else "custom"
        kind = chance.random()
        made = answered(arm, text="" if kind < 0.2 else "an answer")
        if kind > 0.9:
            made = live_samples.failed(arm)
        elif kind > 0.8:
            made = Trial(arm=arm, query_id=made.query_id, ranking=Ranking(query_id=made.query_id, hits=()))
        trials.append(live_trial(f"t{number}", unit, arm, made=made, waited_ms=chance.uniform(1, 100), solicited=chance.random() < 0.3))
    return trials


def _thumbs(chance: random.Random, trials: list[LiveTrial]) -> list[Vote]:
    votes = []
    for number in range(len(trials)):
        target = chance.choice(trials)
        at = target.at + (chance.choice([1, 8]) * DAY if chance.random() < 0.3 else 5)
        thumb = chance.choice(["up", "down", "withdrawn"])
        source = chance.choice([None, None, "p1"])
        if target.trial.ranking is not None and not target.trial.ranking.hits:
            source = None  # there is nothing to vote on
        votes.append(vote(target.trial_id, f"v{number}", thumb, source=source, at=at))
    return votes


def _last(votes: list[Vote], trials: list[LiveTrial]) -> dict[str, str]:
    """The thumb on each answer that counts."""
    arrived = {trial.trial_id: trial.at for trial in trials}
    return {v.trial_id: v.thumb for v in votes if v.passage_id is None and v.at - arrived[v.trial_id] <= 7 * DAY}


def _measures(last: dict[str, str], scored: dict[str, Score], clicked: set[str]) -> dict[str, Measure]:
    def unless_failed(value: Callable[[LiveTrial], float | None], reason: str) -> Measure:
        def measure(trial: LiveTrial) -> float | str:
            found = None if trial.trial.failure else value(trial)
            return "the trial failed" if trial.trial.failure else reason if found is None else float(found)

        return measure

    def score(trial: LiveTrial) -> float | str:
        if trial.trial.failure:
            return "the trial failed"
        found = scored.get(trial.trial_id)
        return "not scored yet" if found is None else str(found.unscored) if found.value is None else found.value

    def thumb(trial: LiveTrial) -> str | None:
        return last.get(trial.trial_id)

    return {
        "latency_ms": unless_failed(lambda t: t.waited_ms, ""),
        "search_ms": unless_failed(lambda t: t.trial.timings and t.trial.timings.search_ms, "not timed"),
        "cost_usd": unless_failed(lambda t: t.trial.answer and t.trial.answer.usage.cost_usd, "not reported by the generator"),
        "prompt_tokens": unless_failed(lambda t: t.trial.answer and t.trial.answer.usage.prompt_tokens, "not reported by the generator"),
        "abstained": unless_failed(lambda t: t.trial.answer and t.trial.answer.finish_reason == "abstained", "no answer was asked for"),
        "failed": lambda t: float(t.trial.failure is not None),
        "rated": lambda t: float(thumb(t) in ("up", "down")),
        "thumbs_up": lambda t: float(thumb(t) == "up"),
        "thumbs_down": lambda t: float(thumb(t) == "down"),
        "up_share": lambda t: float(thumb(t) == "up") if thumb(t) in ("up", "down") else "not rated",
        "citation_clicked": lambda t: float(t.trial_id in clicked),
        "nDCG@10": score,
    }


def test_every_metric_is_summed_as_a_loop_over_the_trials_would(url: str) -> None:
    chance = random.Random(3)
    trials = _random_trials(chance, 400)
    votes = _thumbs(chance, trials)
    scored = {
        t.trial_id: Score(metric="nDCG@10", value=chance.random(), scorer="r/1")
        if chance.random() < 0.5
        else Score(metric="nDCG@10", unscored="not in the gold set", scorer="r/1")
        for t in trials[:300]
    }
    signals = [signal(chance.choice(trials).trial_id, f"s{n}", chance.choice(["copied", "citation_clicked"])) for n in range(100)]
    outside = [live_trial("no", None), live_trial("o", "u1", assignment=Assignment(unit=None, arm="baseline", reason="holdout", version=1))]
    experiment = live_samples.experiment()
    live_id = _write(url, experiment, [*trials, *outside], votes=votes, signals=signals, scores=scored.items())
    both = {unit for unit in {t.unit for t in trials} if len({t.trial.arm for t in trials if t.unit == unit}) == 2}
    assert len(both) == 2
    measures = _measures(_last(votes, trials), scored, {s.trial_id for s in signals if s.signal == "citation_clicked"})
    with LiveReader(url) as reader:
        for metric, measure in measures.items():
            found = reader.split_scores(live_id, metric, experiment=experiment)
            for arm, sums in (("baseline", found.control), ("custom", found.treatment)):
                mine = [t for t in trials if t.trial.arm == arm and t.unit not in both]
                expected, reasons = _by_unit(mine, measure)
                assert _sums(sums) == expected, (metric, arm)
                assert dict(sums.unscored) == reasons, (metric, arm)
                assert sums.n_trials == len(mine)
                assert sums.pre_counts is None


def test_votes_are_counted_by_arm_and_solicitation_with_late_ones_apart(url: str) -> None:
    chance = random.Random(5)
    trials = _random_trials(chance, 300)
    votes = _thumbs(chance, trials)
    live_id = _write(url, live_samples.experiment(), trials, votes=votes)
    last, arrived = _last(votes, trials), {t.trial_id: t.at for t in trials}
    both = {unit for unit in {t.unit for t in trials} if len({t.trial.arm for t in trials if t.unit == unit}) == 2}
    expected = []
    for arm in ("baseline", "custom"):
        for solicited in (False, True):
            mine = {t.trial_id for t in trials if t.trial.arm == arm and t.solicited == solicited and t.unit not in both}
            thumbs = Counter(last.get(trial_id) for trial_id in mine)
            late = sum(v.trial_id in mine and v.passage_id is None and v.at - arrived[v.trial_id] > 7 * DAY for v in votes)
            counts = {"up": thumbs["up"], "down": thumbs["down"], "withdrawn": thumbs["withdrawn"]}
            expected.append(VoteCounts(arm=arm, solicited=solicited, trials=len(mine), late=late, **counts))
    with LiveReader(url) as reader:
        assert reader.votes(live_id) == tuple(expected)
        by_unit = reader.votes_by_unit(live_id)
    for arm, found in by_unit.items():
        mine = [each for each in expected if each.arm == arm]
        assert found.asked.size == len({t.unit for t in trials if t.trial.arm == arm and t.unit not in both})
        assert (found.asked.sum(), found.up.sum(), found.down.sum()) == tuple(sum(getattr(each, name) for each in mine) for name in COUNTED)
        asked = (found.asked_solicited.sum(), found.up_solicited.sum(), found.down_solicited.sum())
        assert asked == tuple(getattr(mine[1], name) for name in COUNTED)
        assert (found.up + found.down <= found.asked).all()
    assert set(by_unit) == {"baseline", "custom"}


def test_the_last_vote_that_is_not_late_counts_and_a_withdrawn_one_is_none(url: str) -> None:
    experiment = live_samples.experiment()
    trials = [live_trial(f"t{n}", f"u{n}") for n in range(4)]
    late = START + 60 + 8 * DAY
    votes = [
        vote("t0", "1", "up"),
        vote("t0", "2", "down"),
        vote("t1", "1", "up"),
        vote("t1", "2", "withdrawn"),
        vote("t2", "1", "up"),
        vote("t2", "2", "down", at=late),
        vote("t3", "1", "down", source="p1"),
        vote("t3", "2", "up", at=START),  # the clock was set back: it came last all the same
    ]
    live_id = _write(url, experiment, trials, votes=votes)
    with LiveReader(url) as reader:
        found = reader.split_scores(live_id, "up_share", experiment=experiment).control
        assert (_sums(found), found.unscored) == ([(0.0, 1.0), (1.0, 1.0), (1.0, 1.0)], {"not rated": 1})
        assert reader.votes(live_id) == (VoteCounts(arm="baseline", solicited=False, trials=4, up=2, down=1, withdrawn=1, late=1),)


def test_units_that_were_there_before_bring_their_earlier_sums(url: str) -> None:
    def log(name: str, start: float, salt: str, prefix: str) -> int:
        old = live_samples.experiment(name=name, salt=salt)
        trials = [live_trial(f"{prefix}{n}", unit, waited_ms=10.0 + n, at=start + n) for n, unit in enumerate(("ann", "ann", "bob", "zoe"))]
        return _write(url, old, trials, start=start)

    log("earlier", START - 10 * DAY, "a", "a")
    log("same-salt", START - 5 * DAY, "mine", "b")
    log("later", START + 5 * DAY, "c", "c")
    experiment = live_samples.experiment(salt="mine")
    mine = [live_trial("t1", "ann"), live_trial("t2", "cid"), live_trial("t3", "bob", "custom"), live_trial("t4", "dot", "custom")]
    live_id = _write(url, experiment, mine)
    with LiveReader(url) as reader:
        found = reader.split_scores(live_id, "latency_ms", experiment=experiment)
        none = reader.split_scores(live_id, "nDCG@10", experiment=experiment)
    for sums, expected in ((found.control, {(21.0, 2.0), (0.0, 0.0)}), (found.treatment, {(12.0, 1.0), (0.0, 0.0)})):
        assert sums.pre_totals is not None
        assert sums.pre_counts is not None
        assert set(zip(sums.pre_totals.tolist(), sums.pre_counts.tolist(), strict=True)) == expected
        assert sums.pre_totals.shape == sums.totals.shape
    assert none.control.pre_counts is None


def test_in_mode_shadow_a_difference_is_the_silent_answer_minus_the_served_one(url: str) -> None:
    experiment = live_samples.experiment("shadow")
    trials = []
    for n, (unit, control, treatment) in enumerate((("ann", 10.0, 15.0), ("ann", 20.0, 18.0), ("bob", 30.0, None), ("bob", 5.0, 6.0))):
        # what users waited is another thing: nobody waits for a silent answer
        trials.append(live_trial(f"t{n}", unit, waited_ms=control + 500, made=taking("baseline", control)))
        if treatment is not None:
            trials.append(live_trial(f"s{n}", unit, "custom", request_id=f"t{n}", made=taking("custom", treatment)))
    trials += [live_trial("t9", "cid"), live_trial("s9", "cid", "custom", request_id="t9", made=live_samples.failed("custom"))]
    live_id = _write(url, experiment, trials)
    with LiveReader(url) as reader:
        found = reader.within_scores(live_id, "latency_ms", experiment=experiment)
        assert _sums(found.differences) == [(1.0, 1.0), (3.0, 2.0)]
        assert found.differences.n_trials == 5
        assert found.differences.unscored == {"the silent answer was shed": 1, "the trial failed": 1}
        assert (found.control_mean, found.treatment_mean) == (pytest.approx(35 / 3), pytest.approx(39 / 3))
        for metric in ("rated", "preference"):
            with pytest.raises(InputError, match="no difference within a query"):
                reader.within_scores(live_id, metric, experiment=experiment)
        with pytest.raises(InputError, match="has the mode 'shadow'"):
            reader.split_scores(live_id, "failed", experiment=experiment)
        empty = reader.within_scores(live_id, "R@5", experiment=experiment)
        assert (empty.control_mean, empty.differences.totals.shape, empty.differences.n_trials) == (None, (0,), 5)


def test_in_mode_interleaved_the_preference_is_the_sign_of_the_credits(url: str) -> None:
    experiment = live_samples.experiment("interleaved")
    teams = {"p3": "control", "p1": "treatment", "p2": "both"}

    def interleaved(trial_id: str, unit: str, *cited: str) -> LiveTrial:
        made = answered("interleaved", passages=("p3", "p1", "p2"), cited=cited)
        return live_trial(trial_id, unit, "interleaved", made=made, teams=teams)

    trials = [
        interleaved("t0", "ann", "p1", "p2"),  # +1
        interleaved("t1", "ann", "p3"),  # -1, and +2 by votes: +1
        interleaved("t2", "bob", "p1", "p3"),  # 0
        interleaved("t3", "bob", "p1"),  # 1 - 1 (down on the treatment's source) - 1 (up on the control's): -1
        interleaved("t4", "cid"),  # 0
        dataclasses.replace(interleaved("t5", "cid"), trial=live_samples.failed("interleaved")),
    ]
    votes = [
        vote("t1", "a", "down", source="p3"),
        vote("t1", "b", "down", source="p1"),
        vote("t1", "c", "up", source="p1"),
        vote("t3", "a", "down", source="p1"),
        vote("t3", "b", "up", source="p3"),
        vote("t4", "a", "up", source="p2"),
        vote("t4", "b", "up"),
        vote("t4", "c", "up", source="p1", at=START + 60 + 8 * DAY),
    ]
    live_id = _write(url, experiment, trials, votes=votes)
    with LiveReader(url) as reader:
        found = reader.within_scores(live_id, "preference", experiment=experiment)
        assert _sums(found.differences) == [(-1.0, 2.0), (0.0, 1.0), (2.0, 2.0)]
        assert (found.differences.n_trials, found.differences.unscored) == (6, {"the trial failed": 1})
        assert (found.control_mean, found.treatment_mean) == (None, None)
        with pytest.raises(InputError, match="no difference within a query"):
            reader.within_scores(live_id, "latency_ms", experiment=experiment)
        exposure = reader.exposure(live_id, experiment=experiment)
        assert (exposure.units.tolist(), exposure.expected.tolist()) == ([[3, 0]], [[1.0, 0.0]])


def test_exposure_counts_units_by_the_version_that_they_were_first_seen_under(url: str) -> None:
    experiment = live_samples.experiment()
    trials = [
        live_trial("t0", "ann", at=START + 1),
        live_trial("t1", "bob", "custom", made=live_samples.failed("custom"), at=START + 2),
        live_trial("t2", "ann", version=2, at=START + DAY),
        live_trial("t3", "cid", "custom", version=2, at=START + DAY),
        live_trial("t4", "both", at=START + 3),
        live_trial("t5", "both", "custom", version=2, at=START + DAY),
        live_trial("t6", "dot", version=3, at=START + 3 * DAY),
        live_trial("t7", "early", at=START - 2 * DAY),  # the clock was set back
        live_trial("t8", None),
        live_trial("t9", "eve", assignment=Assignment(unit=None, arm="custom", reason="override", bucket=1, version=1)),
    ]
    with LiveRecorder(url, experiment, clock=live_samples.Clock()) as recorder:
        recorder.change_traffic(expected_version=1, share=0.101, treatment=0.15, actor="ann", reason="")
        recorder.change_traffic(expected_version=2, stopped=True, actor="ann", reason="")
    live_id = _write(url, experiment, trials)
    with LiveReader(url) as reader:
        found = reader.exposure(live_id, experiment=experiment)
    assert found.state_versions == (1, 2, 3)
    assert found.units.tolist() == [[2, 1], [0, 1], [1, 0]]
    assert found.trials.tolist() == [[2, 1], [1, 1], [1, 0]]
    # 0.101 of 10,000 buckets are 1,010, 0.15 of them 151.5, which is 152 to the nearest, halves up
    assert found.expected.tolist() == [[0.5, 0.5], [858 / 1010, 152 / 1010], [0.0, 0.0]]
    assert found.in_both == 1
    assert found.excluded == {"no unit": 1, "override": 1, "in both arms": 2}
    assert found.failed == {"baseline": 0, "custom": 1}
    assert found.erased == {}
    assert found.new_units.tolist() == [3, 1, 0, 1]


def test_in_mode_shadow_exposure_has_the_silent_answers_in_the_second_column(url: str) -> None:
    experiment = live_samples.experiment("shadow")
    trials = [live_trial("t0", "ann"), live_trial("s0", "ann", "custom", request_id="t0"), live_trial("t1", "bob")]
    live_id = _write(url, experiment, trials)
    with LiveReader(url) as reader:
        found = reader.exposure(live_id, experiment=experiment)
    assert (found.units.tolist(), found.trials.tolist()) == ([[2, 1]], [[2, 1]])
    assert (found.expected.tolist(), found.in_both, found.excluded) == ([[0.5, 0.5]], 0, {})


def test_an_experiment_that_nobody_used_yet_has_empty_sums(url: str) -> None:
    experiment = live_samples.experiment()
    live_id = _write(url, experiment, [])
    with LiveReader(url) as reader:
        found = reader.split_scores(live_id, "latency_ms", experiment=experiment)
        assert (found.control.totals.shape, found.treatment.counts.shape, found.control.n_trials) == ((0,), (0,), 0)
        assert reader.exposure(live_id, experiment=experiment).new_units.tolist() == [0]
        assert (reader.votes(live_id), reader.latencies(live_id), reader.timeline(live_id)) == ((), {}, ())
        with pytest.raises(InputError, match="unknown metric 'latency'"):
            reader.split_scores(live_id, "latency", experiment=experiment)


def test_latencies_come_with_their_units_and_without_failures(url: str) -> None:
    trials = _random_trials(random.Random(9), 200)
    live_id = _write(url, live_samples.experiment(), trials)
    both = {unit for unit in {t.unit for t in trials} if len({t.trial.arm for t in trials if t.unit == unit}) == 2}
    with LiveReader(url) as reader:
        found = reader.latencies(live_id)
    assert set(found) == {"baseline", "custom"}
    for arm, (units, waited) in found.items():
        mine = [t for t in trials if t.trial.arm == arm and t.unit not in both and not t.trial.failure]
        assert sorted(waited.tolist()) == sorted(t.waited_ms for t in mine)
        assert set(units.tolist()) == set(range(len({t.unit for t in mine})))
        sums = np.bincount(units, weights=waited)
        expected = Counter({str(unit): 0.0 for unit in {t.unit for t in mine}})
        for t in mine:
            expected[str(t.unit)] += t.waited_ms
        assert sorted(sums.round(6)) == sorted(round(value, 6) for value in expected.values())


def test_unscored_trials_come_oldest_first_until_each_metric_has_a_value_or_a_reason(url: str) -> None:
    experiment = live_samples.experiment()
    trials = [live_trial(f"t{n}", f"u{n}") for n in range(5)]
    with LiveRecorder(url, experiment) as recorder, LiveReader(url) as reader:
        live_id = recorder.live_id
        assert reader.unscored(live_id, ["R@5"], limit=10) == ()
        recorder.log(*trials).result(10)
        both = ["R@5", "answer_f1"]
        assert [t.trial_id for t in reader.unscored(live_id, both, limit=3)] == ["t0", "t1", "t2"]
        recorder.score("t0", [Score(metric="R@5", value=1.0, scorer="r/1")]).result(10)
        recorder.score("t1", [Score(metric=m, unscored="not sampled", scorer="r/1") for m in both]).result(10)
        assert [t.trial_id for t in reader.unscored(live_id, both, limit=9)] == ["t0", "t2", "t3", "t4"]
        assert [t.trial_id for t in reader.unscored(live_id, ["R@5"], limit=9)] == ["t2", "t3", "t4"]
        assert reader.unscored(live_id, [], limit=9) == ()


def test_the_timeline_counts_trials_by_time_and_arm(url: str) -> None:
    trials = [
        live_trial("t0", "ann", at=START + 10, waited_ms=10),
        live_trial("t1", None, at=START + 3599, waited_ms=20),
        live_trial("t2", "bob", "custom", at=START + 3600, made=live_samples.failed("custom")),
    ]
    live_id = _write(url, live_samples.experiment(), trials)
    with LiveReader(url) as reader:
        found = [(b.start - START, b.arm, b.trials, b.counted, b.failed, b.mean_waited_ms) for b in reader.timeline(live_id)]
    assert found == [(0.0, "baseline", 2, 1, 0, 15.0), (3600.0, "custom", 1, 1, 1, None)]
