"""What tests of the dashboard share: a small evaluation really run, the dashboard as a process, a browser that remembers what it asked for.

with dashboard(small_board(tmp_path).url) as board, chromium() as browser:
    with Visit(browser, f"{board.url}/compare") as visit:
        assert visit.heading() == "..."
        assert visit.outside() == []
"""

import contextlib
import functools
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from commands import ragtrial_command
from conftest import REPOSITORY
from forked import Forked, forked
from material import write_beir_folder, write_experiment
from ragtrial.db.keys import KeyStore
from ragtrial.domain.access import Role
from ragtrial.suite.opening import url_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page
    from streamlit.testing.v1 import AppTest

DASHBOARDS = REPOSITORY / "dashboards"
PEPPER = "of the tests"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_PATIENCE_S = 60.0
_AT_REST = """() => {
    const app = document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]');
    if (!app || app.querySelector('[data-testid=stSkeleton], [data-stale=true]')) return false;
    const now = app.getElementsByTagName('*').length + app.textContent;
    const same = window.shownBefore === now;
    window.shownBefore = same ? undefined : now;
    return same;
}"""


@dataclass(frozen=True, kw_only=True)
class SmallBoard:
    """A database with one finished evaluation of 120 queries.

    Attributes:
        path: The experiment file.
        url: Of the database, in `.ragtrial/` beside it.
    """

    path: Path
    url: str


def small_board(folder: Path) -> SmallBoard:
    """A copy of an evaluation that is run once in each process of tests."""
    shutil.copytree(_template(), folder, dirs_exist_ok=True)
    return SmallBoard(path=folder / "small.yaml", url=url_of(folder / ".ragtrial" / "ragtrial.db"))


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="board-"))
    data = write_beir_folder(folder / "data", n_passages=100)
    path = write_experiment(folder / "small.yaml", Path("data"))
    assert data.is_dir()
    done = ragtrial_command("evaluate", path, "--quiet", "--output", folder / "report")
    assert done.code in (0, 1), done.err
    for heavy in ("vectors", "milvus.db", "calls"):
        shutil.rmtree(folder / ".ragtrial" / heavy, ignore_errors=True)
    return folder


def make_key(url: str, role: Role, *, name: str | None = None) -> str:
    """A key of this role, of a dashboard that is started here."""
    with KeyStore(url) as store:
        return store.create(name or f"a {role}", role, pepper=PEPPER)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A running dashboard: its address, and its process."""

    url: str
    process: Forked
    log: Path

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text()


@contextlib.contextmanager
def dashboard(
    url: str | None,
    *,
    no_auth: bool = True,
    script: str = "app.py",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **told: Any,
) -> Iterator[Board]:
    """The dashboard's server over a database, without the command around it; `told` as `ragtrial_board.told.Told`."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        given = {"url": url, "open": no_auth, "port": port, "folder": str(folder or place), **told}
        port = given["port"]
        log = Path(place) / "log"
        process = forked(
            [DASHBOARDS / "server.py", script, "--end-with-parent"],
            log=log,
            folder=folder or Path(place),
            environment={"RAGTRIAL_KEY_PEPPER": PEPPER, **(environment or {}), "RAGTRIAL_BOARD": json.dumps(given)},
        )
        board = Board(url=f"http://127.0.0.1:{port}", process=process, log=log)
        try:
            until_healthy(board)
            yield board
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_healthy(board: Board) -> None:
    """Wait until the dashboard answers."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert board.process.poll() is None, board.said()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{board.url}/_stcore/health").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the dashboard does not answer: {board.said()}")


@contextlib.contextmanager
def chromium() -> "Iterator[Browser]":
    """A headless browser; the test is skipped by name where there is none."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the dashboard was not opened in a browser (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the dashboard was not opened in a browser")
    api.expect.set_options(timeout=1000 * _PATIENCE_S)
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        yield opened
        opened.close()


def rest(page: "Page") -> None:
    """Wait until a page's run is over and all that it sent is on the screen."""
    page.wait_for_function(_AT_REST, polling=150)


class Visit:
    """Somebody with a browser window of their own, and all that it asked for and said.

    Args:
        browser: Of `chromium`.
        address: The first page; None: not yet.
        width: Of the window, in pixels.
        scheme: light or dark.
    """

    def __init__(self, browser: "Browser", address: str | None = None, *, width: int = 1440, scheme: str = "light") -> None:
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
        )
        self.context.set_default_timeout(1000 * _PATIENCE_S)
        self.page: Page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        if address is not None:
            self.goto(address)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def goto(self, address: str) -> None:
        """Open a page and wait until it is at rest."""
        self.page.goto(address)
        self.rest()

    def rest(self) -> None:
        """Wait until the page's run is over."""
        if self.page.locator("[data-testid=stApp]").count() or 'id="root"' in self.page.content():
            rest(self.page)

    def heading(self) -> str:
        """The page's first heading."""
        return self.page.locator("h1").first.inner_text()

    def text(self) -> str:
        """Everything that the page says, but not its navigation."""
        return self.page.locator("[data-testid=stMain]").inner_text()

    def outside(self) -> list[str]:
        """What the browser asked of another host than the first one, or of anything but the server."""
        host = re.sub(r"^\w+://", "", self.asked[0]).partition("/")[0]
        return [
            url for url in self.asked if not url.startswith(("data:", "blob:")) and re.sub(r"^\w+://", "", url).partition("/")[0] != host
        ]


@functools.cache
def _installed_components() -> list[Any]:
    """What a server looks up once as it starts, and an `AppTest` at every run: it reads the metadata of everything that is installed."""
    from streamlit.components.v2.manifest_scanner import scan_component_manifests

    return scan_component_manifests()


def app_test(monkeypatch: pytest.MonkeyPatch, url: str | None, page: str = "verdict", *, no_auth: bool = True, **params: str) -> "AppTest":
    """A page run without a browser, with these query parameters, for an admin (or as `visiting_as` says)."""
    from streamlit.components.v2 import manifest_scanner
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.testing.v1 import AppTest
    from streamlit.testing.v1 import app_test as module

    class Navigated(PagesManager):
        """As the dashboard's server does it: app.py runs for every page, although they lie in a folder called pages."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            PagesManager.uses_pages_directory = False

    monkeypatch.setattr(module, "PagesManager", Navigated)
    components = _installed_components()
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", lambda: components)
    monkeypatch.setenv("RAGTRIAL_BOARD", json.dumps({"url": url, "open": no_auth}))
    monkeypatch.setenv("RAGTRIAL_KEY_PEPPER", PEPPER)
    test = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=60)
    for name, value in params.items():
        test.query_params[name] = value
    if page != "verdict":
        test.switch_page(f"pages/{page}.py")
    return test.run()


def visiting_as(monkeypatch: pytest.MonkeyPatch, url: str, role: Role) -> None:
    """Let `app_test(..., no_auth=False)` see a visitor with a key of this role, as if its cookie had come with the page."""
    from ragtrial_board import access
    from ragtrial_board.sessions import cookie_name, sessions

    monkeypatch.setenv("RAGTRIAL_BOARD", json.dumps({"url": url}))
    monkeypatch.setenv("RAGTRIAL_KEY_PEPPER", PEPPER)
    cookie = sessions().begin(make_key(url, role).split("_")[1])
    monkeypatch.setattr(access, "_cookies", lambda: {cookie_name(url): cookie})


def html_of(test: "AppTest") -> str:
    """What headings, facts, charts and plain texts of an `app_test` wrote."""
    return "\n".join(element.proto.body for element in test.get("html"))
