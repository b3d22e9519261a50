"""Simulated users on the real service: a planted difference is found, none is found where there is none, and nothing counted is lost."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import read_settings
from ragtrial.suite.live_analysis import live_content_of
from ragtrial.suite.preparing import prepare
from ragtrial.suite.traffic import Traffic, TrafficPlan, simulate
from ragtrial.suite.traffic_log import wait_until_scored
from ragtrial.suite.traffic_service import child_service

pytestmark = pytest.mark.slow

LIVE = {
    "metrics": {
        "primary": {"name": "nDCG@10", "min_effect": 0.01},
        "secondary": ["citation_clicked"],
        "guardrails": [{"name": "failed", "max_increase": 0.05}],
        "exploratory": ["copied", "rephrased"],
    },
    "units_planned": 250,
    "solicit": 0.2,
}


def demo_folder(folder: Path, *, baseline: dict[str, Any], custom: dict[str, Any]) -> Path:
    """A folder in which `ragtrial live-demo` finds its files already: a small corpus, and hashing embedders in place of models."""
    arms = [
        {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", **baseline}},
        {"name": "custom", "role": "treatment", "embedding": {"provider": "hashing", **custom}},
    ]
    data = write_beir_folder(folder / "seeds", n_queries=160)
    write_experiment(folder / "experiments" / "live-demo.yaml", data, name="planted", arms=arms, live=LIVE)
    return folder


def planted(folder: Path) -> Path:
    """The treatment is better: texts collide less in more dimensions."""
    return demo_folder(folder, baseline={"model": "a", "dimensions": 16}, custom={"model": "b", "dimensions": 1024})


def equal(folder: Path) -> Path:
    """Both arms are one and the same."""
    return demo_folder(folder, baseline={"model": "a", "dimensions": 256}, custom={"model": "a", "dimensions": 256})


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "experiments" / ".ragtrial" / "ragtrial.db")


def keys(folder: Path) -> list[tuple[str, bool]]:
    with database(folder) as log:
        return log.execute("select name, revoked_at is not null from api_keys").fetchall()


def served_at(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", text)
    assert found is not None, text
    return found[0]


def is_gone(url: str) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_the_live_demo_finds_a_planted_difference_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = planted(tmp_path / "demo")
    done = ragtrial_command("live-demo", "--folder", folder, "--users", "320", "--queries", "1100", "--concurrency", "8")
    assert done.code == 0, done.err
    assert "Adopt custom: " in done.out
    looks = re.findall(r"^after [\d,]+ questions: (.*)$", done.err, re.MULTILINE)
    assert len(looks) >= 3  # the verdict was shown as it formed
    assert looks[0].endswith("too few")
    assert re.search(r"\d+ units; nDCG@10 \+0\.\d+ \[\+0\.\d+, \+0\.\d+\]; adopt custom", looks[-1])
    assert (folder / "live-report.html").read_text().startswith("<!doctype html>")
    assert is_gone(served_at(done.err))
    assert keys(folder) == [("live demo", 1)]
    assert "everything that was acknowledged is in the log" in (folder / "serve.log").read_text()
    with database(folder) as log:
        ((asked, scored),) = log.execute(
            "select count(*), sum(exists (select 1 from live_scores s where s.trial = t.id)) from live_trials t"
        ).fetchall()
    assert scored == asked >= 1100


@pytest.fixture(scope="module")
def without_a_difference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Traffic]:
    """Users who behave alike whatever they get, on two arms that are one and the same."""
    folder = equal(tmp_path_factory.mktemp("equal") / "demo")
    path = folder / "experiments" / "live-demo.yaml"
    key = ragtrial_command("keys", "create", path, "simulator").out.strip()
    prepared = prepare(path, settings=read_settings())
    traffic = Traffic(plan=TrafficPlan(n_users=320, n_queries=1100, concurrency=8, taste="none", duplicates=0.05, look_every=None))
    with child_service(path, log=folder / "serve.log") as url:
        simulate(traffic, experiment=prepared.experiment, gold=prepared.gold, url=url, key=key)
        assert wait_until_scored(prepared, within_s=60)
    return folder, traffic


def test_no_difference_is_found_where_there_is_none(without_a_difference: tuple[Path, Traffic]) -> None:
    folder, _traffic = without_a_difference
    content = live_content_of(folder / "experiments" / "live-demo.yaml")
    assert content.analysis.verdict.decision == "undecided"
    assert content.analysis.progress.planned_at is not None
    compared = {one.metric.name: one.effect for one in content.analysis.comparisons if one.effect is not None}
    assert {"nDCG@10", "citation_clicked", "copied", "rephrased"} <= set(compared)
    for effect in compared.values():
        assert effect.running.low < 0 < effect.running.high
    assert {check.name: check.state for check in content.analysis.checks}["srm_units"] == "pass"


def test_everything_acknowledged_is_in_the_database_once(without_a_difference: tuple[Path, Traffic]) -> None:
    folder, traffic = without_a_difference
    counts = traffic.counts
    assert traffic.in_order
    assert counts.repeated > 50
    with database(folder) as log:
        trials = [row[0] for row in log.execute("select trial_id from live_trials where served")]
        votes = log.execute("select t.trial_id, v.key, v.thumb from live_votes v join live_trials t on t.id = v.trial").fetchall()
        signals = log.execute("select t.trial_id, s.key, s.signal from live_signals s join live_trials t on t.id = s.trial").fetchall()
    told = {kind: [one for one in traffic.acknowledged if one.kind == kind] for kind in ("trial", "vote", "signal")}
    assert sorted(trials) == sorted(one.trial_id for one in told["trial"])
    assert len(trials) == counts.answers == 1100 + traffic.follow_ups
    assert sorted(votes) == sorted((one.trial_id, one.key, one.what) for one in told["vote"])
    assert sorted(signals) == sorted((one.trial_id, one.key, one.what) for one in told["signal"])
    assert len(votes) == counts.thumbs.total() > 100


def test_the_analysis_counts_what_the_simulator_counted(without_a_difference: tuple[Path, Traffic]) -> None:
    folder, traffic = without_a_difference
    analysis = live_content_of(folder / "experiments" / "live-demo.yaml").analysis
    assert analysis.progress.n_trials == traffic.counts.answers
    assert analysis.progress.n_units == len(traffic.seen)
    every = analysis.votes[0]
    cast = traffic.counts.thumbs
    assert sum(every.withdrawn) == cast["withdrawn on answer"]
    last = sum(every.rated) + sum(every.withdrawn)
    changed = sum(n for name, n in cast.items() if name.endswith("on answer")) - last
    assert 0 < changed < last  # somebody changed their mind, and each answer counts once


def test_ctrl_c_stops_the_service_and_revokes_the_key(tmp_path: Path) -> None:
    folder = planted(tmp_path / "demo")
    command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "live-demo", "--folder", folder, "--queries", "100000"]
    with (tmp_path / "printed").open("w") as printed:
        demo = subprocess.Popen(
            command,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # tests that run in the background ignore it
        )
    try:
        deadline = time.monotonic() + 120
        while "after 200 questions" not in (tmp_path / "printed").read_text():
            assert demo.poll() is None, (tmp_path / "printed").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(120) == 130
    finally:
        demo.kill()
        demo.wait()
    said = (tmp_path / "printed").read_text()
    assert "interrupted" in said
    assert "simulated traffic" in said  # what came of it until then
    assert is_gone(served_at(said))
    assert keys(folder) == [("live demo", 1)]


def test_a_stopped_experiment_is_not_gone_on_with(tmp_path: Path) -> None:
    from ragtrial.db.live_recorder import LiveRecorder
    from ragtrial.formats.experiment import sql_url

    folder = planted(tmp_path / "demo")
    file = load_experiment(folder / "experiments" / "live-demo.yaml")
    with LiveRecorder(sql_url(file), file.experiment) as recorder:
        recorder.change_traffic(expected_version=1, share=None, treatment=None, stopped=True, actor="guardrail", reason="failed is broken")
    done = ragtrial_command("live-demo", "--folder", folder)
    assert done.code == 2
    assert "was stopped by guardrail (failed is broken)" in done.err
    assert "--folder" in done.err
