"""The page of models: what is in production now, and what the monitor warns of."""

from pathlib import Path

import pytest

import registered_models
import tiny_model
from board_pages import app_test, html_of, small_board
from ragtrial.db.monitoring import MonitorStore
from ragtrial.domain.monitor import Alert
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_changes import archive, set_alias
from ragtrial.finetuning.registry_records import Records, change_records

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


def _facts(alert: Alert) -> dict[str, object]:
    return {name: getattr(alert, name) for name in ("experiment", "signal", "change", "at", "look", "sentence")}
