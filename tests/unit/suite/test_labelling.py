"""The labelling queue: who is asked what, what is recorded, and what it is worth."""

import csv
import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest

from judged_log import ARMS, EVALUATION, GROUNDED, METRIC, RATIONALE, SCORER, answer_of, experiment, truth, write
from ragtrial.analysis import label_rounds
from ragtrial.analysis.calibrating import Beside
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.access import Role
from ragtrial.domain.calibration import Calibration
from ragtrial.domain.label import Label
from ragtrial.domain.score import LoggedOpinion
from ragtrial.errors import InputError
from ragtrial.formats.experiment import ExperimentFile
from ragtrial.formats.labels import Item, write_items
from ragtrial.report.summary import CONCLUSION_FORM
from ragtrial.stats.labelling import realised_chances
from ragtrial.suite import labelling
from ragtrial.suite.calibrating import import_labels, open_judged
from ragtrial.suite.concluding import conclude_into
from ragtrial.suite.labelling import Queue, Said

PER_ROUND = 10


@pytest.fixture
def log(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'log.db'}"
    write(found)
    return found


@pytest.fixture
def reader(log: str) -> Iterator[Reader]:
    with Reader(log) as opened:
        yield opened


def say(at: str, queue: Queue, item_id: str, word: str, *, labeller: str = "ann", role: Role = "tester", note: str = "") -> bool:
    return labelling.record(at, queue, item_id, word, labeller=labeller, role=role, note=note)


def say_true(at: str, queue: Queue, n: int, labeller: str = "ann") -> None:
    for item in queue.items[:n]:
        say(at, queue, item.item_id, truth(item.answer), labeller=labeller)


def calibration(at: str, folder: Path, metric: str = METRIC) -> Calibration:
    with Reader(at) as opened:
        judged = open_judged(opened, ExperimentFile(path=folder / "e.yaml", experiment=experiment()), EVALUATION)
        (found,) = judged.calibrations(metric)
    return found


def queries_of(queue: Queue, items: slice) -> list[str]:
    return list(dict.fromkeys(queue.trials[item.item_id][0][1] for item in queue.items[items]))


def test_a_label_is_in_sql_when_it_is_said_to_be_and_the_last_one_counts(url: str) -> None:
    write(url, n_queries=20)
    with Reader(url) as opened:
        queue = labelling.open_queue(opened, EVALUATION, METRIC)
        first, second = queue.items[:2]
        assert say(url, queue, first.item_id, "wrong")
        assert say(url, queue, second.item_id, "partly", note=" only the hour ")
        assert say(url, queue, first.item_id, "correct")
        at = labelling.standing(queue, opened, "ann")
        assert at.said == {second.item_id: Said(word="partly", note="only the hour"), first.item_id: Said(word="correct", note="")}
        assert list(at.said)[-1] == first.item_id, "what was said last stands last"
        words = [label.word for label in opened.labels("handbook", history=True) if label.trial == queue.trials[first.item_id][0]]
        assert words == ["wrong", "correct"], "what was said before is kept"


