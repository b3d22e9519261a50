"""Law 1 is kept by the database itself: a score is a number or a reason."""

import math
import sys
from typing import Any

import pytest
from sqlalchemy import insert

from ragtrial.db import engine as database
from ragtrial.db.models import HitRow, ScoreRow, TrialRow
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.errors import StoreError
from unit.db import samples


@pytest.fixture
def recorded(url: str) -> str:
    with Recorder(url, clock=samples.clock) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=7)
        recorder.append("e1", [(samples.EVERY_KIND[0], ())], samples.PASSAGES)
    return url


def _insert(url: str, table: type[Any], **values: object) -> None:
    engine = database.open_engine(url)
    try:
        with database.transaction(engine, "log") as connection:
            connection.execute(insert(table), values)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("value", "unscored"),
    [(0.5, "search failed"), (None, None), (math.nan, None), (math.inf, None), (-math.inf, None), (None, ""), (0.5, "")],
    ids=["both", "neither", "nan", "inf", "-inf", "empty reason", "value and empty reason"],
)
def test_the_database_refuses_what_is_not_a_number_or_a_reason(recorded: str, value: float | None, unscored: str | None) -> None:
    with pytest.raises(StoreError, match=r"(?i)constraint"):
        _insert(recorded, ScoreRow, trial_id=1, metric="R@5", value=value, unscored=unscored, scorer="s/1")
    with Reader(recorded) as reader:
        assert reader.counts()["scores"] == 0


@pytest.mark.parametrize("value", [0.0, -1.5, sys.float_info.max, -sys.float_info.max, sys.float_info.min, 5e-324, 1 / 3])
def test_the_database_keeps_every_digit_of_a_number(recorded: str, value: float) -> None:
    _insert(recorded, ScoreRow, trial_id=1, metric="R@5", value=value, unscored=None, scorer="s/1")
    with Reader(recorded) as reader:
        assert reader.scores("e1")["R@5"].value.tolist() == [value]


def test_a_trial_is_a_ranking_or_a_failure(recorded: str) -> None:
    columns = {
        "evaluation_id": "e1",
        "arm": "custom",
        "query_id": "q1",
        "repetition": 0,
        "answer_shared": False,
        "created_at": samples.NOON,
    }
    with pytest.raises(StoreError, match="ranking_or_failure"):
        _insert(recorded, TrialRow, id=9, **columns)
    with pytest.raises(StoreError, match="answer_or_failure"):
        _insert(
            recorded, TrialRow, id=9, **columns, n_hits=0, answer_text="x", finish_reason="stop", failure_stage="generate", failure_kind="E"
        )


def test_hits_and_scores_belong_to_a_trial_and_trials_to_a_query_that_was_asked(recorded: str) -> None:
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        _insert(recorded, HitRow, trial_id=99, rank=1, passage_id="p1", similarity=0.5)
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        _insert(recorded, ScoreRow, trial_id=99, metric="R@5", value=0.5, unscored=None, scorer="s/1")
    with Recorder(recorded) as recorder:
        recorder.resume("e1")
        with pytest.raises(StoreError, match=r"(?i)foreign key"):
            recorder.append("e1", [(samples.trial("custom", "never asked"), ())])
