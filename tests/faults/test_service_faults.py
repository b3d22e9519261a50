"""What users get, and what is counted, where a part of the live service is gone: over HTTP, with real servers behind it."""

import shutil
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from pymilvus import MilvusClient

from live_service import Live, live, live_experiment
from ragtrial.db.live_reader import LiveReader
from ragtrial.formats.experiment import load_experiment, sql_url
from servers import milvus_server, postgres_server

UNITS = [f"user {number}" for number in range(40)]


def changed(path: Path, **stores: str) -> Path:
    """The experiment on other stores."""
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "stores": {**content.get("stores", {}), **stores}}, sort_keys=False))
    return path


@dataclass
class Got:
    """Answers by status, and the trials that were answered for."""

    statuses: Counter[int] = field(default_factory=Counter)
    trials: list[str] = field(default_factory=list)
    last: httpx.Response | None = None

    def ask(self, client: httpx.Client, unit: str) -> httpx.Response:
        self.last = client.post("/v1/ask", json={"query": "where is the anchor", "unit": unit})
        self.statuses[self.last.status_code] += 1
        if self.last.status_code == 200:
            self.trials.append(self.last.json()["trial_id"])
        return self.last


def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


def not_ready(client: httpx.Client, what: str) -> bool:
    response = client.get("/readyz")
    return response.status_code == 503 and what in response.text.lower()


@pytest.fixture
def postgres() -> Iterator[postgres_server.Server]:
    reason = postgres_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_server.stoppable() as server:
        yield server


def logged(service: Live) -> tuple[LiveReader, int]:
    file = load_experiment(service.path)
    reader = LiveReader(sql_url(file))
    return reader, reader.live_id(file.experiment)


@pytest.mark.parametrize("availability", ["refuse", "unlogged"])
def test_the_database_stops_and_starts_again(availability: str, postgres: postgres_server.Server, tmp_path: Path) -> None:
    path = changed(live_experiment(tmp_path, availability=availability), sql=postgres.url)
    got, meanwhile = Got(), Got()
    with live(path) as service, service.client("operator") as client:
        for unit in UNITS[:5]:
            got.ask(client, unit)
        vote = {"trial_id": got.trials[0], "thumb": "up", "key": "a vote"}
        postgres.stop()
        for unit in UNITS[:5]:
            answer = meanwhile.ask(client, unit)
            if availability == "refuse":
                assert "retry-after" in answer.headers
        refused_vote = client.post("/v1/feedback", json=vote)
        assert (refused_vote.status_code, "retry-after" in refused_vote.headers) == (503, True)
        until(lambda: not_ready(client, "database"))
        postgres.start()
        until(lambda: got.ask(client, UNITS[0]).status_code == 200 and got.last is not None and got.last.json().get("logged", True))
        assert client.post("/v1/feedback", json=vote).json()["outcome"] == "recorded"
        reader, live_id = logged(service)
        with reader:
            until(lambda: sum(outage.refused + outage.unlogged for outage in reader.outages(live_id)) >= 5)
            outages = reader.outages(live_id)
            known = {trial.trial_id for trial in reader.recent(live_id, limit=1000)}
    status = 503 if availability == "refuse" else 200
    assert meanwhile.statuses == {status: 5}
    assert known >= set(got.trials[:5]), "what was answered for before is there"
    assert not known & set(meanwhile.trials), "an answer that was said to be unlogged is in the log"
    lost = sum(outage.refused + outage.unlogged for outage in outages)
    assert lost >= 5, "the outage is marked with what it cost"


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[str]:
    reason = milvus_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / "milvus"
    folder.mkdir()
    with milvus_server.running(folder) as address:
        yield address


def test_one_arms_collection_is_dropped_and_its_users_get_the_baseline(milvus: str, tmp_path: Path) -> None:
    path = changed(live_experiment(tmp_path), milvus=milvus)
    got = Got()
    with live(path) as service, service.client("operator") as client:
        before = {unit: got.ask(client, unit).json()["arm"] for unit in UNITS}
        assert set(before.values()) == {"baseline", "custom"}
        store = MilvusClient(uri=milvus)
        custom = next(alias for name in store.list_collections() for alias in store.list_aliases(name)["aliases"] if "custom" in alias)
        collection = store.describe_alias(custom)["collection_name"]
        store.drop_alias(custom)
        store.drop_collection(collection)
        store.close()
        answers = {unit: got.ask(client, unit) for unit in UNITS}
        assert {answer.status_code for answer in answers.values()} == {200}, "nobody is without an answer"
        assert {answer.json()["arm"] for answer in answers.values()} == {"baseline"}
        fell_back = [unit for unit, answer in answers.items() if answer.json()["assignment_reason"] == "fallback"]
        assert fell_back == [unit for unit in UNITS if before[unit] == "custom"]
        until(lambda: client.get("/v1/experiments/small").json()["traffic"]["stopped"])
        reader, live_id = logged(service)
        with reader:
            state = reader.traffic(live_id)
            exposure = reader.exposure(live_id, experiment=load_experiment(path).experiment)
    assert (state.stopped, state.actor) == (True, "guardrail")
    assert "failed" in state.reason
    assert exposure.failed["custom"] == len(fell_back), "the failures are those of the arm that was assigned"
    assert exposure.in_both == 0, "a user who got the baseline in its place was not exposed to it"


