"""Who gets in: every route refuses whoever may not use it, and keys stop working when they are revoked."""

import asyncio
import json
import re
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from commands import ragtrial_command
from live_service import LIVE, PEPPER, Live, live, live_experiment, make_key
from material import write_beir_folder, write_experiment
from over_http import StandIn, running
from ragtrial.api.access import KeyGate, Needs, OpenGate, TokenBucket
from ragtrial.api.app import create_app
from ragtrial.db.keys import KeyStore
from ragtrial.db.pepper import pepper_for
from ragtrial.domain.access import SCOPES, ApiKey
from ragtrial.errors import SetupError, StoreError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.serving.asking import fallback_id, twin_id
from ragtrial.settings import read_settings

OPEN = {"/healthz", "/readyz"}
ANSWER = {"query": "where is the anchor", "unit": "u1"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(live_experiment(tmp_path_factory.mktemp("access"))) as served:
        yield served


def routes(app: FastAPI) -> list[tuple[str, str, Needs | None]]:
    """Every route with a method and the dependency that guards it."""
    found = []
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"\{[^}]+\}", "something", route.path or "")
        guards = [dependency.call for dependency in route.dependant.dependencies if isinstance(dependency.call, Needs)]
        assert len(guards) <= 1, path
        found += [(method, path, guards[0] if guards else None) for method in sorted(route.methods or ())]
    return found


def test_every_route_but_health_and_readiness_refuses_requests_without_a_key(service: Live) -> None:
    walked = routes(service.app)
    assert {path for _, path, guard in walked if guard is None} == OPEN
    assert len(walked) > 12
    with service.client(None) as client:
        for method, path, guard in walked:
            response = client.request(method, path, json={} if method == "POST" else None)
            if guard is None:
                assert response.status_code == 200, path
            else:
                assert response.status_code == 401, (method, path, response.text)
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "authorization",
    ["Bearer rt_nobody_knows", "Bearer", "Basic dXNlcjpwYXNz", "Bearer \u00e4\u00f6", f"Bearer {'x' * 4000}"],
    ids=["unknown", "empty", "basic", "not ascii", "long"],
)
def test_every_route_refuses_what_is_no_key(service: Live, authorization: str) -> None:
    with httpx.Client(base_url=service.url, headers=[(b"Authorization", authorization.encode("latin-1"))]) as client:
        for method, path, guard in routes(service.app):
            if guard is not None:
                assert client.request(method, path, json={} if method == "POST" else None).status_code == 401, (method, path)


def test_every_route_refuses_a_key_whose_secret_is_wrong(service: Live) -> None:
    wrong = service.keys["admin"][:-1] + ("a" if service.keys["admin"][-1] != "a" else "b")
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {wrong}"}) as client:
        for method, path, guard in routes(service.app):
            if guard is not None:
                assert client.request(method, path, json={} if method == "POST" else None).status_code == 401, (method, path)


def test_every_route_refuses_a_revoked_key_within_a_second(service: Live) -> None:
    key = make_key(service.path, "admin")
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/models").status_code == 200
        done = ragtrial_command("keys", "revoke", service.path, key.split("_")[1])
        assert done.code == 0, done.err
        time.sleep(1)
        for method, path, guard in routes(service.app):
            if guard is not None:
                assert client.request(method, path, json={} if method == "POST" else None).status_code == 401, (method, path)


def test_a_role_that_is_none_is_said_with_the_choices_and_without_pydantics_words(service: Live) -> None:
    taken = ragtrial_command("keys", "create", service.path, "live demo")
    assert taken.code == 2
    assert "choose another" in taken.err
    done = ragtrial_command("keys", "create", service.path, "x", "--role", "nobody")
    assert done.code == 2
    assert "Invalid value for '--role': 'nobody' is not one of 'viewer', 'tester', 'operator', 'admin'." in done.err


@pytest.mark.parametrize("role", ["viewer", "tester", "operator", "admin"])
def test_every_route_refuses_a_role_that_is_too_low(service: Live, role: str) -> None:
    with service.client(role) as client:
        for method, path, guard in routes(service.app):
            if guard is None:
                continue
            status = client.request(method, path, json={} if method == "POST" else None).status_code
            allowed = guard.scope is None or guard.scope in SCOPES[role]  # type: ignore[index]  # one of the roles
            assert (status == 403) == (not allowed), (method, path, status)
            assert status != 401


def test_a_key_limited_to_asking_can_not_vote_or_read(service: Live) -> None:
    key = make_key(service.path, "operator", scopes=["ask"])
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as client:
        for method, path, guard in routes(service.app):
            if guard is not None:
                status = client.request(method, path, json={} if method == "POST" else None).status_code
                assert (status == 403) == (guard.scope not in ("ask", None)), (method, path, status)


def test_keys_pass_only_with_the_pepper_they_were_made_with(service: Live) -> None:
    with KeyStore(sql_url(load_experiment(service.path))) as store:
        assert store.find(service.keys["viewer"], PEPPER) is not None
        assert store.find(service.keys["viewer"], "another") is None


