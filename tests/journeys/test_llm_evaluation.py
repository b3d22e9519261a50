"""`ragtrial evaluate` with an LLM that answers and judges: over a real socket, with a server that misbehaves as it is told."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.reader import Reader
from scripted_llm import Reply, ScriptedLlm, user_text
from scripted_reader import USAGE, properties, reader_and_judge


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm(reader_and_judge) as running:
        yield running


def experiment_of(folder: Path, server: ScriptedLlm, *, n_queries: int = 30, **more: Any) -> Path:
    data = write_beir_folder(folder / "data", n_passages=50, n_queries=n_queries)
    llm = {"model": "gpt-4o-mini", "base_url": server.url}
    settings: dict[str, Any] = {
        "generation": {"provider": "openai-compatible", **llm},
        "metrics": {
            "primary": {"name": "judge_correctness"},
            "secondary": ["nDCG@10"],
            "guardrails": [{"name": "failed", "max_increase": 0.05}],
            "judge": llm,
        },
        "llm": {"timeout_s": 30, "attempts": 3, "patience_s": 5},
        "analysis": {"resamples": 1000, "latency_queries": 10, "min_queries": 20},
    }
    return write_experiment(folder / "e.yaml", data, **{**settings, **more})


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "report.json").read_text())  # type: ignore[no-any-return]


def metric(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in report["metrics"] if row["name"] == name)


def stored(folder: Path) -> Reader:
    return Reader(f"sqlite:///{folder / '.ragtrial' / 'ragtrial.db'}")


def test_answers_and_judgments_are_paid_for_once_and_counted(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment = experiment_of(tmp_path, server, llm={"timeout_s": 30, "attempts": 1, "patience_s": 30})
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out")
    assert done.code in (0, 1), done.err
    report = report_of(tmp_path)
    calls = {row["purpose"]: row for row in report["calls"]}
    assert sum(row["made"] for row in calls.values()) == len(server.requests)
    assert calls["answer"]["alone"] == 60
    assert calls["judge_correctness"]["alone"] == 180
    assert calls["judge_correctness"]["made"] < 180, "arms with the same answer are judged once"
    assert calls["answer"]["cost_usd"] == pytest.approx(calls["answer"]["made"] * (200 * 0.15 + 20 * 0.6) / 1e6)
    (judge,) = report["judges"]
    assert (judge["n_repeated"], judge["flipped"], judge["n_unscored"]) == (judge["n_opinions"] // 3, 0.0, 0)
    assert ": as it reads</span>" in (tmp_path / "out" / "report.html").read_text(), "the judge's reasons stand beside the answers"
    again = ragtrial_command("evaluate", experiment, "--output", tmp_path / "again")
    assert again.code == done.code
    assert sum(row["made"] for row in calls.values()) == len(server.requests), "a second evaluation pays for nothing"

    folder = ["--folder", tmp_path / ".ragtrial" / "calls"]
    kept = {group["purpose"]: group for group in json.loads(ragtrial_command("cache", "list", *folder, "--json").out)}
    assert {purpose: group["n_calls"] for purpose, group in kept.items()} == {purpose: row["made"] for purpose, row in calls.items()}
    lines = ragtrial_command("cache", "list", *folder, "--keys").out.splitlines()
    assert len(lines) == len(server.requests)
    shown = json.loads(ragtrial_command("cache", "show", lines[0].split()[0], *folder).out)
    assert shown["completion"]["key"].startswith(lines[0].split()[0])
    counted = ragtrial_command("cache", "prune", *folder, "--purpose", "answer")
    assert f"{calls['answer']['made']} calls would be forgotten" in counted.out
    assert f"forgot {calls['answer']['made']} calls" in ragtrial_command("cache", "prune", *folder, "--purpose", "answer", "--yes").out
    (left,) = json.loads(ragtrial_command("cache", "list", *folder, "--json").out)
    assert left["purpose"] == "judge_correctness"
    unknown = ragtrial_command("cache", "show", "zz", *folder)
    assert (unknown.code, "0 calls have a key that begins with 'zz'" in unknown.err) == (2, True)


def test_the_dry_run_says_what_it_would_take_and_asks_nothing(tmp_path: Path, server: ScriptedLlm) -> None:
    done = ragtrial_command("evaluate", experiment_of(tmp_path, server), "--dry-run")
    assert done.code == 0
    assert "LLM calls: at most 240" in done.err
    assert re.search(r"judge_correctness +180 calls to gpt-4o-mini, [\d,]+ \+ [\d,]+ tokens, [\d.]+ USD", done.err)
    assert server.requests == []
    assert not (tmp_path / ".ragtrial").exists()


def test_a_cap_stops_the_run_and_resuming_with_a_higher_one_ends_it_without_paying_twice(tmp_path: Path, server: ScriptedLlm) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    free = experiment_of(whole, server)
    assert ragtrial_command("evaluate", free, "--output", whole / "out").code in (0, 1)
    n_whole = len(server.requests)
    capped = tmp_path / "capped"
    capped.mkdir()
    experiment = experiment_of(capped, server, llm={"max_cost_usd": 0.01})
    stopped = ragtrial_command("evaluate", experiment, "--output", capped / "out")
    assert stopped.code == 2
    assert "spending cap of 0.01 USD is reached" in stopped.err
    assert "resume" in stopped.err
    experiment.write_text(experiment.read_text().replace("max_cost_usd: 0.01", "max_cost_usd: 1.0"))
    resumed = ragtrial_command("evaluate", experiment, "--output", capped / "out", "--resume")
    assert resumed.code in (0, 1), resumed.err
    assert len(server.requests) == 2 * n_whole
    assert metric(report_of(capped), "judge_correctness")["difference"] == metric(report_of(whole), "judge_correctness")["difference"]


def failing_judge(asked: dict[str, Any], number: int) -> Reply:
    if "verdict" in properties(asked) and "mooring" in user_text(asked):
        return Reply(text='{"rationale": "splendid", "verdict": "excellent"}', usage=USAGE)
    if "answer" in properties(asked) and "keel" in user_text(asked).rpartition("Question:")[2]:
        return Reply(status=400)
    return reader_and_judge(asked, number)


def test_failed_calls_are_counted_by_class_and_asked_again_when_told_to(tmp_path: Path, server: ScriptedLlm) -> None:
    server.script = failing_judge
    experiment = experiment_of(tmp_path, server, n_queries=40)
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out")
    assert done.code in (0, 1), done.err
    report = report_of(tmp_path)
    failed = sum(sum(kinds.values()) for kinds in report["failures"].values())
    assert failed, "the script makes some fail"
    assert {kind for kinds in report["failures"].values() for kind in kinds} == {"generate: bad_request"}
    reasons = {row["reason"] for row in report["exclusions"] if row["metric"] == "judge_correctness"}
    assert reasons == {"judge failed: malformed", "failed: generate"}
    assert metric(report, "failed")["custom"]["mean"] > 0
    n_before = len(server.requests)

    server.script = reader_and_judge
    again = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--retry-failed")
    assert again.code in (0, 1), again.err
    report = report_of(tmp_path)
    assert not any(report["failures"].values())
    assert {check["name"]: check["state"] for check in report["checks"]}["retried"] == "warn"
    assert 0 < len(server.requests) - n_before < n_before / 2, "only what failed is asked again"
    with stored(tmp_path) as reader:
        first, second = reader.evaluations()
        assert sum(trial.failure is not None for trial in reader.trials(first.evaluation_id)) == failed, "the old rows are kept"
        assert not any(trial.failure for trial in reader.trials(second.evaluation_id))
    nothing = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out", "--retry-failed")
    assert "nothing to ask again" in nothing.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provider": "openai"}, "generation.provider 'openai' is unknown"),
        ({"prompt": "mine.md"}, "mine.md' can't be read"),
        ({"prompt": "answer-9"}, "there is no prompt 'answer-9': there are answer-1"),
        ({"base_url": "127.0.0.1:8080/v1"}, "begin it with http:// or https://"),
    ],
)
def test_what_would_stop_the_answers_is_found_before_anything_starts(
    tmp_path: Path, server: ScriptedLlm, change: dict[str, str], message: str
) -> None:
    llm = {"provider": "openai-compatible", "model": "gpt-4o-mini", "base_url": server.url}
    experiment = experiment_of(tmp_path, server, generation={**llm, **change})
    for command in (["validate"], ["evaluate", "--dry-run"], ["evaluate", "--output", tmp_path / "out"]):
        done = ragtrial_command(command[0], experiment, *command[1:])
        assert done.code == 2
        assert message in " ".join((done.err + done.out).split())
    assert server.requests == []
    assert not (tmp_path / ".ragtrial").exists()


def test_without_a_key_for_openai_itself_nothing_starts(tmp_path: Path, server: ScriptedLlm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    experiment = experiment_of(tmp_path, server, generation={"provider": "openai-compatible", "model": "gpt-4o-mini"})
    assert ragtrial_command("evaluate", experiment, "--dry-run").code == 0
    done = ragtrial_command("evaluate", experiment, "--output", tmp_path / "out")
    assert done.code == 2
    assert "the environment variable OPENAI_API_KEY is not set" in done.err
    assert not (tmp_path / ".ragtrial").exists()


def test_a_cap_needs_prices_and_a_low_one_is_told_beforehand(tmp_path: Path, server: ScriptedLlm) -> None:
    low = experiment_of(tmp_path, server, llm={"max_cost_usd": 0.001})
    assert "more than llm.max_cost_usd (0.001 USD): the run may stop there" in ragtrial_command("evaluate", low, "--dry-run").err
    (tmp_path / "b").mkdir()
    judge = {"primary": {"name": "judge_correctness"}, "judge": {"model": "own-model", "base_url": server.url}}
    unpriced = experiment_of(tmp_path / "b", server, llm={"max_cost_usd": 1.0}, metrics=judge)
    done = ragtrial_command("evaluate", unpriced, "--dry-run")
    assert done.code == 2
    assert "'own-model' (metrics.judge) has no price" in done.err


def test_a_wrong_key_stops_at_once_and_says_what_to_mend(tmp_path: Path, server: ScriptedLlm) -> None:
    server.script = lambda _asked, _number: Reply(status=401)
    done = ragtrial_command("evaluate", experiment_of(tmp_path, server), "--output", tmp_path / "out")
    assert done.code == 2
    assert "refused the key (401)" in done.err
    assert len(server.requests) <= 16


def test_rate_limits_are_told_and_cost_nothing_but_time(tmp_path: Path, server: ScriptedLlm) -> None:
    server.script = lambda asked, number: (
        Reply(status=429, headers={"retry-after-ms": "100"}) if number % 5 == 0 else reader_and_judge(asked, number)
    )
    done = ragtrial_command("evaluate", experiment_of(tmp_path, server, llm={"attempts": 8}), "--output", tmp_path / "out")
    assert done.code in (0, 1), done.err
    assert "too many requests (429), waiting 0.1 s as it asks" in done.err
    assert re.search(r"tried again: \d+ rate_limit", done.err)
    assert metric(report_of(tmp_path), "judge_correctness")["n_scored"] == 30