def test_milvus_is_gone(tmp_path: Path) -> None:
    reason = milvus_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / "milvus"
    folder.mkdir()
    got = Got()
    server = milvus_server.running(folder)
    path = changed(live_experiment(tmp_path), milvus=server.__enter__())
    gone = False
    try:
        with live(path) as service, service.client("operator") as client:
            got.ask(client, UNITS[0])
            server.__exit__(None, None, None)
            gone = True
            answer = got.ask(client, UNITS[1])
            assert answer.status_code in (502, 503)
            until(lambda: not_ready(client, "milvus"))
            assert client.get("/healthz").status_code == 200
            vote = {"trial_id": got.trials[0], "thumb": "down", "key": "still"}
            assert client.post("/v1/feedback", json=vote).json()["outcome"] == "recorded", "votes need no Milvus"
            reader, live_id = logged(service)
            with reader:
                failed = [trial for trial in reader.recent(live_id, limit=100) if trial.trial.failure is not None]
    finally:
        if not gone:
            server.__exit__(None, None, None)
    assert got.statuses[200] == 1
    assert failed, "the failed trial is in the log"
    assert {trial.trial.failure.stage for trial in failed if trial.trial.failure} == {"search"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("a disk that is full is a small tmpfs, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_disk_is_full_and_has_room_again(small_disk: Path, tmp_path: Path) -> None:
    path = changed(live_experiment(tmp_path / "files"), sql=f"sqlite:///{small_disk / 'log.db'}")
    got, meanwhile = Got(), Got()
    with live(path) as service, service.client("operator") as client:
        got.ask(client, UNITS[0])
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 65_536))
        until(lambda: meanwhile.ask(client, UNITS[1]).status_code == 503)
        assert meanwhile.last is not None
        assert "retry-after" in meanwhile.last.headers
        filler.unlink()
        until(lambda: got.ask(client, UNITS[2]).status_code == 200)
        reader, live_id = logged(service)
        with reader:
            until(lambda: bool(reader.outages(live_id)))
            outages = reader.outages(live_id)
            known = {trial.trial_id for trial in reader.recent(live_id, limit=10_000)}
    assert set(meanwhile.statuses) <= {200, 503}
    assert known >= {*got.trials, *meanwhile.trials}, "what was answered for is there, also what still had room"
    assert any("full" in outage.reason for outage in outages)


def set_back(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set ragtrial's clock back, and no other: gRPC's two halves read the clock by different ways, and only one of them could be set."""
    clock = types.SimpleNamespace(**{**vars(time), "time": lambda: time.time() - seconds})
    for name, module in list(sys.modules.items()):
        if name.startswith("ragtrial.") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", clock)


def test_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = live_experiment(tmp_path)
    got = Got()
    with live(path) as service, service.client("operator") as client:
        for unit in UNITS[:10]:
            got.ask(client, unit)
        set_back(monkeypatch, 3600)
        for unit in UNITS[:10]:
            got.ask(client, unit)
        votes = [client.post("/v1/feedback", json={"trial_id": trial, "thumb": "up"}).json()["outcome"] for trial in got.trials]
        stopped = client.post("/v1/experiments/small/traffic", json={"stopped": True, "reason": "the clock"})
        assert stopped.status_code == 200
        again = got.ask(client, UNITS[0])
        assert again.status_code == 200, again.text
        assert again.json()["arm"] == "baseline", "the newest version holds, whatever time it is stamped with"
        reader, live_id = logged(service)
        with reader:
            known = {trial.trial_id for trial in reader.recent(live_id, limit=1000)}
            backwards = reader.times(live_id).backwards
    assert got.statuses == {200: 21}
    assert set(got.trials) == known
    assert set(votes) == {"recorded"}
    assert backwards == 11, "trials that go back in time are counted, and the analysis warns of them"
