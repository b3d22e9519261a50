"""Pages of queries come from rows that were made once, filtered and sorted by the database."""

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from ragtrial.db import conclusions
from ragtrial.db import engine as database
from ragtrial.db.board_reader import BoardReader, Made, OutcomePage, OutcomeView, Stored
from ragtrial.db.conclusions import store_conclusion, store_problem
from ragtrial.db.curations import CurationRecorder
from ragtrial.db.engine import open_engine
from ragtrial.db.recorder import Recorder
from ragtrial.domain.curation import Curation
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.outcome import QueryOutcome
from ragtrial.errors import StoreError
from unit.db.samples import EXPERIMENT, evaluation, scores_of, trial

TEXTS = (
    "What opens the gate?",
    "ÜBER den Kai: 100% voll?",
    "who_signs (lane [9])",
    "Where is it? " + "a\\b",
    "ÉTÉ сколько ΣΟΦΟΣ",
    'say "gate" to the \N{GREEK SMALL LETTER ALPHA}',
)
TAGS: tuple[dict[str, str], ...] = (
    {"topic": "gate", "level": "easy"},
    {"topic": "kai"},
    {"topic": "gate", 'od"d key': "it's %"},
    {"level": "gate"},
    {},
    {"topic": "ga"},
)


def gold(texts: tuple[str, ...] = TEXTS, tags: tuple[dict[str, str], ...] = TAGS) -> GoldSet:
    queries = tuple(Query(query_id=f"q{i}", text=text, tags=tag) for i, (text, tag) in enumerate(zip(texts, tags, strict=True)))
    return GoldSet(name="g", queries=queries, judgments=(Judgment(query_id="q0", target_id="p1", grade=1),))


def outcome(position: int, **changes: object) -> QueryOutcome:
    nothing = dict.fromkeys(("baseline", "custom", "gain", "baseline_answer", "custom_answer", "answer_gain", "overlap"))
    counts = dict.fromkeys(("relevant", "baseline_found", "custom_found", "unjudged", "failed"), 0)
    row = {"position": position, "query_id": f"q{position}", "text": "", "words": 3, **nothing, **counts, **changes}
    return QueryOutcome(**row)  # type: ignore[arg-type]  # forwarded by keyword


OUTCOMES = (
    outcome(0, baseline=0.25, custom=0.75, gain=0.5, answer_gain=-0.25, relevant=1, custom_found=1, unjudged=2, overlap=0.5),
    outcome(1, baseline=0.5, custom=0.5, gain=1e-12, answer_gain=-0.5, relevant=2, baseline_found=1, unjudged=7),
    outcome(2, baseline=0.5, custom=0.0, gain=-0.5, answer_gain=1.0, relevant=1, baseline_found=1, failed=1),
    outcome(3, baseline=0.0, custom=0.5, gain=0.5, answer_gain=0.25, relevant=1, unjudged=2),
    outcome(4, unjudged=0, relevant=0),  # nothing relevant: no score, and no failure of either arm
    outcome(5, baseline=0.0, custom=0.75, gain=0.75, answer_gain=None, relevant=3, custom_found=1, failed=2, overlap=0.0),
)


def record(url: str, evaluation_id: str, queries: GoldSet, outcomes: tuple[QueryOutcome, ...] = OUTCOMES) -> None:
    begun = dataclasses.replace(evaluation(evaluation_id), n_queries=len(queries.queries), gold_fingerprint=queries.fingerprint)
    with Recorder(url) as recorder:
        recorder.open_evaluation(begun, experiment=EXPERIMENT, gold=queries, n_trials_planned=4)
    store_conclusion(url, evaluation_id, form=1, made_at=12.5, document={"what": "it was"}, outcomes=outcomes)


@pytest.fixture
def log(url: str) -> str:
    """A database with two evaluations of which the other one's rows must never show."""
    record(url, "e1", gold())
    record(url, "e2", gold(("gate",), ({"topic": "other"},)), (outcome(0, gain=0.9, failed=3, unjudged=9, relevant=1),))
    return url


def ids(page: OutcomePage) -> list[str]:
    return [row.query_id for row in page.rows]


