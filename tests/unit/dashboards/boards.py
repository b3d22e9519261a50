"""Databases of the dashboard in every state that a page can meet: a small evaluation, concluded otherwise, and live experiments."""

import dataclasses
import sqlite3
from collections.abc import Callable

from board_pages import SmallBoard
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.live_board_reader import StoredSnapshot
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.db.roll_up import RollUp
from ragtrial.report import live_summary
from ragtrial.report.live_content import LiveContent
from ragtrial.report.summary import CONCLUSION_FORM, Summary, as_document, read_summary
from unit.report import live_samples


def evaluation_id(board: SmallBoard) -> str:
    with Reader(board.url) as reader:
        return reader.evaluations()[0].evaluation_id


def concluded(board: SmallBoard) -> Summary:
    with Reader(board.url) as reader, BoardReader(board.url) as stored:
        found = read_summary(reader, stored, evaluation_id(board))
    assert found is not None
    return found


def store(board: SmallBoard, content: Summary) -> None:
    """Put another conclusion in the place of the evaluation's own."""
    document = as_document(content)
    store_conclusion(board.url, content.evaluation.evaluation_id, form=CONCLUSION_FORM, made_at=2.0, document=document, outcomes=())


def changed(board: SmallBoard, change: Callable[[Summary], Summary]) -> SmallBoard:
    store(board, change(concluded(board)))
    return board


def with_decision(decision: str, *, n_more: int | None = None) -> Callable[[Summary], Summary]:
    def change(content: Summary) -> Summary:
        verdict = dataclasses.replace(content.analysis.verdict, decision=decision, n_more=n_more, sentence="The evidence.")  # type: ignore[arg-type]
        return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, verdict=verdict))

    return change


def with_two_tags(content: Summary) -> Summary:
    """The same slices once more, by another tag."""
    found = content.analysis.slices
    more = tuple(dataclasses.replace(each, tag="source") for each in found)
    return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, slices=(*found, *more)))


def execute(board: SmallBoard, *statements: str) -> None:
    with sqlite3.connect(board.path.parent / ".ragtrial" / "ragtrial.db") as connection:
        for statement in statements:
            connection.execute(statement)


def serve(board: SmallBoard, content: LiveContent | None, *, problem: str | None = None) -> int:
    """A live experiment that has come to this; None: it was not analysed yet."""
    plan = live_samples.build(n=120).experiment if content is None else content.experiment
    with LiveRecorder(board.url, plan) as recorder:
        live_id = recorder.live_id
    if content is not None or problem is not None:
        found = None
        if content is not None:
            found = live_summary.as_document(
                live_summary.LiveSummary(experiment=plan, analysis=content.analysis, made_at=content.made_at, models=content.models)
            )
        snapshot = StoredSnapshot(form=live_summary.SNAPSHOT_FORM, made_at=1.0, took_s=0.1, version=1, document=found, problem=problem)
        with RollUp(board.url) as roll_up:
            roll_up.roll(live_id)
            roll_up.store_snapshot(live_id, snapshot)
    return live_id
