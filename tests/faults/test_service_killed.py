"""`ragtrial serve` is killed with SIGKILL under load, again and again: what was answered for is in the database, and nothing is twice."""

import contextlib
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import create_engine, text

from killing import Driver
from live_service import PEPPER, live_experiment, make_key
from over_http import until_ready
from repeating import times
from servers import postgres_server

KILLS = times(30, 8)
CLIENTS = 6


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    before = os.environ.get("RAGTRIAL_KEY_PEPPER")
    os.environ["RAGTRIAL_KEY_PEPPER"] = PEPPER
    driver = Driver(
        "uvicorn", "uvloop", "httptools", "fastapi", "ragtrial.api.factory", "ragtrial.suite.serving", "milvus_lite", "alembic.command"
    )
    yield driver
    driver.process.kill()
    driver.process.wait()
    os.environ.pop("RAGTRIAL_KEY_PEPPER") if before is None else os.environ.update(RAGTRIAL_KEY_PEPPER=before)


@dataclass
class Acknowledged:
    """What clients were told, and what they asked again because they were not told."""

    trials: list[str] = field(default_factory=list)
    votes: list[tuple[str, str]] = field(default_factory=list)
    replays: int = 0
    unanswered: list[tuple[dict, str]] = field(default_factory=list)  # bodies with their idempotency keys


class Client(threading.Thread):
    """A front end that asks and votes until the service is gone, and asks again under the same key what got no answer."""

    def __init__(self, url: str, key: str, told: Acknowledged, number: int) -> None:
        super().__init__()
        self.url, self.key, self.told = url, key, told
        self.rng = random.Random(number)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=10) as client:
            while self.told.unanswered:
                try:
                    body, key = self.told.unanswered.pop()
                except IndexError:
                    break
                if not self.ask(client, body, key):
                    return
                self.told.replays += 1
            while self.ask(client, {"query": f"anchor {self.rng.random()}", "unit": f"u{self.rng.randrange(200)}"}, uuid.uuid4().hex):
                pass

    def ask(self, client: httpx.Client, body: dict, key: str) -> bool:
        try:
            answer = client.post("/v1/ask", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            self.told.unanswered.append((body, key))
            return False
        assert answer.status_code == 200, answer.text
        trial = answer.json()["trial_id"]
        self.told.trials.append(trial)
        vote = uuid.uuid4().hex
        with contextlib.suppress(httpx.TransportError):
            response = client.post("/v1/feedback", json={"trial_id": trial, "thumb": self.rng.choice(["up", "down"]), "key": vote})
            assert response.status_code == 200, response.text
            self.told.votes.append((trial, vote))
            return True
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def killed_again_and_again(driver: Driver, path: Path, key: str, kills: int) -> Acknowledged:
    told = Acknowledged()
    rng = random.Random(7)
    for number in range(kills):
        port = free_port()
        pid = driver.start("serve", str(path), "--port", str(port), "--log-level", "error")
        url = f"http://127.0.0.1:{port}"
        until_ready(url)
        clients = [Client(url, key, told, number * CLIENTS + each) for each in range(CLIENTS)]
        for client in clients:
            client.start()
        heard, patience = len(told.trials), time.monotonic() + 60.0
        while len(told.trials) < heard + 4 and time.monotonic() < patience:  # under load, however slow the machine is
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.4))
        os.kill(pid, signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
        for client in clients:
            client.join()
    return told


def check(url: str, told: Acknowledged, kills: int) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        trials = Counter(row[0] for row in connection.execute(text("select trial_id from live_trials")))
        keys = Counter(row[0] for row in connection.execute(text("select idempotency_key from live_trials where served")))
        votes = Counter(
            (row[0], row[1])
            for row in connection.execute(text("select t.trial_id, v.key from live_votes v join live_trials t on t.id = v.trial"))
        )
    engine.dispose()
    assert len(told.trials) > 3 * kills, "there was hardly any load"
    assert len(told.votes) > kills
    lost = set(told.trials) - set(trials)
    assert not lost, f"{len(lost)} of {len(told.trials)} acknowledged trials are lost"
    assert not set(told.votes) - set(votes), "acknowledged votes are lost"
    assert {count for counter in (trials, keys, votes) for count in counter.values()} == {1}, "something is there twice"
    assert told.replays > 0, "no request was cut off, so that none was asked again"
    assert len(set(told.trials)) == len(told.trials), "two requests got one trial"


@pytest.mark.slow
def test_nothing_answered_for_is_lost_in_sqlite(driver: Driver, tmp_path: Path) -> None:
    path = live_experiment(tmp_path)
    told = killed_again_and_again(driver, path, make_key(path, "admin"), KILLS)
    check(f"sqlite:///{path.parent / '.ragtrial' / 'ragtrial.db'}", told, KILLS)


@pytest.mark.slow
@pytest.mark.skipif(postgres_server.why_not() is not None, reason=str(postgres_server.why_not()))
def test_nothing_answered_for_is_lost_in_postgresql(driver: Driver, tmp_path: Path) -> None:
    with postgres_server.running() as server, postgres_server.fresh_database(server, "killed") as url:
        path = live_experiment(tmp_path)
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, "stores": {**content.get("stores", {}), "sql": url}}, sort_keys=False))
        told = killed_again_and_again(driver, path, make_key(path, "admin"), KILLS)
        check(url, told, KILLS)