VIEWS: dict[OutcomeView, list[str]] = {
    "largest wins": ["q5", "q0", "q3"],
    "largest losses": ["q2"],
    "baseline failures": ["q5", "q0", "q3"],
    "custom failures": ["q2", "q1", "q3"],
    "disagreements": ["q2", "q0"],
    "unjudged passages": ["q1", "q0", "q3"],
    "failures": ["q5", "q2"],
    "all": ["q0", "q1", "q2", "q3", "q4", "q5"],
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_holds_its_queries_in_its_order(log: str, view: OutcomeView) -> None:
    with BoardReader(log) as board:
        page = board.outcomes("e1", view=view)
    assert ids(page) == VIEWS[view]
    assert page.total == len(VIEWS[view])


def test_a_row_is_what_was_stored_with_text_and_tags_from_the_log(log: str) -> None:
    with BoardReader(log) as board:
        found = board.outcome("e1", "q0")
        assert found == dataclasses.replace(OUTCOMES[0], text=TEXTS[0], tags=TAGS[0])
        assert found == board.outcomes("e1").rows[0]
        assert board.outcome("e1", "q4") == dataclasses.replace(OUTCOMES[4], text=TEXTS[4], tags={})
        assert board.outcome("e1", "q9") is None
        assert board.outcome("e2", "q1") is None


def test_pages_follow_each_other_without_gaps_and_the_total_stays(log: str) -> None:
    with BoardReader(log) as board:
        pages = [board.outcomes("e1", view="largest wins", limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [ids(page) for page in pages] == [["q5", "q0"], ["q3"], []]
    assert [page.total for page in pages] == [3, 3, 3]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("GATE", ["q0", "q5"]),
        ("über DEN", ["q1"]),
        ("Été СКОЛЬКО", ["q4"]),
        ("σοφο", ["q4"]),
        ("%", ["q1"]),
        ("0% v", ["q1"]),
        ("_", ["q2"]),
        ("(lane [9])", ["q2"]),
        (".*", []),
        ("?", ["q0", "q1", "q3"]),
        ("a\\B", ["q3"]),
        ('"gate"', ["q5"]),
        ("it? a", ["q3"]),
        ("'; DROP TABLE query_outcomes; --", []),
        ("\0", []),
        ("", ["q0", "q1", "q2", "q3", "q4", "q5"]),
    ],
)
def test_text_is_found_as_it_is_written_in_whatever_case(log: str, text: str, found: list[str]) -> None:
    with BoardReader(log) as board:
        page = board.outcomes("e1", text=text)
    assert ids(page) == found
    assert page.total == len(found)


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        (("topic", "gate"), ["q0", "q2"]),
        (("level", "gate"), ["q3"]),
        (('od"d key', "it's %"), ["q2"]),
        (("topic", "ga"), ["q5"]),
        (("topic", "g%"), []),
        (("nothing", "gate"), []),
    ],
)
def test_a_tag_is_met_by_key_and_value_exactly(log: str, tag: tuple[str, str], found: list[str]) -> None:
    with BoardReader(log) as board:
        page = board.outcomes("e1", tag=tag)
    assert ids(page) == found
    assert page.total == len(found)


def test_view_tag_and_text_hold_together(log: str) -> None:
    with BoardReader(log) as board:
        assert ids(board.outcomes("e1", view="largest wins", tag=("topic", "gate"), text="opens")) == ["q0"]
        assert ids(board.outcomes("e1", view="largest losses", tag=("topic", "gate"), text="opens")) == []


def test_tags_are_counted_by_value(log: str) -> None:
    with BoardReader(log) as board:
        assert board.tags("e1") == {
            "level": {"easy": 1, "gate": 1},
            'od"d key': {"it's %": 1},
            "topic": {"ga": 1, "gate": 2, "kai": 1},
        }
        assert list(board.tags("e1")) == ["level", 'od"d key', "topic"]


def test_of_an_evaluation_that_is_not_there_there_is_nothing(log: str) -> None:
    with BoardReader(log) as board:
        assert board.conclusion("e9") is None
        assert board.outcomes("e9") == OutcomePage(rows=(), total=0)
        assert board.outcome("e9", "q0") is None
        assert board.tags("e9") == {}
        assert board.n_trials_done("e9") == 0
        assert {name: made.form for name, made in board.made().items()} == {"e1": 1, "e2": 1}


def test_trials_are_counted_as_they_come(url: str) -> None:
    with Recorder(url) as recorder:
        recorder.open_evaluation(
            dataclasses.replace(evaluation(), n_queries=6, gold_fingerprint=gold().fingerprint),
            experiment=EXPERIMENT,
            gold=gold(),
            n_trials_planned=4,
        )
        with BoardReader(url) as board:
            assert board.n_trials_done("e1") == 0
            recorder.append("e1", [(one, scores_of(one)) for one in (trial("baseline", "q0"), trial("custom", "q0"))])
            assert board.n_trials_done("e1") == 2
            assert board.conclusion("e1") is None


# Storing