def test_testers_learn_no_arm_and_choose_none_and_operators_do_both(service: Live) -> None:
    with service.client("tester") as tester, service.client("operator") as operator:
        seen = tester.post("/v1/ask", json=ANSWER).json()
        assert (seen["arm"], seen["assignment_reason"]) == (None, None)
        assert "custom" not in str(seen)
        assert "baseline" not in str(seen)
        assert tester.post("/v1/ask", json={**ANSWER, "arm": "custom"}).status_code == 403
        chosen = operator.post("/v1/ask", json={**ANSWER, "arm": "custom"}).json()
        assert (chosen["arm"], chosen["assignment_reason"]) == ("custom", "override")
        unknown = operator.post("/v1/ask", json={**ANSWER, "arm": "third"})
        assert unknown.status_code == 404
        assert "custom" in unknown.json()["error"]["message"]


def test_only_keys_that_may_assert_a_user_are_believed_about_the_header(service: Live) -> None:
    trusted = make_key(service.path, "operator", may_assert_user=True)
    reasons = []
    for key in (service.keys["operator"], trusted):
        headers = {"Authorization": f"Bearer {key}", "X-User-Id": "someone"}
        reasons.append(httpx.post(f"{service.url}/v1/ask", headers=headers, json={"query": "anchor"}).json()["assignment_reason"])
    assert reasons == ["no unit", "split"]


def test_a_user_who_sends_the_header_past_a_proxy_that_adds_its_own_is_refused(service: Live) -> None:
    trusted = make_key(service.path, "operator", may_assert_user=True)
    headers = [("Authorization", f"Bearer {trusted}"), ("X-User-Id", "somebody else"), ("X-User-Id", "me")]
    response = httpx.post(f"{service.url}/v1/ask", headers=headers, json={"query": "anchor"})
    assert response.status_code == 400
    assert "X-User-Id" in response.json()["error"]["message"]


def test_a_tester_cannot_find_out_by_a_vote_whether_another_arm_stood_in(service: Live) -> None:
    with service.client("operator") as operator:
        trial_id = operator.post("/v1/ask", json=ANSWER).json()["trial_id"]
    with service.client("tester") as tester:
        words = set()
        for guess in (fallback_id(trial_id), twin_id(trial_id), "trial_that_never_was"):
            refused = tester.post("/v1/feedback", json={"trial_id": guess, "thumb": "up"})
            assert refused.status_code == 404
            words.add(refused.json()["error"]["message"].replace(guess, "..."))
    assert len(words) == 1


def test_a_key_with_a_rate_is_told_when_to_come_back(service: Live) -> None:
    slow = make_key(service.path, "tester", rate_per_minute=6)
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {slow}"}) as client:
        assert client.get("/v1/models").status_code == 200
        refused = client.get("/v1/models")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    with service.client("tester") as other:
        assert other.get("/v1/models").status_code == 200


