"""How the commands start their pages: what they tell them, and that nothing on this machine is asked for through a proxy."""

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from fastapi import FastAPI

from commands import ragtrial_command
from over_http import running
from ragtrial.cli import dashboard
from ragtrial.suite import traffic_service

pytest.importorskip("streamlit", reason="streamlit is not installed: there are no pages to start")

from ragtrial_board import tester_told
from ragtrial_board.told import Told


def test_the_dashboard_is_told_exactly_what_it_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    @contextlib.contextmanager
    def server(folder: Path, told: Mapping[str, object]) -> Iterator[None]:
        given.update(told)
        yield

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dashboard, "_server", server)
    monkeypatch.setattr(dashboard.signal, "signal", lambda *_: None)
    monkeypatch.setattr(dashboard, "_until_it_answers", lambda *_: False)
    assert ragtrial_command("dashboard", "--port", "0", "--no-auth").code == 0
    assert set(given) == {field.name for field in dataclasses.fields(Told)}
    assert dataclasses.asdict(Told(**json.loads(json.dumps(given)))) == given


def test_the_testers_page_is_told_exactly_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def instead(program: str, arguments: list[str], environment: Mapping[str, str]) -> NoReturn:
        given.update(environment)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", instead)
    assert ragtrial_command("tester", "--port", "0", "--service", "http://127.0.0.1:8000/").code == 0
    told = json.loads(given[tester_told.VARIABLE])
    assert set(told) == {field.name for field in dataclasses.fields(tester_told.TesterTold)}
    assert tester_told.TesterTold(**told).service == "http://127.0.0.1:8000"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine, in an environment whose proxy leads nowhere."""

    def nothing() -> dict[str, str]:
        return {}

    app = FastAPI()
    for path in ("/_stcore/health", "/readyz", "/v1/models"):
        app.add_api_route(path, nothing)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with running(app) as url:
        yield url


def test_the_commands_wait_for_their_servers_without_a_proxy(here: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dashboard, "_STARTS_WITHIN_S", 1.0)
    alive: Any = SimpleNamespace(poll=lambda: None)
    assert dashboard._until_it_answers(alive, here, threading.Event())
    traffic_service._wait_until_ready(alive, here, tmp_path / "log", 1.0)


def test_no_proxy_gets_the_keys_of_testers_for_a_service_on_this_machine(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = here.rpartition(":")[2]
    for address in (here, f"http://localhost:{port}"):
        monkeypatch.setenv("RAGTRIAL_TESTER", json.dumps({"service": address}))
        tester_told.service_for("rt_a_b").check()
    assert tester_told._client("http://service.example").trust_env, "elsewhere the environment says how to get there"
