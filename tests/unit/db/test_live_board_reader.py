"""What the dashboard reads of live experiments is what a plain loop over the log finds, and is found by index."""

import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager

import numpy as np
import pytest
from sqlalchemy import event, insert

from ragtrial.db.board_models import LiveComparisonRow, LivePreferenceRow
from ragtrial.db.engine import open_engine
from ragtrial.db.live_board_reader import LiveBoardReader, LiveBucket, TrialRow, TrialView
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import Assignment, LiveMetrics
from ragtrial.domain.live_trial import LiveTrial, Vote
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Score
from unit.db import live_samples
from unit.db.live_samples import START, answered, failed, live_trial, signal, taking, vote

VIEWS: tuple[TrialView, ...] = ("latest", "thumbs down", "failures", "abstained", "not scored", "commented")
ARMS = ("baseline", "custom")


def write(
    url: str, experiment: Experiment, trials: Iterable[LiveTrial], votes: Iterable[Vote] = (), scores: Iterable[tuple[str, Score]] = ()
) -> int:
    with LiveRecorder(url, experiment, clock=live_samples.Clock(), max_pending=20_000) as recorder:
        done = [recorder.log(trial) for trial in trials]
        done += [recorder.vote(one) for one in votes]
        done += [recorder.score(trial_id, [score]) for trial_id, score in scores]
        wait(done, 60)
        assert [future.exception() for future in done if future.exception()] == []
        return recorder.live_id


def a_day(chance: random.Random, n: int = 500) -> list[LiveTrial]:
    """Trials of a day, hardly in the order in which they are logged; a tenth failed, a tenth abstained, some are of testers."""
    trials = []
    for number in range(n):
        unit, arm = chance.randrange(40), chance.choice(ARMS)
        kind = chance.random()
        made = failed(arm) if kind < 0.1 else answered(arm, text="" if kind < 0.2 else "an answer")
        at = START + 86_400 * (number + chance.uniform(-3, 3)) / n
        reason = "override" if chance.random() < 0.1 else "split"
        assignment = Assignment(unit=None, arm=arm, reason=reason, bucket=1, propensity=0.5, version=1)
        trials.append(live_trial(f"t{number}", f"u{unit}", made=made, at=at, assignment=assignment, waited_ms=chance.uniform(5, 90)))
    return trials