def test_saying_the_same_again_adds_no_row(log: str, reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    item = queue.items[0].item_id
    assert say(log, queue, item, "wrong")
    assert not say(log, queue, item, "wrong")
    assert say(log, queue, item, "wrong", note="another note")
    assert len(reader.labels("handbook", history=True)) == 2 * len(queue.trials[item])


def test_a_key_that_comes_in_on_many_threads_at_once_is_one_label(log: str, reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    item = queue.items[0].item_id
    together, added = threading.Barrier(8), []

    def press() -> None:
        together.wait()
        added.append(say(log, queue, item, "partly"))

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [False] * 7 + [True]
    assert len(reader.labels("handbook", history=True)) == len(queue.trials[item])


def test_everybody_gets_the_same_items_in_the_same_order_whenever_they_come(log: str, reader: Reader) -> None:
    before = labelling.open_queue(reader, EVALUATION, METRIC)
    say_true(log, before, 15)
    after = labelling.open_queue(reader, EVALUATION, METRIC)
    assert after.items == before.items
    assert after.chances == before.chances
    ann, bob = (labelling.standing(after, reader, name) for name in ("ann", "bob"))
    assert labelling.next_item(after, ann) == before.items[15]
    assert labelling.next_item(after, bob) == before.items[0]
    assert labelling.next_item(after, bob, [before.items[0].item_id]) == before.items[1]


@pytest.mark.parametrize("metric", [METRIC, GROUNDED])
def test_the_queue_that_is_stored_with_the_conclusion_is_the_one_that_would_be_drawn(
    url: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_rounds, "_MOST_ROUNDS", 2)
    write(url)
    read: list[int] = []
    opinions = Reader.opinions

    def counted(self: Reader, evaluation_id: str, *which: Collection[str] | None) -> tuple[LoggedOpinion, ...]:
        found = opinions(self, evaluation_id, *which)
        read.append(len({each.query_id for each in found}))
        return found

    with Reader(url) as reader, BoardReader(url) as board:
        before = labelling.open_queue(reader, EVALUATION, metric, board)
        conclude_into(url, EVALUATION)
        with monkeypatch.context() as patch:
            patch.delattr(Reader, "scores")
            patch.setattr(Reader, "opinions", counted)
            stored = labelling.open_queue(reader, EVALUATION, metric, board)
        assert read == [2 * PER_ROUND], "of the queries that were drawn and of no other"
        for number, item in enumerate(stored.items[:30]):
            say(url, stored, item.item_id, stored.words[number % 3])
        conclude_into(url, EVALUATION)
        with_labels = labelling.open_queue(reader, EVALUATION, metric, board)
        drawn = labelling.open_queue(reader, EVALUATION, metric)
        for queue in (stored, with_labels, drawn):
            assert_same(queue, before)
            assert labelling.standing(queue, reader, "ann") == labelling.standing(before, reader, "ann")


def assert_same(one: Queue, other: Queue) -> None:
    for name in ("metric", "words", "scorer", "items", "trials", "chances"):
        assert getattr(one, name) == getattr(other, name)
    assert list(one.chances) == list(other.chances)
    assert_same_base(one.base, other.base)


def assert_same_base(one: Beside, other: Beside) -> None:
    assert (one.scores.query_ids, one.scores.n_queries, one.scores.excluded) == (
        other.scores.query_ids,
        other.scores.n_queries,
        other.scores.excluded,
    )
    for mine, theirs in (
        (one.scores.control, other.scores.control),
        (one.scores.treatment, other.scores.treatment),
        (one.scores.clusters, other.scores.clusters),
        (one.clusters, other.clusters),
        (one.uncertainty, other.uncertainty),
    ):
        assert (mine is None) == (theirs is None)
        assert mine is None or theirs is None or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs))


@pytest.mark.parametrize("is_clustered", [True, False])
def test_what_was_drawn_is_the_same_when_it_is_read_again(reader: Reader, is_clustered: bool) -> None:
    base = labelling.open_queue(reader, EVALUATION, METRIC).base
    clusters = np.array([f"source {row // 3}" for row in range(len(base.scores.query_ids))])
    base = dataclasses.replace(
        base,
        scores=dataclasses.replace(base.scores, clusters=clusters),
        clusters=clusters if is_clustered else None,
        uncertainty=None if is_clustered else base.uncertainty,
    )
    drawn = label_rounds.Drawn(scorer=SCORER, both=base, rounds=({"q1": 0.1, "q0": 1 / 3},))
    document = json.loads(json.dumps(label_rounds.as_document(drawn)))
    found = label_rounds.read_drawn(document)
    assert (found.scorer, found.rounds) == (drawn.scorer, drawn.rounds)
    assert_same_base(found.both, base)
    assert (CONCLUSION_FORM, " ".join(document)) == (
        2,
        "scorer query_ids control treatment clusters is_clustered n_queries excluded uncertainty rounds",
    ), "count CONCLUSION_FORM on, and write both here"


def test_a_queue_of_another_form_is_drawn_anew(log: str, reader: Reader) -> None:
    before = labelling.open_queue(reader, EVALUATION, METRIC)
    store_conclusion(log, EVALUATION, form=CONCLUSION_FORM - 1, made_at=1.0, document={}, outcomes=(), queues={METRIC: {"other": 1}})
    with BoardReader(log) as board:
        assert_same(labelling.open_queue(reader, EVALUATION, METRIC, board), before)


def test_where_the_judge_scored_nothing_there_is_no_queue_before_and_after_the_conclusion(url: str) -> None:
    write(url, n_queries=0)  # one query, which fails in the treatment
    with Reader(url) as reader, BoardReader(url) as board:
        for _ in range(2):
            with pytest.raises(InputError, match="the judge scored no query in both arms"):
                labelling.open_queue(reader, EVALUATION, METRIC, board)
            conclude_into(url, EVALUATION)


def test_an_item_tells_neither_the_arm_nor_what_the_judge_said(reader: Reader) -> None:
    for metric in (METRIC, GROUNDED):
        shown = repr(labelling.open_queue(reader, EVALUATION, metric).items)
        assert not [told for told in (*ARMS, RATIONALE, SCORER, EVALUATION) if told in shown]
    order = [answer.startswith("Surely") for item in labelling.open_queue(reader, EVALUATION, METRIC).items for answer in [item.answer]]
    assert 0.2 < np.mean(order[::2]) < 0.8, "a place in the queue does not tell the arm"


