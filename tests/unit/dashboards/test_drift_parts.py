"""Drift on the page of models: what has moved is the title, charts have their words, and what is missing is said."""

import dataclasses
import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from board_pages import app_test, html_of
from ragtrial.analysis.drift import DriftSignal
from ragtrial.db.monitoring import MonitorStore
from ragtrial.db.schema import upgrade
from ragtrial.domain.monitor import Alert
from ragtrial.report.live_summary import LiveSummary
from ragtrial.suite.rolling import Rolling
from unit import live_logs
from unit.db.live_samples import DAY, START
from unit.drifting import days_of, longer, sample
from unit.report import live_samples


def content_with(drift: tuple[DriftSignal, ...]) -> LiveSummary:
    """A summary with this drift."""
    made = live_samples.build()
    return LiveSummary(**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)}, drift=drift)


def page(monkeypatch: pytest.MonkeyPatch, drift: tuple[DriftSignal, ...]) -> AppTest:
    """A page that shows nothing else."""
    monkeypatch.setenv("RAGTRIAL_BOARD", json.dumps({"url": None, "open": True}))

    def script(content: "LiveSummary") -> None:  # in quotes: its text is run without the imports above
        from ragtrial_board.drift_parts import drift

        drift(content)

    return AppTest.from_function(script, args=(content_with(drift),), default_timeout=60).run()


def test_the_largest_drift_is_the_title_and_its_chart_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    test = page(monkeypatch, days_of(sample(per_day=1_000, query_length=longer(7, arm=1))))
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "<h1>Queries have become 0.7 standard deviations longer in custom since 8 Oct</h1>" in said
    assert "From all 14,000 trials that count." in said
    titles = [part.split("</h3>")[0] for part in said.split("<h3>")[1:]]
    assert titles == [
        "Queries have become 0.7 standard deviations longer in custom since 8 Oct",
        "Similarity of the best passage: no drift beyond chance",
        "Queries of the gold set: no drift beyond chance",
        "Abstentions: no drift beyond chance",
    ]
    assert said.count('class="wide"') == said.count('class="slim"') == 4
    assert 'alt="Query length, away from its reference over time: baseline is beyond chance in 0 of 13 windows' in said
    assert said.count("Filled points are beyond chance") == 1
    assert "How drift is measured" in said


def test_calm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<h1>No drift beyond chance in 14 days</h1>" in html_of(page(monkeypatch, days_of(sample())))


def test_every_window_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    test = page(monkeypatch, days_of(sample()))
    frame = test.dataframe[0].value
    assert len(frame) == 8 * 14
    assert set(frame["what it shows"]) == {"reference", "not beyond chance"}


def test_a_signal_that_nobody_has_is_words_and_no_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    said = html_of(page(monkeypatch, days_of(sample(query_length=None))))
    assert "Query length: can&#x27;t be told yet" in said
    assert "no query is kept in full, and redacted ones have another length" in said
    assert said.count('class="wide"') == 3


def test_a_snapshot_from_before_there_was_drift_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    test = page(monkeypatch, ())
    assert not test.exception
    assert "Drift was not worked out yet" in html_of(test)
    assert [code.value for code in test.code] == ["ragtrial roll-up EXPERIMENT.yaml"]


def test_an_arm_with_markup_in_its_name_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    test = page(monkeypatch, days_of(sample(per_day=1_000, arms=("<b>bold</b>",), query_length=longer(7))))
    assert not test.exception
    said = html_of(test)
    assert "&lt;b&gt;bold&lt;/b&gt;: 5" in said
    assert "<b>bold</b>" not in said


def test_the_page_of_models_shows_the_drift_of_a_live_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    live_id = live_logs.fill(url, live_logs.experiment(), n_units=150)
    with Rolling(url, clock=lambda: START + 4 * DAY) as rolling:
        rolling.once()
    test = app_test(monkeypatch, url, "models", live=str(live_id))
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "Models and drift · handbook" in said
    assert "Similarity of the best passage: can&#x27;t be told yet" in said
    assert "no trial found a passage" in said
    assert "How drift is measured" in said


def test_alerts_of_the_monitor_are_listed_with_those_that_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    upgrade(url)
    one = Alert(experiment="handbook", signal="new_terms", change="raised", at=START, look=2, sentence="words never seen: 0.7% -> 9.0%")
    more = [one, dataclasses.replace(one, signal="query_length"), dataclasses.replace(one, signal="query_length", change="cleared")]
    with MonitorStore(url) as store:
        store.add_look("handbook", "s", 1, seen="a", document={}, alerts=more)
    monkeypatch.setenv("RAGTRIAL_BOARD", json.dumps({"url": url, "open": True}))

    def script() -> None:
        from ragtrial_board.drift_parts import alerts, standing

        for experiment in ("handbook", "another"):
            standing(experiment)
            alerts(experiment)

    test = AppTest.from_function(script, default_timeout=60).run()
    assert not test.exception
    said = html_of(test)
    assert said.count("An alert stands: new_terms") == 1
    assert "their intervals hold at all looks together" in said