def some_votes(chance: random.Random, trials: list[LiveTrial]) -> list[Vote]:
    votes = []
    for number in range(len(trials) // 2):
        target = chance.choice(trials)
        source = "p1" if target.trial.ranking is not None and chance.random() < 0.3 else None
        comment = f"comment {number}" if chance.random() < 0.3 else ""
        at = target.at + (86_400 * 8 if chance.random() < 0.1 else 5)
        thumb = chance.choice(["up", "down", "withdrawn"])
        votes.append(vote(target.trial_id, f"v{number}", thumb, source=source, at=at, comment=comment))
    return votes


def pages(board: LiveBoardReader, live_id: int, view: TrialView, *, limit: int) -> list[TrialRow]:
    rows: list[TrialRow] = []
    before = None
    while True:
        page = board.trials(live_id, view=view, limit=limit, before=before)
        assert len(page.rows) <= limit
        rows += page.rows
        if page.next is None:
            return rows
        assert page.rows[-1].number == page.next
        before = page.next


@pytest.mark.parametrize("rolled_up", ["never", "halfway", "to the end"])
def test_pages_hold_every_trial_of_a_view_once_however_far_the_roll_up_is(url: str, rolled_up: str) -> None:
    chance, experiment = random.Random(7), live_samples.experiment()
    trials = a_day(chance, 240)
    half = len(trials) // 2
    votes = some_votes(chance, trials)
    unscored = [t.trial_id for t in trials if t.trial.failure is None and chance.random() < 0.2]
    scores = [(trial_id, Score(metric="nDCG@10", unscored="no gold query", scorer="r/1")) for trial_id in unscored]
    scores += [(t.trial_id, Score(metric="nDCG@10", value=0.5, scorer="r/1")) for t in trials if t.trial_id not in unscored]
    live_id = write(url, experiment, trials[:half])
    if rolled_up == "halfway":
        with RollUp(url) as rolling:
            rolling.roll(live_id)
    write(url, experiment, trials[half:], votes, scores)
    if rolled_up == "to the end":
        with RollUp(url) as rolling:
            rolling.roll(live_id)
    in_time = {t.trial_id: t.at for t in trials}
    kept = [v for v in votes if v.at - in_time[v.trial_id] <= 7 * 86_400]
    thumbs = {v.trial_id: v.thumb for v in kept if v.passage_id is None}
    last: dict[tuple[str, str | None], str] = {}
    for v in votes:
        last.pop((v.trial_id, v.passage_id), None)
        last[v.trial_id, v.passage_id] = v.comment
    comments = {trial_id: comment for (trial_id, _), comment in last.items() if comment}
    expected = {
        "latest": set(in_time),
        "thumbs down": {trial_id for trial_id, thumb in thumbs.items() if thumb == "down"},
        "failures": {t.trial_id for t in trials if t.trial.failure is not None},
        "abstained": {t.trial_id for t in trials if t.trial.answer is not None and t.trial.answer.finish_reason == "abstained"},
        "not scored": set(unscored),
        "commented": set(comments),
    }
    by_id = {t.trial_id: t for t in trials}
    with LiveBoardReader(url) as board:
        for view in VIEWS:
            rows = pages(board, live_id, view, limit=19)
            assert sorted(row.trial_id for row in rows) == sorted(expected[view])
            order = [(row.at, row.number) if view in ("failures", "abstained") else (row.number,) for row in rows]
            assert order == sorted(order, reverse=True)
            for row in rows:
                trial = by_id[row.trial_id]
                assert row.failure == (None if trial.trial.failure is None else "search: StoreError")
                assert (row.arm, row.reason, row.served, row.waited_ms) == (trial.trial.arm, trial.assignment.reason, True, trial.waited_ms)
                assert row.thumb == thumbs.get(row.trial_id)
                assert row.comment == comments.get(row.trial_id, "")
                assert row.unscored == ((("nDCG@10", "no gold query"),) if row.trial_id in unscored else ())
                assert row.query_text == "What opens the gate?"
            total = board.trials(live_id, view=view).total
            if view in ("not scored", "commented") or rolled_up == "never":
                assert total is None
            elif rolled_up == "to the end":
                assert total == len(expected[view])


def test_a_comment_that_its_author_took_back_is_shown_no_more(url: str) -> None:
    trials = [
        live_trial(name, "ann", made=answered("baseline", text="an answer")) for name in ("withdrawn", "cleared", "replaced", "other")
    ]
    votes = [vote(trial.trial_id, f"first {trial.trial_id}", "down", comment="he is an idiot") for trial in trials]
    votes += [
        vote("withdrawn", "v1", "withdrawn"),
        vote("cleared", "v2", "down"),
        vote("replaced", "v3", "down", comment="not helpful"),
        vote("other", "v4", "withdrawn", source="p1"),
    ]
    live_id = write(url, live_samples.experiment(), trials, votes, [])
    with LiveBoardReader(url) as board:
        shown = {row.trial_id: row.comment for row in board.trials(live_id, view="commented").rows}
        assert shown == {"replaced": "not helpful", "other": "he is an idiot"}
        assert {row.trial_id: row.comment for row in board.trials(live_id).rows} == {"withdrawn": "", "cleared": "", **shown}


def test_a_page_begins_behind_a_trial_that_was_erased_meanwhile(url: str) -> None:
    made = [live_trial(f"t{n}", f"u{n}", made=failed("baseline"), at=START + 60 * n) for n in range(10)]
    live_id = write(url, live_samples.experiment(), made)
    with RollUp(url) as rolling, LiveBoardReader(url) as board:
        rolling.roll(live_id)
        for view in ("latest", "failures"):
            first = board.trials(live_id, view=view, limit=3)
            assert [row.trial_id for row in first.rows] == ["t9", "t8", "t7"]
        with erasing(url) as eraser:
            eraser.forget_unit("u7", actor="test")
        for view in ("latest", "failures"):
            second = board.trials(live_id, view=view, limit=3, before=first.next)
            assert [row.trial_id for row in second.rows] == ["t6", "t5", "t4"]


def test_a_query_that_is_not_kept_has_no_text(url: str) -> None:
    live_id = write(url, live_samples.experiment(), [live_samples.EVERY_KIND[-1]])
    with LiveBoardReader(url) as board:
        (row,) = board.trials(live_id).rows
    assert (row.query_text, row.gold_query_id) == (None, "q2")


@contextmanager
def statements(board: LiveBoardReader) -> Iterator[list[tuple[str, object]]]:
    found: list[tuple[str, object]] = []

    def executed(_connection: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            found.append((statement, parameters))

    event.listen(board._engine, "before_cursor_execute", executed)
    try:
        yield found
    finally:
        event.remove(board._engine, "before_cursor_execute", executed)


@pytest.mark.parametrize("view", VIEWS)
def test_no_page_of_trials_scans_the_trials_or_their_scores(sqlite_url: str, view: TrialView) -> None:
    chance = random.Random(9)
    trials = a_day(chance, 300)
    live_id = write(sqlite_url, live_samples.experiment(), trials, some_votes(chance, trials))
    with RollUp(sqlite_url) as rolling:
        rolling.roll(live_id)
    with LiveBoardReader(sqlite_url) as board:
        with statements(board) as found:
            page = board.trials(live_id, view=view, limit=10)
            board.trials(live_id, view=view, limit=10, before=page.next)
        plans = [
            (statement, step)
            for statement, parameters in found
            for *_, step in board._engine.connect().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert plans
    assert not [plan for plan in plans if "SCAN live_trials" in plan[1] or "SCAN live_scores" in plan[1]]
    assert not [plan for plan in plans if "live_trials" in plan[0] and "SCAN trial" in plan[1]]


def keys(buckets: Iterable[LiveBucket]) -> list[tuple[float, str, str, int, float]]:
    """In their order; the last digits of a sum depend on the order in which a database sums."""
    return [(b.start, b.arm, b.reason, b.trials, round(b.waited_ms, 6)) for b in buckets]


@pytest.mark.parametrize("width", [300, 3600, 86_400])
def test_buckets_of_any_width_are_the_same_trials(url: str, width: int) -> None:
    trials = a_day(random.Random(3))
    live_id = write(url, live_samples.experiment(), trials)
    begin, end = START + 7_000, START + 50_000
    with RollUp(url) as rolling, LiveBoardReader(url) as board:
        rolling.roll(live_id)
        everything = board.buckets(live_id, width_s=width)
        some = board.buckets(live_id, width_s=width, begin=begin, end=end)
    expected = Counter((t.at // width * width, t.trial.arm, t.assignment.reason) for t in trials)
    assert {(b.start, b.arm, b.reason): b.trials for b in everything} == expected
    assert [b.start for b in everything] == sorted(b.start for b in everything)
    assert keys(some) == keys(b for b in everything if b.start + width > begin and b.start < end)
    waited = sum(t.waited_ms for t in trials if t.trial.failure is None)
    assert sum(b.waited_ms for b in everything) == pytest.approx(waited)
    assert sum(b.completion_tokens for b in everything) == 7 * sum(b.counted_tokens for b in everything)


def test_a_width_that_is_no_multiple_is_refused(url: str) -> None:
    live_id = write(url, live_samples.experiment(), [])
    with LiveBoardReader(url) as board:
        for width in (0, -300, 100, 450):
            with pytest.raises(ValueError, match="multiple of 300"):
                board.buckets(live_id, width_s=width)


def test_what_was_never_rolled_up_is_nothing_and_no_error(url: str) -> None:
    live_id = write(url, live_samples.experiment(), [])
    with LiveBoardReader(url) as board:
        for which in (live_id, 77):
            assert board.snapshot(which) is None
            assert board.rolled_up_at(which) is None
            assert board.buckets(which) == ()
            assert board.preferences(which) == ()
            assert board.stage_times(which, mode="split") == {}
            assert board.trials(which).rows == ()
        assert board.snapshots_made() == {}


def compare(url: str, live_id: int, shown: list[tuple[str, str, str | None, str, list[str]]]) -> None:
    """Comparisons: id, left arm, unit, caller, and the choices in their order."""
    with LiveReader(url) as reader:
        numbers = {arm: reader.trial(f"{arm}-answer") for arm in ARMS}
    assert all(numbers.values())
    engine = open_engine(url)
    with engine.begin() as connection:
        by_arm = dict(connection.exec_driver_sql("SELECT arm, id FROM live_trials").fetchall())
        for name, left, unit, caller, choices in shown:
            right = next(arm for arm in ARMS if arm != left)
            row = {"comparison_id": name, "live_id": live_id, "left_trial": by_arm[left], "right_trial": by_arm[right], "left_arm": left}
            connection.execute(insert(LiveComparisonRow), {**row, "unit": unit, "caller": caller, "idempotency_key": None, "at": START})
            for place, choice in enumerate(choices):
                said = {"comparison_id": name, "key": f"k{place}", "choice": choice, "comment": "", "at": START}
                connection.execute(insert(LivePreferenceRow), said)
    engine.dispose()


def test_the_last_choice_on_each_comparison_counts_and_left_and_right_are_turned_into_arms(url: str) -> None:
    live_id = write(url, live_samples.experiment(), [live_trial(f"{arm}-answer", arm=arm, made=answered(arm)) for arm in ARMS])
    compare(
        url,
        live_id,
        [
            ("c1", "baseline", "ann", "page", ["left"]),
            ("c2", "custom", "ann", "page", ["right", "left"]),
            ("c3", "custom", "bob", "page", ["left", "withdrawn", "left"]),
            ("c4", "baseline", None, "page", ["right"]),
            ("c5", "baseline", None, "app", ["right"]),
            ("c6", "baseline", "bob", "page", ["both"]),
            ("c7", "custom", "bob", "page", ["left", "withdrawn"]),
            ("c8", "custom", "cid", "page", []),
            ("c9", "custom", "cid", "page", ["neither"]),
        ],
    )
    with LiveBoardReader(url) as board:
        found = {(c.choice, c.arm): c.comparisons for c in board.preferences(live_id)}
        people = board.preferred_by_person(live_id, arms=ARMS)
        assert [c.choice for c in board.preferences(live_id)] == ["preferred", "preferred", "both", "neither", "withdrawn", "open"]
    assert found == {
        ("preferred", "baseline"): 1,
        ("preferred", "custom"): 4,
        ("both", None): 1,
        ("neither", None): 1,
        ("withdrawn", None): 1,
        ("open", None): 1,
    }
    assert sorted(map(tuple, people.tolist())) == [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 1.0)]


@pytest.mark.parametrize("two_armed", [False, True])
def test_stages_are_timed_over_the_trials_that_count(url: str, two_armed: bool) -> None:
    chance = random.Random(4)
    trials = []
    for number in range(200):
        unit = chance.randrange(20)
        arm = ARMS[unit % 2] if unit != 3 or not two_armed else chance.choice(ARMS)
        made = failed(arm) if chance.random() < 0.1 else taking(arm, chance.uniform(5, 50))
        if chance.random() < 0.1 and made.failure is None:
            made = dataclasses.replace(made, timings=None)
        assignment = None if chance.random() < 0.9 else Assignment(unit=None, arm=arm, reason="override", bucket=1, version=1)
        trials.append(live_trial(f"t{number}", f"u{unit}", arm, made=made, assignment=assignment, waited_ms=chance.uniform(50, 90)))
    live_id = write(url, live_samples.experiment(), trials)
    seen = defaultdict(set)
    for t in trials:
        if t.assignment.reason == "split":
            seen[t.unit].add(t.trial.arm)
    expected: dict[str, list[tuple[float, ...]]] = {arm: [] for arm in ARMS}
    for t in trials:
        if t.assignment.reason == "split" and len(seen[t.unit]) == 1 and t.trial.failure is None and t.trial.timings is not None:
            timings = t.trial.timings
            reranked = timings.rerank_ms or 0.0
            parts = (timings.embed_ms, timings.search_ms - reranked, reranked, timings.generate_ms, t.waited_ms)
            expected[t.trial.arm].append(parts)
    with LiveBoardReader(url) as board:
        found = board.stage_times(live_id, mode="split")
    assert {arm: sorted(map(tuple, rows.tolist())) for arm, rows in found.items()} == {arm: sorted(rows) for arm, rows in expected.items()}


def test_in_mode_shadow_the_whole_is_what_an_answer_took_to_make(url: str) -> None:
    trials = [live_trial("a", "ann", made=taking("baseline", 10), waited_ms=500)]
    trials.append(live_trial("a2", "ann", "custom", request_id="a", made=taking("custom", 14), waited_ms=900))
    live_id = write(url, live_samples.experiment("shadow"), trials)
    with LiveBoardReader(url) as board:
        found = board.stage_times(live_id, mode="shadow")
    assert {arm: rows[:, -1].tolist() for arm, rows in found.items()} == {"baseline": [10.0], "custom": [14.0]}


def test_both_arms_sums_over_silent_pairs_grow_to_what_the_reader_finds_at_once(url: str) -> None:
    chance, experiment = random.Random(6), live_samples.experiment("shadow")
    trials = []
    for number in range(150):
        unit, at = f"u{chance.randrange(30)}", START + chance.random() * 86_400
        made = failed("baseline") if chance.random() < 0.1 else taking("baseline", chance.uniform(5, 50))
        trials.append(live_trial(f"t{number}", unit, made=made, at=at))
        if chance.random() < 0.8:
            trials.append(
                live_trial(f"s{number}", unit, "custom", request_id=f"t{number}", made=taking("custom", chance.uniform(5, 50)), at=at)
            )
    live_id = write(url, experiment, trials)
    with LiveReader(url) as reader, LiveBoardReader(url) as board:
        timed = reader.timed(live_id, "latency_ms", experiment=experiment)
        whole = reader.within_scores(live_id, "latency_ms", experiment=experiment)
        first = reader.times(live_id).first
        assert timed is not None
        assert first is not None
        found = board.twin_sums(live_id, "latency_ms", arms=ARMS, begin=first, ends=timed.ends)
    assert found.shape == (timed.ends.size, 3)
    assert (np.diff(found, axis=0) >= 0).all()
    assert found[-1, 2] == whole.differences.counts.sum()
    assert (found[-1, :2] / found[-1, 2]).tolist() == pytest.approx([whole.control_mean, whole.treatment_mean])
    for step in (0, 10, 30):
        assert found[step, 2] == timed.count[timed.step <= step].sum()
        assert found[step, 1] - found[step, 0] == pytest.approx(timed.total[timed.step <= step].sum())


def test_what_an_analysis_depends_on_beside_trials_and_votes_is_seen(url: str) -> None:
    metrics = LiveMetrics(primary=PrimaryMetric(name="nDCG@10"))
    experiment = live_samples.experiment()
    assert experiment.live is not None
    experiment = dataclasses.replace(experiment, live=dataclasses.replace(experiment.live, metrics=metrics))
    live_id = write(url, experiment, [live_trial(f"{arm}-answer", arm=arm, made=answered(arm)) for arm in ARMS])
    other = live_samples.experiment(name="other")
    with LiveBoardReader(url) as board, LiveRecorder(url, experiment) as recorder, LiveRecorder(url, other) as elsewhere:

        def score() -> None:
            recorder.score("custom-answer", [Score(metric="nDCG@10", value=0.5, scorer="r/1")]).result(10)

        def older_score() -> None:
            recorder.score("baseline-answer", [Score(metric="nDCG@10", unscored="no gold query", scorer="r/1")]).result(10)

        def copied() -> None:
            recorder.signal(signal("custom-answer", "s1")).result(10)

        def traffic() -> None:
            recorder.change_traffic(expected_version=1, stopped=True, actor="ann", reason="")

        def shown() -> None:
            compare(url, live_id, [("c1", "custom", "ann", "page", ["left"])])

        seen = board.beside(live_id, metrics=["nDCG@10"])
        for change in (score, older_score, copied, traffic, shown):
            change()
            now = board.beside(live_id, metrics=["nDCG@10"], before=seen)
            assert now.digest != seen.digest, change.__name__
            for before in (None, now):
                assert board.beside(live_id, metrics=["nDCG@10"], before=before).digest == now.digest
            seen = now
        elsewhere.log(live_trial("x", made=answered("baseline"))).result(10)
        elsewhere.signal(signal("x", "s1")).result(10)
        assert board.beside(live_id, metrics=["nDCG@10"], before=seen).digest == seen.digest
