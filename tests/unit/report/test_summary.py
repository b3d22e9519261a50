"""What was concluded is stored once and read again, to the last digit."""

import dataclasses
import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from ragtrial.db.board_reader import BoardReader
from ragtrial.db.conclusions import store_conclusion
from ragtrial.db.reader import Reader
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.errors import InputError, StoreError
from ragtrial.report.content import ReportContent
from ragtrial.report.summary import CONCLUSION_FORM, Summary, as_document, read_summary, summarise
from unit.logged import log, sample


def summary_of(**options: int) -> Summary:
    made = sample(**options)
    content = made.content()
    return summarise(
        evaluation=made.evaluation,
        experiment=made.experiment,
        analysis=content.analysis,
        gold=made.gold,
        tables=made.tables,
        trials=made.trials,
    )


def test_the_report_says_what_the_summary_says_and_more(content: ReportContent) -> None:
    made = sample(150)
    own = summarise(
        evaluation=content.evaluation,
        experiment=content.experiment,
        analysis=content.analysis,
        gold=made.gold,
        tables=content.tables,
        trials=content.trials,
    )
    for field in dataclasses.fields(Summary):
        assert getattr(own, field.name) == getattr(content, field.name), field.name
    assert content.trials
    assert not hasattr(own, "trials")


def test_a_document_is_json_without_the_run_and_the_plan(content: ReportContent) -> None:
    document = as_document(content)
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document
    assert set(document) == {field.name for field in dataclasses.fields(Summary)} - {"evaluation", "experiment"}
    assert len(json.dumps(document)) < 200_000


@pytest.mark.parametrize("repetitions", [1, 2])
def test_what_was_stored_is_read_again_as_it_was(tmp_path: Path, repetitions: int) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    made = sample(repetitions=repetitions)
    evaluation_id = log(url, made)
    with Reader(url) as reader:
        evaluation = reader.evaluation(evaluation_id)
    content = dataclasses.replace(made.content(), evaluation=evaluation)
    store_conclusion(url, evaluation_id, form=CONCLUSION_FORM, made_at=1.5, document=as_document(content), outcomes=())
    with Reader(url) as reader, BoardReader(url) as board:
        found = read_summary(reader, board, evaluation_id)
    assert found is not None
    stores = dataclasses.replace(found.experiment.stores, sql=made.experiment.stores.sql)  # the log keeps no password
    assert dataclasses.replace(found.experiment, stores=stores) == made.experiment
    for field in dataclasses.fields(Summary):
        if field.name != "experiment":
            assert getattr(found, field.name) == getattr(content, field.name), field.name
    assert found.label("custom") == "custom"
    assert found.headline == content.headline
    assert found.guardrails == content.guardrails
    assert found.latency_of("baseline", "total") == content.latency_of("baseline", "total")


def test_nothing_is_read_of_an_evaluation_that_is_not_concluded_or_in_another_form(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    made = sample()
    evaluation_id = log(url, made, finish=False)
    with Reader(url) as reader, BoardReader(url) as board:
        assert read_summary(reader, board, evaluation_id) is None
        document = as_document(made.content())
        store_conclusion(url, evaluation_id, form=CONCLUSION_FORM - 1, made_at=1.0, document=document, outcomes=())
        assert read_summary(reader, board, evaluation_id) is None
        store_conclusion(url, evaluation_id, form=CONCLUSION_FORM, made_at=1.0, document=document, outcomes=())
        assert read_summary(reader, board, evaluation_id) is not None
        with pytest.raises(InputError, match="there is no evaluation 'other'"):
            read_summary(reader, board, "other")


def test_a_document_that_is_not_of_the_form_that_it_says_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    evaluation_id = log(url, sample())
    store_conclusion(url, evaluation_id, form=CONCLUSION_FORM, made_at=1.0, document={"gold_name": 3}, outcomes=())
    with Reader(url) as reader, BoardReader(url) as board, pytest.raises(StoreError, match=f"{evaluation_id}.*ragtrial analyse"):
        read_summary(reader, board, evaluation_id)


def test_a_number_that_is_none_never_gets_into_a_document(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    made = sample()
    evaluation_id = log(url, made)
    content = made.content()
    broken = dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, mde_planned=math.nan))
    with pytest.raises(StoreError, match="not JSON compliant"):
        store_conclusion(url, evaluation_id, form=CONCLUSION_FORM, made_at=1.0, document=as_document(broken), outcomes=())
    with BoardReader(url) as board:
        assert board.conclusion(evaluation_id) is None


def test_timings_are_kept_sorted_and_never_where_nothing_was_timed() -> None:
    summary = summary_of(n=60)
    row = summary.latency_of("baseline", "total")
    assert row.quantiles is not None
    assert len(row.sample_ms) == row.quantiles.n == 60
    assert list(row.sample_ms) == sorted(row.sample_ms)
    made = sample()
    untimed = [dataclasses.replace(trial, timings=None) for trial in made.trials]
    content = dataclasses.replace(summary, latency=())
    none = summarise(
        evaluation=made.evaluation,
        experiment=made.experiment,
        analysis=content.analysis,
        gold=made.gold,
        tables=made.tables,
        trials=untimed,
    ).latency_of("baseline", "total")
    assert (none.quantiles, none.sample_ms) == (None, ())
    assert none.reason


def test_whoever_changes_what_is_stored_counts_the_form_on() -> None:
    """A document of an older form read as one of a newer form would be wrong in silence."""
    digest = sha256(json.dumps(shapes(Summary), sort_keys=True).encode()).hexdigest()[:12]
    assert (CONCLUSION_FORM, digest) == (2, "a5c36dd8b6ba"), "count CONCLUSION_FORM on, and write both here"


def shapes(kind: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fields and types of the dataclasses and named tuples that are stored, by name."""
    found = {} if found is None else found
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else getattr(kind, "_fields", ())
    if names and kind.__name__ not in found:
        hints = {name: hint for name, hint in get_type_hints(kind).items() if name in names and hint not in (Evaluation, Experiment)}
        found[kind.__name__] = {name: str(hint) for name, hint in hints.items()}
        for hint in hints.values():
            shapes(hint, found)
    for part in get_args(kind):
        shapes(part, found)
    return found
