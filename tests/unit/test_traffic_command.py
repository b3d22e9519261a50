"""`ragtrial simulate-traffic`: what it prints, writes and exits with; the service is a small server that remembers what it acknowledged."""

import json
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from commands import Done, ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.formats.beir import load_beir
from ragtrial.formats.experiment import load_experiment
from ragtrial.suite.traffic_service import child_service
from servers.live_server import LiveServer, running

LIVE = {"metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}}}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traffic")
    return write_experiment(folder / "e.yaml", write_beir_folder(folder / "data"), live=LIVE)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGTRIAL_KEY", "right")


def server(experiment: Path, *, serves: str = "small", **options: object) -> LiveServer:
    gold = load_beir(experiment.parent / "data", "test").gold
    relevant = {query.text: [p for p, grade in gold.qrels()[query.query_id].items() if grade > 0] for query in gold.queries}
    return LiveServer(sources=lambda text, _unit: relevant.get(text, ["p0"]), experiment=serves, **options)  # type: ignore[arg-type]


def run(experiment: Path, live: LiveServer, *options: str | Path) -> Done:
    with running(live):
        return ragtrial_command("simulate-traffic", experiment, "--url", live.url, "--queries", "60", "--users", "10", *options)


def test_the_summary_tells_what_happened(experiment: Path) -> None:
    live = server(experiment)
    done = run(experiment, live)
    assert done.code == 0, done.err
    assert f"{len(live.trials)} logged" in done.out
    assert "p95" in done.out
    assert "questions of simulated users: 60 of 60" in done.err


def test_json_is_one_object_with_every_count(experiment: Path) -> None:
    live = server(experiment, solicits=True)
    done = run(experiment, live, "--json")
    found = json.loads(done.out)
    assert done.err == ""
    assert found["answers"] == found["acknowledged"]["trial"] == len(live.trials)
    assert sum(found["thumbs"].values()) == found["acknowledged"]["vote"] == len(live.votes)
    assert found["requests"] == len(live.requests)
    assert found["latency_ms"]["p50"] > 0


def test_the_ledger_names_everything_that_was_acknowledged(experiment: Path, tmp_path: Path) -> None:
    live = server(experiment)
    run(experiment, live, "--quiet", "--ledger", tmp_path / "ledger.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert Counter(row["kind"] for row in rows)["trial"] == len(live.trials)
    assert {row["key"] for row in rows if row["kind"] == "vote"} == set(live.votes)


def test_what_went_wrong_is_shown_and_ends_with_1(experiment: Path) -> None:
    def wrong(path: str, _number: int) -> web.Response | None:
        return web.json_response({"error": {"message": "no such trial"}}, status=404) if path == "/v1/events" else None

    done = run(experiment, server(experiment, misdeed=wrong))
    assert done.code == 1
    assert "404: no such trial" in done.out


def test_no_key_is_said_with_the_way_to_get_one(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGTRIAL_KEY")
    done = ragtrial_command("simulate-traffic", experiment)
    assert done.code == 2
    assert "ragtrial keys create" in done.err


def test_the_live_demos_experiment_asks_the_demos_data_with_the_demos_models(repository: Path) -> None:
    demo, live = (load_experiment(repository / "experiments" / name).experiment for name in ("demo.yaml", "live-demo.yaml"))
    assert (live.data, live.chunking, live.arms, live.training) == (demo.data, demo.chunking, demo.arms, demo.training)
    assert live.live is not None
    assert live.name != demo.name


def test_a_service_that_cannot_start_is_said_with_its_own_words(tmp_path: Path) -> None:
    from ragtrial.errors import SetupError

    with (
        pytest.raises(SetupError, match="ended with code 2 before it was ready"),
        child_service(tmp_path / "none.yaml", log=tmp_path / "serve.log"),
    ):
        pass


def test_a_service_of_another_experiment_is_refused_before_the_first_question(experiment: Path) -> None:
    live = server(experiment, serves="portwright-live")
    done = run(experiment, live)
    assert done.code == 2
    assert f"the service at {live.url} serves 'portwright-live', not 'small'" in done.err
    assert live.trials == {}
