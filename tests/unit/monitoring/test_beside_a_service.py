"""The monitor beside a real service: a process of its own looks, and /metrics shows what it found."""

import time
from pathlib import Path

import pytest
import yaml

from live_service import live
from ragtrial.suite import serving_monitor
from unit.monitoring.receiver import receiving
from unit.monitoring.watched import NEW_WORDS, Watched, watched


def metrics(text: str, name: str) -> dict[str, float]:
    """By signal."""
    lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
    return {line.partition('signal="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def looking(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look every second, and refresh the metrics as often."""
    content = yaml.safe_load(log.path.read_text())
    content["monitor"]["every_minutes"] = 1 / 60
    log.path.write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setattr(serving_monitor, "_REFRESH_S", 0.2)


def test_a_service_looks_by_itself_and_shows_and_sends_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        log = watched(tmp_path, webhook=receiver.url)
        looking(log, monkeypatch)
        log.serve(200)
        log.serve(200, words=NEW_WORDS)
        with live(log.path) as service, service.client("viewer") as viewer:
            deadline = time.monotonic() + 60
            alerts: dict[str, float] = {}
            raised = ("query_embedding", "new_terms")
            while time.monotonic() < deadline and not (all(map(alerts.get, raised)) and len(receiver.bodies) >= len(raised)):
                log.serve(1, words=NEW_WORDS)
                time.sleep(0.5)
                text = viewer.get("/metrics").text
                alerts = metrics(text, "ragtrial_drift_alert")
            assert alerts["query_embedding"] == alerts["new_terms"] == 1
            assert alerts["query_length"] == 0
            effects = metrics(text, "ragtrial_drift_effect")
            assert effects["query_embedding"] > 0.1
            assert "document_embedding" not in effects  # nothing is new there: that is no 0
            assert metrics(text, "ragtrial_drift_looks")[""] >= 2
            assert 'ragtrial_background_errors_total{experiment="small",task="monitor"}' not in text
    assert sorted(each["signal"] for each in receiver.bodies) == ["new_terms", "query_embedding"]


def test_a_look_that_fails_is_counted_and_the_service_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = watched(tmp_path, webhook="env:RAGTRIAL_TEST_NOT_SET")
    looking(log, monkeypatch)
    with live(log.path) as service, service.client("viewer") as viewer:
        deadline = time.monotonic() + 60
        failed = 'ragtrial_background_errors_total{experiment="small",task="monitor"}'
        while time.monotonic() < deadline and failed not in viewer.get("/metrics").text:
            time.sleep(0.3)
        assert failed in viewer.get("/metrics").text
        assert viewer.get("/readyz").status_code == 200