def test_a_bucket_gives_ten_seconds_worth_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(60, now=0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == 1.0
    assert bucket.take(1.0) == 0.0
    assert bucket.take(1.25) == pytest.approx(0.75)
    assert [bucket.take(1000.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(1000.0) > 0


def test_many_requests_with_one_key_look_it_up_once_and_a_second_later_again() -> None:
    asked, now = [], [0.0]

    def find(token: str) -> ApiKey | None:
        asked.append(token)
        time.sleep(0.02)
        return ApiKey(prefix="p", name="n", role="viewer", created_at=0.0)

    async def many() -> None:
        gate = KeyGate(find, clock=lambda: now[0])
        await asyncio.gather(*(gate.admit("rt_p_s") for _ in range(50)))
        assert len(asked) == 1
        now[0] = 1.0
        await gate.admit("rt_p_s")
        assert len(asked) == 2

    asyncio.run(many())


def test_without_the_database_known_keys_are_believed_and_others_are_not() -> None:
    down, now = [False], [0.0]

    def find(token: str) -> ApiKey | None:
        if down[0]:
            raise StoreError("gone")
        return ApiKey(prefix="p", name="n", role="viewer", created_at=0.0) if token == "rt_p_s" else None  # noqa: S105

    async def story() -> None:
        gate = KeyGate(find, clock=lambda: now[0])
        assert (await gate.admit("rt_p_s")).name == "n"
        down[0], now[0] = True, 5.0
        assert (await gate.admit("rt_p_s")).name == "n"
        with pytest.raises(StoreError):
            await gate.admit("rt_never_seen")

    asyncio.run(story())


def test_the_pepper_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = read_settings({})
    url = f"sqlite:///{tmp_path}/.ragtrial/ragtrial.db"
    first = pepper_for(url, tmp_path, settings)
    assert pepper_for(url, tmp_path, settings) == first
    file = tmp_path / ".ragtrial" / "key-pepper"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(first) == 64
    assert pepper_for("postgresql://host/db", tmp_path, settings) == first, "beside the experiment where the database is elsewhere"
    assert pepper_for(url, tmp_path, read_settings({"RAGTRIAL_KEY_PEPPER": "given"})) == "given"


def test_a_pepper_that_others_may_read_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ragtrial.db"
    pepper_for(url, tmp_path, read_settings({}))
    (tmp_path / "key-pepper").chmod(0o644)
    with pytest.raises(SetupError, match="chmod 600"):
        pepper_for(url, tmp_path, read_settings({}))


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "live.yaml", write_beir_folder(tmp_path / "data", n_passages=5, n_queries=2), live=LIVE)
    made = ragtrial_command(
        "keys", "create", path, "the portal", "--role", "tester", "--scope", "ask", "--scope", "feedback", "--rate-per-minute", "90"
    )
    assert made.code == 0, made.err
    key = made.out.strip()
    assert re.fullmatch(r"rt_[0-9a-zA-Z]+_\S+", key)
    listed = ragtrial_command("keys", "list", path).out
    assert "the portal: tester (ask, feedback), 90 a minute, valid" in listed
    assert key not in listed
    assert key.split("_", 2)[2].encode() not in (tmp_path / ".ragtrial" / "ragtrial.db").read_bytes()
    assert ragtrial_command("keys", "revoke", path, key.split("_")[1]).code == 0
    assert json.loads(ragtrial_command("keys", "list", path, "--json").out)[0]["revoked_at"] is not None
    assert ragtrial_command("keys", "revoke", path, "nobody").code == 2
    assert ragtrial_command("keys", "create", path, "x", "--role", "tester", "--scope", "operate").code == 2


def test_the_service_refuses_to_start_without_keys_and_says_how_to_make_one(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "live.yaml", write_beir_folder(tmp_path / "data", n_passages=5, n_queries=2), live=LIVE)
    refused = ragtrial_command("serve", path)
    assert refused.code == 2
    assert "ragtrial keys create" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-auth", "--host", "0.0.0.0"], "everyone in reach would be admin"),  # noqa: S104 - that it is refused is the point
        (["--no-auth", "--workers", "2"], "Milvus Lite"),
    ],
)
def test_the_service_refuses_what_is_unsafe_or_can_not_work(tmp_path: Path, options: list[str], said: str) -> None:
    path = write_experiment(tmp_path / "live.yaml", write_beir_folder(tmp_path / "data", n_passages=5, n_queries=2), live=LIVE)
    refused = ragtrial_command("serve", path, *options)
    assert refused.code == 2
    assert said in refused.err


def test_an_open_service_answers_to_loopback_names_alone() -> None:
    app = create_app(StandIn(), None, sql_url="sqlite:///nowhere.db")
    with running(app) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200
        foreign = httpx.get(f"{url}/v1/models", headers={"Host": "evil.example"})
        assert foreign.status_code == 400


def test_the_open_gate_lets_everyone_in_as_admin() -> None:
    assert asyncio.run(OpenGate().admit(None)).role == "admin"


def test_a_database_that_hangs_is_asked_once_and_known_keys_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragtrial.api.access._PATIENCE_S", 0.05)
    answers, asked = threading.Event(), []
    answers.set()

    def find(token: str) -> ApiKey | None:
        asked.append(token)
        answers.wait(10)
        return ApiKey(prefix="a", name="portal", role="tester", created_at=0.0)

    async def run() -> list[str]:
        now = [0.0]
        gate = KeyGate(find, clock=lambda: now[0])
        await gate.admit("rt_a_secret")
        answers.clear()
        names = []
        for _ in range(3):
            now[0] += 1
            names.append((await gate.admit("rt_a_secret")).name)
        with pytest.raises(StoreError, match="has not answered"):
            await gate.admit("rt_b_secret")
        answers.set()
        return names

    assert asyncio.run(run()) == ["portal"] * 3
    assert asked == ["rt_a_secret", "rt_a_secret", "rt_b_secret"]


def test_analyses_that_many_wait_for_hold_up_nobody_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = threading.Event()

    def slow(_reader: object) -> dict[str, object]:
        done.wait(120)
        return {}

    with live(live_experiment(tmp_path_factory.mktemp("slow")), analyse=slow) as service, service.client("operator") as operator:
        name = operator.get("/v1/experiments").json()["experiments"][0]["name"]

        async def run() -> list[int]:
            async with httpx.AsyncClient(base_url=service.url, headers=operator.headers, timeout=120) as client:
                waiting = [asyncio.create_task(client.get(f"/v1/experiments/{name}/analysis")) for _ in range(60)]
                await asyncio.sleep(1)
                async with asyncio.timeout(60):
                    stopped = await client.post(f"/v1/experiments/{name}/traffic", json={"stopped": True, "reason": "slow"})
                    with service.client("tester") as tester:  # a key that was not looked up yet
                        asked = await asyncio.to_thread(tester.post, "/v1/ask", json=ANSWER)
                done.set()
                return [stopped.status_code, asked.status_code, *(one.status_code for one in await asyncio.gather(*waiting))]

        try:
            assert set(asyncio.run(run())) == {200}
        finally:
            done.set()