def test_whoever_concludes_again_replaces_what_was_there(log: str) -> None:
    with BoardReader(log) as board:
        first = board.conclusion("e1")
        assert first is not None
        assert (first.form, first.made_at, first.document) == (1, 12.5, {"what": "it was"})
        store_conclusion(log, "e1", form=2, made_at=13.5, document={"what": "it is"}, outcomes=(outcome(1, gain=0.25),))
        again = board.conclusion("e1")
        assert again is not None
        assert (again.form, again.made_at, again.document) == (2, 13.5, {"what": "it is"})
        assert ids(board.outcomes("e1")) == ["q1"]
        assert board.outcomes("e2").total == 1
        assert {name: made.form for name, made in board.made().items()} == {"e1": 2, "e2": 1}


@pytest.mark.parametrize("broken", [outcome(1, gain=float("inf")), outcome(1, overlap=2.0), outcome(0)])
def test_one_row_that_is_refused_leaves_everything_as_it_was(log: str, broken: QueryOutcome) -> None:
    """An infinite gain, an overlap above 1, and a position that is there twice."""
    with BoardReader(log) as board:
        before = board.conclusion("e1"), board.outcomes("e1")
        with pytest.raises(StoreError, match="refused"):
            store_conclusion(log, "e1", form=2, made_at=99.0, document={}, outcomes=(outcome(0), broken))
        assert (board.conclusion("e1"), board.outcomes("e1")) == before
    assert len(generations(log)) == 1


def test_an_evaluation_that_is_not_there_can_not_be_concluded(log: str) -> None:
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        store_conclusion(log, "e9", form=1, made_at=1.0, document={}, outcomes=())


def test_readers_see_the_old_rows_or_the_new_ones_and_never_some_of_both(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclusions, "ROWS_AT_ONCE", 2)
    many = tuple(outcome(position, gain=0.25, relevant=1) for position in range(6))
    sums: set[float] = set()
    asked: set[tuple[float, int]] = set()
    stop = threading.Event()

    def look() -> None:
        with BoardReader(log) as board:
            while not stop.is_set():
                page = board.outcomes("e1", view="all")
                sums.add(sum(row.gain or 0.0 for row in page.rows))
                queue = board.labelling_queue("e1", "judged")
                asked.add((0.0, 0) if queue is None else (queue.made_at, queue.document["turn"]))

    looking = threading.Thread(target=look)
    looking.start()
    for turn in range(1, 21):
        queues = {"judged": {"turn": turn}}
        store_conclusion(log, "e1", form=1, made_at=float(turn), document={}, outcomes=many if turn % 2 else OUTCOMES, queues=queues)
    stop.set()
    looking.join()
    assert sums <= {sum(row.gain or 0.0 for row in OUTCOMES), 1.5}
    assert all(made_at == turn for made_at, turn in asked)
    assert len(generations(log)) == 1


def generations(url: str, table: str = "query_outcomes") -> set[int]:
    """Of the rows of the first evaluation, those included that nobody sees."""
    engine = open_engine(url, read_only=True)
    with engine.connect() as connection:
        found = set(connection.exec_driver_sql(f"SELECT DISTINCT generation FROM {table} WHERE evaluation_id = 'e1'").scalars())  # noqa: S608  # a constant
    engine.dispose()
    return found


def test_a_labelling_queue_comes_and_goes_with_its_conclusion(log: str) -> None:
    def store(made_at: float, queues: dict[str, dict[str, Any]]) -> None:
        store_conclusion(log, "e1", form=3, made_at=made_at, document={}, outcomes=OUTCOMES, queues=queues)

    first = {"judged": {"chances": [1 / 3]}, "another": {}}
    with BoardReader(log) as board:
        assert board.labelling_queue("e1", "judged") is None
        store(2.0, first)
        kept = generations(log)
        assert board.labelling_queue("e1", "judged") == Stored(form=3, made_at=2.0, document=first["judged"])
        assert board.labelling_queue("e1", "never judged") is None
        assert board.labelling_queue("e2", "judged") is None
        store(3.0, first)
        assert generations(log) == generations(log, "labelling_queues") == kept
        assert board.labelling_queue("e1", "judged") == Stored(form=3, made_at=3.0, document=first["judged"])
        store(4.0, {"judged": {"chances": []}})
        assert board.labelling_queue("e1", "judged") == Stored(form=3, made_at=4.0, document={"chances": []})
        assert board.labelling_queue("e1", "another") is None
        assert len(generations(log, "labelling_queues")) == 1
        store_problem(log, "e1", form=3, made_at=5.0, problem="no plan")
        assert board.labelling_queue("e1", "judged") is None
        assert generations(log, "labelling_queues") == set()


def test_rows_that_are_there_already_are_left_as_they_are(log: str) -> None:
    before = generations(log)
    store_conclusion(log, "e1", form=1, made_at=20.0, document={"what": "labelled"}, outcomes=OUTCOMES)
    assert generations(log) == before
    with BoardReader(log) as board:
        found = board.conclusion("e1")
        assert found is not None
        assert (found.made_at, found.document) == (20.0, {"what": "labelled"})


