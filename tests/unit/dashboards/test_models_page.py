"""The page of models: what is in production now, and what the monitor warns of."""

from pathlib import Path

import pytest

import registered_models
import tiny_model
from board_pages import app_test, html_of, small_board
from ragtrial.db.monitoring import MonitorStore
from ragtrial.domain.monitor import PLANNED, Alert, asked_for
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_changes import archive, set_alias
from ragtrial.finetuning.registry_records import Records, change_records
from ragtrial.suite.model_states import states_of

START = 1_800_000_000.0


def test_versions_in_production_candidates_and_archived_ones_have_their_badges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = small_board(tmp_path)
    registry = Registry(tmp_path / ".ragtrial" / "models")
    model = tiny_model.build(tmp_path / "tiny")
    for _ in range(3):
        registered_models.register(registry, model)
    archive(registry, "tiny@v1", who="ana")
    change_records(registry.home("tiny"), lambda _: Records(aliases={"production": "v2"}, archived={"v1": ""}))
    set_alias(registry, "tiny@v3", "candidate", who="ana")
    monkeypatch.chdir(tmp_path)
    test = app_test(monkeypatch, board.url, "models")
    assert not test.exception
    said = html_of(test)
    for state, version in (("production", "tiny@v2"), ("candidate", "tiny@v3"), ("archived", "tiny@v1")):
        assert f"{state}</span> <span>{version}</span>" in said
    assert "in the registry .ragtrial/models" in said
    assert "alert" not in said.lower()
    (registry.home("tiny") / "records.json").write_text("{")
    broken = app_test(monkeypatch, board.url, "models")
    assert any("be understood" in warning.value.replace("\\", "") for warning in broken.warning)
    assert "production</span>" not in html_of(broken)


def test_an_alert_that_stands_is_on_the_page_of_an_evaluation_of_its_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = small_board(tmp_path)
    alert = Alert(experiment="small", signal="new_terms", change="raised", at=START, look=1, sentence="words: 0.7% -> 9.0%")
    with MonitorStore(board.url) as store:
        store.add_look("small", "first", 1, seen="a", document={}, alerts=[alert])
        store.add_look("small", "gold", 1, seen="a", document={}, alerts=[alert])
        store.add_look("another", "first", 1, seen="a", document={}, alerts=[Alert(**{**_facts(alert), "experiment": "another"})])
        shown = html_of(app_test(monkeypatch, board.url, "models"))
        assert "2 alerts stand: new_terms" in shown
        assert shown.count("Since 2027-01-15 08:00 UTC: words: 0.7% -&gt; 9.0%.") == 2
        stood, _ = store.standing("small")
        store.close_alerts("small", [(stood, Alert(**{**_facts(alert), "change": "cleared"}))])
        again = html_of(app_test(monkeypatch, board.url, "models"))
        assert "An alert stands: new_terms" in again, "the one with the other reference does"


def test_a_state_is_that_of_the_same_weights_and_not_of_a_namesake_in_another_registry(tmp_path: Path) -> None:
    ours, theirs = (Registry(tmp_path / name / "models") for name in ("ours", "theirs"))
    one = registered_models.register(ours, tiny_model.build(tmp_path / "a", seed=0))
    namesake = registered_models.register(theirs, tiny_model.build(tmp_path / "b", seed=1))
    assert one.reference == namesake.reference
    change_records(ours.home("tiny"), lambda _: Records(aliases={"production": "v1"}))
    known = states_of(ours.folder).contents
    assert known == {("tiny@v1", one.lineage["checksum"]): ("production",)}
    assert ("tiny@v1", namesake.lineage["checksum"]) not in known


def test_only_alerts_of_planned_looks_are_on_top_and_the_others_below_with_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = small_board(tmp_path)
    alert = Alert(experiment="small", signal="new_terms", change="raised", at=START, look=1, sentence="words: from 0.7% to 9.0%")
    other = Alert(**{**_facts(alert), "signal": "query_length", "sentence": "length: from 57 to 80 characters"})
    once = {"asked": asked_for(source="/somewhere/old.jsonl"), "source": "old.jsonl, 400 queries", "reference": "the gold queries"}
    with MonitorStore(board.url) as store:
        store.add_look("small", "planned", 1, seen="a", document={"asked": PLANNED, "source": "the live log"}, alerts=[alert])
        (raised,) = store.add_look("small", "once", 1, seen="a", document=once, alerts=[other])
    shown = html_of(app_test(monkeypatch, board.url, "models"))
    top, _, rest = shown.partition("Alerts of looks that were asked for beside the plan")
    assert "An alert stands: new_terms" in top
    assert "words: from 0.7% to 9.0%" in top
    assert "query_length" not in top
    assert "length: from 57 to 80 characters. From old.jsonl, 400 queries compared with the gold queries" in rest
    assert f"number {raised.alert_id}." in rest
    assert "--close NUMBER --reason WHY" in rest


def _facts(alert: Alert) -> dict[str, object]:
    return {name: getattr(alert, name) for name in ("experiment", "signal", "change", "at", "look", "sentence")}
