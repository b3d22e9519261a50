"""The log's database is stopped under a running service, and started again: what HTTP clients get."""

import time
from pathlib import Path

import httpx
import pytest

from live_service import Live, live, live_experiment
from over_http import until_ready
from servers import postgres_server

pytestmark = pytest.mark.skipif(postgres_server.why_not() is not None, reason=str(postgres_server.why_not()))


def ask(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/ask", json={"query": "where is the anchor", "unit": "u"})


def until_not_ready(service: Live, *, within_s: float = 60.0) -> httpx.Response:
    deadline = time.monotonic() + within_s
    while (response := httpx.get(f"{service.url}/readyz", timeout=30)).status_code == 200:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.05)
    return response


def until_logged(client: httpx.Client, *, within_s: float = 60.0) -> str:
    deadline = time.monotonic() + within_s
    while (answer := ask(client)).status_code != 200 or not answer.json()["logged"]:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer.json()["trial_id"]


def test_without_its_database_the_service_refuses_says_so_and_recovers_by_itself(tmp_path: Path) -> None:
    with postgres_server.stoppable() as server:
        path = live_experiment(tmp_path, stores={"sql": server.url})
        with live(path) as service, service.client("operator") as client:
            before = until_logged(client)
            server.stop()
            refused = until_not_ready(service)
            assert refused.status_code == 503
            assert (refused.json()["database"], refused.json()["milvus"]) == ("out of reach", None)
            assert httpx.get(f"{service.url}/healthz").status_code == 200
            time.sleep(1)
            for response in (ask(client), client.get("/v1/experiments")):
                assert response.status_code == 503, response.text
                assert int(response.headers["Retry-After"]) >= 1
                assert "pgserver" not in response.text
                assert str(tmp_path) not in response.text
            server.start()
            until_ready(service.url)
            after = until_logged(client)
            for trial in (before, after):
                assert client.get(f"/v1/trials/{trial}").status_code == 200


def test_where_availability_comes_first_known_keys_get_the_baseline_unlogged(tmp_path: Path) -> None:
    with postgres_server.stoppable() as server:
        path = live_experiment(tmp_path, stores={"sql": server.url}, availability="unlogged")
        with live(path) as service, service.client("operator") as client:
            until_logged(client)
            server.stop()
            deadline = time.monotonic() + 60
            while (answer := ask(client)).status_code != 200 or answer.json()["logged"]:
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.2)
            assert answer.json()["arm"] == "baseline"
            vote = client.post("/v1/feedback", json={"trial_id": answer.json()["trial_id"], "thumb": "up"})
            assert vote.status_code == 503
            stranger = httpx.get(f"{service.url}/v1/models", headers={"Authorization": "Bearer rt_never_seen"}, timeout=30)
            assert stranger.status_code == 503
            server.start()
            until_ready(service.url)
            until_logged(client)
