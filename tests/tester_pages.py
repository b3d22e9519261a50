"""What tests of the tester's page share: the page over a real service that can be killed, what stands between them, and a tester's browser.

with served_page(tmp_path) as standing, chromium() as browser:
    with Visit(browser, standing.url, standing.key()) as visit:
        visit.ask()
        assert thumbs(standing.log, visit.trial_id) == []
"""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from board_pages import DASHBOARDS, free_port, rest
from forked import Forked, forked
from live_service import LIVE, PEPPER, make_key
from material import write_beir_folder, write_experiment
from over_http import until_ready
from ragtrial.db.keys import KeyStore
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.formats.experiment import load_experiment, sql_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ARMS = ("quartz", "feldspar")
NAME = "tarn-hows"
QUESTION = "what is the anchor of pw0003"
HOSTILE = '<img src="http://outside.example/a.png" onerror="document.title=\'broken\'"> ![b](http://outside.example/b.png) **bold** $x$'
"""In the title and the text of every passage."""
ARABIC = "المرساة ثقيلة جدا"
_PATIENCE_MS = 60_000


class Serving:
    """`ragtrial serve` in a process of its own, which can be killed and comes back at the same address."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path, self.port, self._log = path, free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Forked | None = None

    def start(self) -> None:
        command = ["ragtrial", "serve", self.path, "--port", str(self.port)]
        self._process = forked(command, log=self._log, environment={"RAGTRIAL_KEY_PEPPER": PEPPER})
        until_ready(self.url)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


class Between:
    """What stands between the page and the service: it can hold answers, and lose them when the service has sent them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.losing = False
        self.open = threading.Event()
        self.open.set()
        self.held = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = self._listener.accept()
                threading.Thread(target=self._pair, args=(inside,), daemon=True).start()

    def _pair(self, inside: socket.socket) -> None:
        try:
            outside = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            inside.close()
            return
        threading.Thread(target=self._copy, args=(inside, outside, False), daemon=True).start()
        self._copy(outside, inside, True)

    def _copy(self, origin: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while some := origin.recv(65536):
                if answers:
                    self.held += not self.open.is_set()
                    self.open.wait(120)
                if answers and self.losing:
                    break
                target.sendall(some)
        for end in (origin, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The page and what is behind it.

    Attributes:
        url: Of the page.
        service: That is asked.
        between: What the page takes for the service.
        log: Of the service.
        log_url: Its SQLAlchemy URL.
    """

    url: str
    service: Serving
    between: Between
    log: LiveReader
    log_url: str

    def key(self, name: str = "a tester", **limits: int) -> str:
        """A new tester's key."""
        with KeyStore(self.log_url) as store:
            return store.create(name, "tester", pepper=PEPPER, **limits)

    def revoke(self, key: str) -> None:
        """Take a key back, and wait until the service refuses it."""
        with KeyStore(self.log_url) as store:
            store.revoke(key.split("_")[1], "tests")
        bearer = {"Authorization": f"Bearer {key}"}
        wait_until(lambda: httpx.get(f"{self.service.url}/v1/models", headers=bearer).status_code == 401)


@contextlib.contextmanager
def served_page(folder: Path, **changes: object) -> Iterator[Standing]:
    """The tester's page over a service with two arms, whose passages are hostile; `changes` replace keys of its experiment."""
    path = _experiment(folder, **changes)
    log_url = sql_url(load_experiment(path))
    make_key(path, "tester")
    service = Serving(path, folder / "serve.log")
    try:
        service.start()
        with (
            contextlib.closing(Between(service.port)) as between,
            page_server(between.url, folder / "page.log") as url,
            LiveReader(log_url) as log,
        ):
            yield Standing(url=url, service=service, between=between, log=log, log_url=log_url)
    finally:
        service.kill()


def _experiment(folder: Path, **changes: object) -> Path:
    data = write_beir_folder(folder / "data", n_passages=40, n_queries=20)
    passages = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for passage in passages:
        passage["title"] += f" {HOSTILE}"
        passage["text"] += f" {HOSTILE} {ARABIC}"
    (data / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    arms = [
        {"name": name, "role": role, "embedding": {"provider": "hashing", "model": name, "dimensions": size}}
        for name, role, size in zip(ARMS, ("control", "treatment"), (64, 256), strict=True)
    ]
    return write_experiment(folder / "live.yaml", data, name=NAME, live={**LIVE, "solicit": 0.999}, arms=arms, **changes)


@contextlib.contextmanager
def page_server(service: str, log: Path, **environment: str) -> Iterator[str]:
    """The page's server in a process of its own, as `ragtrial tester` starts it."""
    port = free_port()
    told = json.dumps({"service": service, "host": "127.0.0.1", "port": port})
    process = forked([DASHBOARDS / "tester_server.py"], log=log, environment={**environment, "RAGTRIAL_TESTER": told})
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/_stcore/health").status_code == 200:
                    break
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


class Visit:
    """One tester at the page, with everything that reached their browser."""

    def __init__(
        self, browser: "Browser", address: str, key: str | None, *, width: int = 1280, scheme: str = "light", at: str = "/"
    ) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(_PATIENCE_MS)
        self.address = address
        self.asked: list[str] = []
        self.received: list[bytes] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._receive))
        self.page.goto(f"{address}{at}")
        if key is not None:
            self.page.get_by_label("API key").fill(key)
            self.page.get_by_role("button", name="Sign in").click()
            self.question.wait_for()

    def _receive(self, frame: bytes | str) -> None:
        self.received.append(frame.encode() if isinstance(frame, str) else frame)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    @property
    def question(self) -> "Locator":
        return self.page.get_by_test_id("stChatInputTextArea")

    @property
    def trial_id(self) -> str:
        return str(self.page.url.split("trial=")[1].partition("&")[0])

    @property
    def comparison_id(self) -> str:
        return str(self.page.url.split("comparison=")[1].partition("&")[0])

    def button(self, name: str) -> "Locator":
        return self.page.get_by_role("button", name=name)

    def says(self, text: str) -> "Locator":
        found = self.page.get_by_text(text).first
        found.wait_for()
        return found

    def rest(self) -> None:
        """Wait until the page's run is over: an element that comes or goes under Tab may take the focus along."""
        rest(self.page)

    def ask(self, text: str = QUESTION) -> None:
        self.question.fill(text)
        self.question.press("Enter")
        self.button("Good answer").wait_for()
        self.page.wait_for_url("**trial=*")
        self.rest()

    def compare(self, text: str = QUESTION) -> None:
        self.question.fill(text)
        self.question.press("Enter")
        self.button("Left is better").wait_for()
        self.page.wait_for_url("**comparison=*")
        self.rest()


def trials_of(log: LiveReader, text: str) -> list[LiveTrial]:
    """The trials of a question."""
    return [trial for trial in log.recent(1, limit=1000) if trial.query.text == text]


def thumbs(log: LiveReader, trial_id: str) -> list[tuple[str, tuple[str, ...], str]]:
    """The votes on a trial, in the order in which they came."""
    return [(vote.thumb, vote.tags, vote.comment) for vote in log.votes_of(trial_id)]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