def test_nobody_else_who_writes_waits_for_more_than_a_portion(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 3_000
    rows = tuple(outcome(i, gain=(i % 7) / 10) for i in range(n))
    record(sqlite_url, "e1", gold(tuple(f"query {i}" for i in range(n)), ({},) * n), rows[:1])
    written: list[int] = []
    real = database.transaction

    @contextmanager
    def counted(engine: Engine, name: str) -> Iterator[Connection]:
        with real(engine, name) as connection:
            before = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
            yield connection
            written.append(connection.exec_driver_sql("SELECT total_changes()").scalar_one() - before)

    monkeypatch.setattr(database, "transaction", counted)
    for outcomes in (rows, rows[:1]):
        store_conclusion(sqlite_url, "e1", form=1, made_at=2.0, document={}, outcomes=outcomes)
    assert sum(written) > 2 * n
    assert max(written) <= conclusions.ROWS_AT_ONCE


def test_a_writer_that_was_overtaken_leaves_what_is_there(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = conclusions._Store.add
    faster = (outcome(1, gain=0.25),)

    def add(self: conclusions._Store, generation: int, rows: list[tuple[object, ...]], queues: dict[str, bytes]) -> None:
        monkeypatch.setattr(conclusions._Store, "add", real)
        self.add(generation, rows, queues)
        store_conclusion(log, "e1", form=1, made_at=30.0, document={"by": "another"}, outcomes=faster)

    monkeypatch.setattr(conclusions._Store, "add", add)
    mine = (outcome(0), outcome(1))
    store_conclusion(log, "e1", form=1, made_at=29.0, document={"by": "me"}, outcomes=mine, queues={"judged": {}})
    with BoardReader(log) as board:
        found = board.conclusion("e1")
        assert found is not None
        assert found.document == {"by": "another"}
        assert ids(board.outcomes("e1")) == ["q1"]
    assert len(generations(log)) == 1
    assert generations(log, "labelling_queues") == set()


def test_a_problem_takes_the_place_of_a_conclusion_and_is_said(log: str) -> None:
    store_problem(log, "e1", form=1, made_at=31.0, problem="no plan")
    with BoardReader(log) as board:
        assert (board.conclusion("e1"), board.problem("e1"), board.outcomes("e1").total) == (None, "no plan", 0)
        assert board.made()["e1"] == Made(form=1, at=31.0, problem="no plan")
        assert board.problem("e2") is None
        assert generations(log) == set()
        store_conclusion(log, "e1", form=1, made_at=32.0, document={}, outcomes=OUTCOMES)
        assert board.problem("e1") is None
        assert board.outcomes("e1").total == len(OUTCOMES)


# Curations


def test_curations_that_hold_are_given_and_with_history_all(log: str) -> None:
    with CurationRecorder(log) as recorder:
        chosen = Curation(
            experiment="handbook", kind="pair", query_text="who", passage_id="p1", evaluation_id="e1", actor="ann", created_at=""
        )
        first = recorder.add(chosen)
        second = recorder.add(dataclasses.replace(chosen, passage_id="p2"))
        assert first.curation_id is not None
        gone = recorder.take_back(first.curation_id, actor="bob")
    with BoardReader(log) as board:
        assert board.curations("handbook") == (second,)
        assert board.curations("handbook", history=True) == (first, second, gone)
        assert board.curations("other") == ()


# How the database goes about it


def test_a_page_of_many_queries_is_found_by_its_index(sqlite_url: str) -> None:
    n = 3_000
    queries = gold(tuple(f"query {i}" for i in range(n)), ({},) * n)
    record(sqlite_url, "e1", queries, tuple(outcome(i, gain=(i % 7) / 10) for i in range(n)))
    plans: list[str] = []
    with BoardReader(sqlite_url) as board:
        engine = board._engine

        def explain(connection: object, cursor: object, statement: str, parameters: object, *_others: object) -> None:
            if statement.startswith("SELECT") and "query_outcomes" in statement:
                other = open_engine(sqlite_url, read_only=True)
                with other.connect() as own:
                    plans.extend(row[3] for row in own.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters))  # type: ignore[arg-type]
                other.dispose()

        event.listen(engine, "after_cursor_execute", explain)
        assert board.outcomes("e1", view="largest wins", limit=5).total == sum(i % 7 > 0 for i in range(n))
        assert board.outcomes("e1", view="all", limit=5, offset=2_000).rows[0].position == 2_000
        assert board.outcome("e1", "q2999") is not None
    assert any("ix_query_outcomes_by_gain" in plan for plan in plans)
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN")]
