"""`ragtrial dashboard` as a process: what it opens on, what it refuses, how it starts and how it ends; and `ragtrial members`."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from board_pages import PEPPER, SmallBoard, Visit, chromium, free_port, make_key, small_board
from commands import ragtrial_command
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.db.schema import downgrade

pytestmark = pytest.mark.slow

RAGTRIAL = Path(sys.executable).parent / "ragtrial"
HTML = {"Accept": "text/html"}


@dataclass(frozen=True, kw_only=True)
class Started:
    """`ragtrial dashboard`, running: its process, its address, and where it writes what it says."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def said(self) -> str:
        return self.log.read_text()


@contextlib.contextmanager
def started(folder: Path, *arguments: str | Path, log: Path) -> Iterator[Started]:
    """The command in a folder, once its pages answer."""
    port = free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [RAGTRIAL, "dashboard", *arguments, "--port", str(port), "--no-browser"],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAGTRIAL_KEY_PEPPER": PEPPER},
        )
    running = Started(process=process, url=f"http://127.0.0.1:{port}", log=log)
    try:
        until(lambda: "Ctrl+C ends it" in running.said() or process.poll() is not None)
        assert process.poll() is None, running.said()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, running.said()
        assert "Traceback" not in running.said()


def until(holds: Callable[[], object], *, within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.1)


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/_stcore/health").status_code == 200
    return False


def test_in_an_empty_folder_it_says_what_to_run_and_goes_on_by_itself(tmp_path: Path) -> None:
    small = small_board(tmp_path / "elsewhere")
    here = tmp_path / "here"
    here.mkdir()
    with started(here, log=tmp_path / "log") as running, chromium() as browser, Visit(browser, running.url) as visit:
        assert "there is no database here yet" in running.said()
        assert "Nothing was measured yet" in visit.text()
        for command in ("ragtrial demo", "ragtrial evaluate", "ragtrial live-demo"):
            visit.page.get_by_text(command).first.wait_for()
        assert list(here.iterdir()) == [], "looking makes nothing"
        shutil.copytree(small.path.parent / ".ragtrial", here / ".ragtrial")
        visit.page.wait_for_function("document.title.includes('small')")
        assert visit.outside() == []


def test_it_opens_on_the_database_that_was_written_last_and_names_the_others(tmp_path: Path) -> None:
    for place in (".", "experiments", "ragtrial-demo/experiments"):
        small_board(tmp_path / place)
    newest = tmp_path / "experiments" / ".ragtrial" / "ragtrial.db"
    os.utime(newest, (time.time() + 60, time.time() + 60))
    with started(tmp_path, log=tmp_path / "log") as running:
        said = running.said()
        assert f"database: {newest}" in said
        others = said.partition("not shown")[2]
        assert f"{tmp_path}/.ragtrial/ragtrial.db" in others
        assert f"{tmp_path}/ragtrial-demo/experiments/.ragtrial/ragtrial.db" in others
        assert answers(running.url)


def test_it_concludes_what_is_new_while_it_runs_and_nothing_with_no_roll_up(tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with Reader(small.url) as reader:
        evaluation = reader.evaluations()[-1].evaluation_id
    forget_conclusions(tmp_path / ".ragtrial" / "ragtrial.db")
    with BoardReader(small.url) as board:
        with started(tmp_path, "--no-roll-up", small.path, log=tmp_path / "log"):
            time.sleep(3)
            assert board.conclusion(evaluation) is None
        with started(tmp_path, small.path, log=tmp_path / "log"):
            until(lambda: board.conclusion(evaluation) is not None)


def forget_conclusions(path: Path) -> None:
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM conclusions")
        connection.execute("DELETE FROM query_outcomes")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl+C", "SIGTERM"])
def test_it_ends_in_order_with_its_server_also_while_somebody_looks(tmp_path: Path, how: signal.Signals) -> None:
    small = small_board(tmp_path)
    with started(tmp_path, small.path, log=tmp_path / "log") as running, chromium() as browser, Visit(browser, running.url):
        running.process.send_signal(how)
        assert running.process.wait(60) == 0
        assert not answers(running.url)


def test_its_server_ends_with_it_even_where_it_is_killed(tmp_path: Path) -> None:
    small = small_board(tmp_path)
    with started(tmp_path, small.path, log=tmp_path / "log") as running:
        running.process.kill()
        running.process.wait()
        until(lambda: not answers(running.url), within_s=60)


def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ragtrial_command("dashboard", "--port", str(port), "--no-browser")
    assert done.code == 2
    assert f"can't listen on 127.0.0.1 port {port}" in done.err
    assert "--port" in done.err


@pytest.fixture
def small(tmp_path: Path) -> SmallBoard:
    return small_board(tmp_path)


def test_an_older_schema_says_what_to_run(small: SmallBoard) -> None:
    downgrade(small.url, "0004")
    done = ragtrial_command("dashboard", small.path, "--no-browser")
    assert done.code == 2
    assert "ragtrial db upgrade" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-auth", "--host", "0.0.0.0"], "everyone in reach would be admin"),  # noqa: S104
        (["--host", "0.0.0.0"], "ragtrial keys create"),  # noqa: S104
        (["--database", "sqlite:///x.db"], "not both"),
        (["--secrets", "none.toml"], "there is no secrets file"),
        (["--secrets", __file__], "ends in .toml"),
    ],
)
def test_what_would_be_unsafe_or_can_not_work_is_refused(small: SmallBoard, arguments: list[str], said: str) -> None:
    done = ragtrial_command("dashboard", small.path, "--no-browser", *arguments)
    assert done.code == 2
    assert said in done.err


def test_without_the_extra_it_says_what_to_install(small: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "streamlit" else found(name, *rest))
    done = ragtrial_command("dashboard", small.path, "--no-browser")
    assert done.code == 2
    assert "pip install 'ragtrial[dashboard]'" in done.err


def test_it_tells_how_people_sign_in_where_keys_were_made(small: SmallBoard, tmp_path: Path) -> None:
    make_key(small.url, "viewer")
    with started(tmp_path, small.path, log=tmp_path / "log") as running:
        assert "people sign in" in running.said()
        assert httpx.get(running.url, headers=HTML).status_code == 303
    with started(tmp_path, small.path, "--no-auth", log=tmp_path / "log") as running:
        assert httpx.get(running.url, headers=HTML).status_code == 200


def test_members_are_added_listed_and_removed_with_a_trail(small: SmallBoard) -> None:
    assert ragtrial_command("members", "list", small.path).out.strip() == "there are no members"
    assert ragtrial_command("members", "add", small.path, "Ada@example.com").out.strip() == "ada@example.com: viewer"
    assert ragtrial_command("members", "add", small.path, "ada@example.com", "--role", "operator").code == 0
    (listed,) = json.loads(ragtrial_command("members", "list", small.path, "--json").out)
    assert (listed["name"], listed["role"], listed["actor"]) == ("ada@example.com", "operator", "command line")
    assert "may not look any more" in ragtrial_command("members", "remove", small.path, "ada@example.com").out
    assert ragtrial_command("members", "list", small.path, "--json").out.strip() == "[]"
    nobody = ragtrial_command("members", "remove", small.path, "eve@example.com")
    assert nobody.code == 2
    assert "there is no member 'eve@example.com'" in nobody.err
    with LiveReader(small.url) as reader:
        assert [entry.action for entry in reader.audit_log()] == ["remove member", "add member", "add member"]