def test_passages_are_shown_where_the_question_is_about_them(reader: Reader) -> None:
    by_reference, by_passages = (labelling.open_queue(reader, EVALUATION, metric) for metric in (METRIC, GROUNDED))
    assert by_reference.words == ("correct", "partly", "wrong", "abstained")
    assert by_passages.words == ("grounded", "partly", "ungrounded")
    assert {item.passages for item in by_reference.items} == {()}
    assert all(item.passages and item.passages[0].startswith("Rule") for item in by_passages.items)


def test_an_answer_that_both_arms_gave_is_asked_once_and_counts_for_both(log: str, reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    assert len({item.item_id for item in queue.items}) == len(queue.items)
    shared = next(item for item in queue.items if len(queue.trials[item.item_id]) == 2)
    assert shared.answer in {answer_of(row, ARMS[0]) for row in range(0, 60, 5)}
    say(log, queue, shared.item_id, "correct")
    assert {label.arm for label in reader.labels("handbook")} == set(ARMS)


def test_every_query_is_drawn_once_both_arms_within_one_round(reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    order = [queue.trials[item.item_id][0][1] for item in queue.items]
    assert set(order) == {f"q{row}" for row in range(60)}, "the query that failed in one arm can't be compared"
    first = order[: sum(queue_id in set(queries_of(queue, slice(0, 20))[:PER_ROUND]) for queue_id in order)]
    assert len(set(first)) == PER_ROUND
    assert not set(first) & set(order[len(first) :])


def test_the_chances_are_the_drawn_shares_of_the_strata_after_every_round(reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    place = {query_id: row for row, query_id in enumerate(queue.base.scores.query_ids)}
    drawn = list(dict.fromkeys(queue.trials[item.item_id][0][1] for item in queue.items))
    chance = {queue.trials[item_id][0][1]: value for item_id, value in queue.chances.items()}
    assert queue.base.uncertainty is not None, "the judge wavers here, so that chances are unequal"
    for end in range(PER_ROUND, 61, PER_ROUND):
        rows = [place[query_id] for query_id in drawn[:end]]
        found = realised_chances(queue.base.scores.differences, rows, uncertainty=queue.base.uncertainty)
        assert found[-PER_ROUND:] == pytest.approx([chance[query_id] for query_id in drawn[end - PER_ROUND : end]])
    assert found == pytest.approx(1.0)


def test_within_a_stratum_every_query_is_drawn_as_often_as_its_chance_says(reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    n, counts, chances = 600, Counter[str](), dict[str, float]()
    for seed in range(n):
        setting = dataclasses.replace(queue.setting, plan=dataclasses.replace(queue.setting.plan, seed=seed))
        first, second = label_rounds.rounds_of(setting, queue.base, METRIC)[:2]
        counts.update([*first, *second])
        chances |= second
    assert len(chances) == 60
    for query_id, chance in chances.items():  # of those in the first two rounds; binomial, 4.5 standard deviations
        assert abs(counts[query_id] - n * chance) <= 4.5 * (n * chance * (1 - chance)) ** 0.5


def test_labels_of_the_queue_are_worth_what_labels_from_a_file_are(log: str, reader: Reader, tmp_path: Path) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    say_true(log, queue, 60)
    other = tmp_path / "other"
    other.mkdir()
    filed = f"sqlite:///{other / 'log.db'}"
    write(filed)
    path = other / "labels.csv"
    items = [Item(item_id=i.item_id, question=i.question, references=i.references, passages=(), answer=i.answer) for i in queue.items[:60]]
    write_items(path, items, queue.words)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": truth(row["answer"])} for row in rows)
    plan = experiment()
    kept = ExperimentFile(
        path=other / "e.yaml", experiment=dataclasses.replace(plan, stores=dataclasses.replace(plan.stores, sql="sqlite:///log.db"))
    )
    with Reader(filed) as opened:
        import_labels(open_judged(opened, kept, EVALUATION), kept, path, METRIC, selection=None, labeller="ann")
    mine, theirs = calibration(log, tmp_path), calibration(filed, other)
    assert mine == theirs
    assert mine.corrected.difference is not None


def test_labels_from_a_file_count_in_the_queue(log: str, reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    third = queue.items[2]
    label = Label(
        evaluation_id=EVALUATION, arm=queue.trials[third.item_id][0][0], query_id=queue.trials[third.item_id][0][1], metric=METRIC,
        word="wrong", value=0.0, scorer=SCORER, selection="random", labeller="ann",
    )  # fmt: skip
    with Recorder(log) as recorder:
        recorder.add_labels([label, dataclasses.replace(label, labeller="bob", selection="volunteered")])
    assert list(labelling.standing(queue, reader, "ann").said) == [third.item_id]
    assert labelling.standing(queue, reader, "bob").said == {}, "what somebody volunteered was not drawn"


def test_what_more_labels_bring_is_what_calibrate_says(log: str, reader: Reader, tmp_path: Path) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    none = labelling.standing(queue, reader, "ann")
    assert (none.half_width, none.planned, none.to_halve, none.n_answers) == (None, (), None, 0)
    assert none.why_not is not None
    say_true(log, queue, 50)
    at, known = labelling.standing(queue, reader, "ann"), calibration(log, tmp_path)
    assert known.corrected.difference is not None
    assert at.half_width == pytest.approx(known.corrected.difference.half_width)
    assert at.planned == known.planned
    assert at.planned[-1].more_answers == pytest.approx(2 * (60 - known.n_pairs), abs=2)
    assert [each.half_width for each in at.planned] == sorted((each.half_width for each in at.planned), reverse=True)
    assert at.n_labellers == 1


def test_the_number_that_halves_the_interval_is_the_least_that_does() -> None:
    asked: list[int] = []

    def enough(more: int) -> bool:
        asked.append(more)
        return more >= 37

    assert labelling._first(enough, 1000) == 37
    assert max(asked) <= 64, "far ahead nothing can be planned"
    assert labelling._first(enough, 30) is None
    assert labelling._first(enough, 0) is None


def test_who_may_not_vote_may_not_label(log: str, reader: Reader) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    item = queue.items[0].item_id
    with pytest.raises(InputError, match="'ann' is a viewer and may not label"):
        say(log, queue, item, "wrong", role="viewer")
    with pytest.raises(InputError, match="may not label"):
        labelling.record(log, queue, item, "wrong", labeller="ann", role="operator", scopes={"ask"})
    with pytest.raises(InputError, match="may not label"):
        labelling.record(log, queue, item, "wrong", labeller="ann", role=None)
    assert reader.labels("handbook") == ()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"word": "splendid"}, "'splendid' is none of correct, partly, wrong, abstained"),
        ({"item_id": "answer-0"}, "'answer-0' is no item of this queue"),
        ({"labeller": "  "}, "give a name"),
        ({"labeller": "a" * 201}, "the name has 201 characters"),
        ({"note": "n" * 1001}, "the note has 1,001 characters"),
        ({"note": "a\0b"}, "the note holds a NUL character"),
    ],
)
def test_what_can_not_be_a_label_is_refused_and_nothing_is_recorded(log: str, reader: Reader, change: dict[str, str], found: str) -> None:
    queue = labelling.open_queue(reader, EVALUATION, METRIC)
    said = {"item_id": queue.items[0].item_id, "word": "wrong", "labeller": "ann", "note": "", **change}
    with pytest.raises(InputError, match=found):
        labelling.record(log, queue, said["item_id"], said["word"], labeller=said["labeller"], role="tester", note=said["note"])
    assert reader.labels("handbook") == ()


def test_there_is_no_queue_before_the_evaluation_is_finished_nor_without_a_judge(tmp_path: Path) -> None:
    found = f"sqlite:///{tmp_path / 'log.db'}"
    write(found, n_queries=8, finished=False)
    write(found, n_queries=8, plan=experiment("unjudged", judges=()), evaluation_id="unjudged-1")
    with Reader(found) as opened:
        assert labelling.metrics_to_ask(opened, EVALUATION) == (METRIC, GROUNDED)
        with pytest.raises(InputError, match="is not finished"):
            labelling.open_queue(opened, EVALUATION, METRIC)
        assert labelling.metrics_to_ask(opened, "unjudged-1") == ()
        with pytest.raises(InputError, match="can't be asked about 'nDCG@10'"):
            labelling.open_queue(opened, "unjudged-1", "nDCG@10")


@pytest.mark.parametrize("n", [1, 3, 9, 11])
def test_a_small_evaluation_is_drawn_to_its_end(tmp_path: Path, n: int) -> None:
    found = f"sqlite:///{tmp_path / 'log.db'}"
    write(found, n_queries=n)
    with Reader(found) as opened:
        queue = labelling.open_queue(opened, EVALUATION, METRIC)
    assert {trial[1] for trials in queue.trials.values() for trial in trials} == {f"q{row}" for row in range(n)}
