"""The tester's page in a real browser, over the real service and its database: ask, read, vote; and which of two is better."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from live_service import LIVE, PEPPER, make_key
from material import write_beir_folder, write_experiment
from over_http import until_ready
from ragtrial.db.keys import KeyStore
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.formats.experiment import load_experiment, sql_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.slow

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ARMS = ("quartz", "feldspar")
NAME = "tarn-hows"
QUESTION = "what is the anchor of pw0003"
HOSTILE = '<img src="http://outside.example/a.png" onerror="document.title=\'broken\'"> ![b](http://outside.example/b.png) **bold** $x$'
ARABIC = "المرساة ثقيلة جدا"
PATIENCE_MS = 20_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Serving:
    """`ragtrial serve` in a process of its own, which can be killed and comes back at the same address."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path, self.port, self._log = path, free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "serve", str(self.path), "--port", str(self.port)]
        with self._log.open("a") as out:
            environment = {**os.environ, "RAGTRIAL_KEY_PEPPER": PEPPER, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, stderr=out, stdout=out, env=environment)
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
                    self.open.wait(30)
                if answers and self.losing:
                    break
                target.sendall(some)
        for end in (origin, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tester")
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
    return write_experiment(folder / "live.yaml", data, name=NAME, live={**LIVE, "solicit": 0.999}, arms=arms)


@pytest.fixture(scope="module")
def service(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    make_key(path, "tester")
    serving = Serving(path, tmp_path_factory.mktemp("log") / "serve.log")
    serving.start()
    yield serving
    serving.kill()


@pytest.fixture(scope="module")
def between(service: Serving) -> Iterator[Between]:
    standing = Between(service.port)
    yield standing
    standing.close()


@contextlib.contextmanager
def page_server(service: str, log: Path, **environment: str) -> Iterator[str]:
    """`ragtrial tester` in a process of its own."""
    port = free_port()
    main = ["-c", "from ragtrial.cli.main import main; main()"]
    command = [sys.executable, *main, "tester", "--service", service, "--port", str(port)]
    with log.open("w") as out:
        popen = subprocess.Popen(command, stderr=out, stdout=out, env={**os.environ, **environment})
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(400):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/_stcore/health").status_code == 200:
                    break
            time.sleep(0.1)
        yield url
    finally:
        popen.kill()
        popen.wait()


@pytest.fixture(scope="module")
def address(between: Between, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_server(between.url, tmp_path_factory.mktemp("page") / "page.log") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the tester's page was not opened in a browser (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the tester's page was not opened in a browser")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield opened
        opened.close()


class Visit:
    """One tester at the page, with everything that reached their browser."""

    def __init__(
        self, browser: "Browser", address: str, key: str | None, *, width: int = 1280, scheme: str = "light", at: str = "/"
    ) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
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

    def ask(self, text: str = QUESTION) -> None:
        self.question.fill(text)
        self.question.press("Enter")
        self.button("Good answer").wait_for()
        self.page.wait_for_url("**trial=*")

    def compare(self, text: str = QUESTION) -> None:
        self.question.fill(text)
        self.question.press("Enter")
        self.button("Left is better").wait_for()
        self.page.wait_for_url("**comparison=*")


@pytest.fixture
def key(path: Path) -> str:
    return make_key(path, "tester")


@pytest.fixture
def log(path: Path, service: Serving) -> Iterator[LiveReader]:
    with LiveReader(sql_url(load_experiment(path))) as reader:
        yield reader


@pytest.fixture(autouse=True)
def _nothing_in_the_way(between: Between) -> Iterator[None]:
    yield
    between.losing = False
    between.open.set()


def trials_of(log: LiveReader, text: str) -> list[LiveTrial]:
    return [trial for trial in log.recent(1, limit=1000) if trial.query.text == text]


def thumbs(log: LiveReader, trial_id: str) -> list[tuple[str, tuple[str, ...], str]]:
    return [(vote.thumb, vote.tags, vote.comment) for vote in log.votes_of(trial_id)]


def test_a_tester_asks_votes_changes_the_vote_reloads_and_the_row_is_in_sql_once_with_its_history(
    browser: "Browser", address: str, key: str, log: LiveReader
) -> None:
    with Visit(browser, address, key) as visit:
        visit.ask()
        trial = log.trial(visit.trial_id)
        assert trial is not None
        assert (trial.query.text, trial.assignment.reason, trial.caller) == (QUESTION, "split", "a tester")
        assert trial.trial.answer is not None
        assert visit.page.locator(".t-answer .rt-plain").inner_text() == trial.trial.answer.text
        assert visit.says("Please rate this answer").is_visible()
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.button("Poor answer").click()
        visit.says("Saved: a poor answer.")
        visit.page.get_by_role("button", name="incomplete").click()
        visit.page.get_by_label("Comment").fill("see the new rules")
        visit.button("Save details").click()
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        visit.button("Source 1 helps").click()
        visit.says("Saved: source 1 helps.")
        visit.page.reload()
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        visit.says("Saved: source 1 helps.")
        visit.button("✓ Poor answer").wait_for()
        assert visit.page.get_by_label("Comment").input_value() == "see the new rules"
        votes = thumbs(log, visit.trial_id)
    source = trial.trial.ranking.passage_ids[0] if trial.trial.ranking else ""
    assert votes == [
        ("up", (), ""),
        ("down", (), ""),
        ("down", ("incomplete",), "see the new rules"),
        ("up", (), ""),
    ]
    assert [vote.passage_id for vote in log.votes_of(trial.trial_id)] == [None, None, None, source]
    assert len(trials_of(log, QUESTION)) == 1


def test_a_vote_is_withdrawn_and_stays_withdrawn_after_a_reload(browser: "Browser", address: str, key: str, log: LiveReader) -> None:
    with Visit(browser, address, key) as visit:
        visit.ask("where is the keel of pw0007")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.button("Withdraw").click()
        visit.says("Saved: your vote is withdrawn.")
        visit.page.reload()
        visit.button("Good answer").wait_for()
        assert visit.page.get_by_text("Saved").count() == 0
        assert visit.button("✓").count() == 0
        assert [thumb for thumb, _, _ in thumbs(log, visit.trial_id)] == ["up", "withdrawn"]


def test_a_killed_service_is_said_nothing_is_lost_and_it_counts_once_when_it_is_back(
    browser: "Browser", address: str, key: str, log: LiveReader, service: Serving
) -> None:
    asked = "where is the hawser of pw0011"
    with Visit(browser, address, key) as visit:
        visit.ask("where is the hull of pw0010")
        voted_on = visit.trial_id
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        service.kill()
        try:
            visit.page.get_by_label("Comment").fill("typed while it was away")
            visit.button("Save details").click()
            visit.says("Not saved. The connection to the service is lost.")
            assert visit.page.get_by_text("Saved:").count() == 0
            assert visit.page.get_by_label("Comment").input_value() == "typed while it was away"
            visit.button("Try to save it again").click()
            visit.says("Not saved. The connection to the service is lost.")
        finally:
            service.start()
        visit.button("Try to save it again").click()
        visit.says("Saved: a good answer, with a comment.")
        service.kill()
        try:
            visit.question.fill(asked)
            visit.question.press("Enter")
            visit.says("The connection to the service is lost.")
            assert visit.question.input_value() == asked, "what was typed is kept"
        finally:
            service.start()
        visit.button("Ask again").click()
        visit.button("Good answer").wait_for()
    assert thumbs(log, voted_on) == [("up", (), ""), ("up", (), "typed while it was away")]
    assert len(trials_of(log, asked)) == 1


def test_answers_that_are_lost_on_the_way_are_asked_for_again_and_counted_once(
    browser: "Browser", address: str, key: str, log: LiveReader, between: Between
) -> None:
    asked = "where is the helm of pw0012"
    with Visit(browser, address, key) as visit:
        between.losing = True
        visit.question.fill(asked)
        visit.question.press("Enter")
        visit.says("The connection to the service is lost.")
        (lost,) = trials_of(log, asked)  # the service has answered, and nobody was told
        between.losing = False
        visit.button("Ask again").click()
        visit.page.wait_for_url("**trial=*")
        assert visit.trial_id == lost.trial_id
        between.losing = True
        visit.button("Poor answer").click()
        visit.says("Not saved.")
        assert [thumb for thumb, _, _ in thumbs(log, lost.trial_id)] == ["down"]
        between.losing = False
        visit.button("Try to save it again").click()
        visit.says("Saved: a poor answer.")
    assert [thumb for thumb, _, _ in thumbs(log, lost.trial_id)] == ["down"]
    assert len(trials_of(log, asked)) == 1


def test_a_page_that_runs_again_while_it_waits_asks_and_votes_once(
    browser: "Browser", address: str, key: str, log: LiveReader, between: Between
) -> None:
    asked = "where is the mast of pw0013"
    with Visit(browser, address, key) as visit:
        between.open.clear()
        before = between.held
        visit.question.fill(asked)
        visit.question.press("Enter")
        wait_until(lambda: between.held > before)
        visit.says("Looking for an answer")
        run_again(visit)
        between.open.set()
        visit.button("Good answer").wait_for()
        between.open.clear()
        before = between.held
        visit.button("Good answer").click()
        wait_until(lambda: between.held > before)
        assert visit.says("Saving").is_visible()
        assert visit.page.get_by_text("Saved").count() == 0, "not before the service has said so"
        run_again(visit)
        between.open.set()
        visit.says("Saved: a good answer.")
        assert [thumb for thumb, _, _ in thumbs(log, visit.trial_id)] == ["up"]
    assert len(trials_of(log, asked)) == 1


def run_again(visit: Visit) -> None:
    """By Streamlit's own key for it, several times."""
    visit.page.locator("h1").click()
    for _ in range(3):
        visit.page.keyboard.press("r")
        visit.page.wait_for_timeout(100)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_answers_are_compared_without_a_word_on_whose_they_are_and_a_reload_keeps_order_and_choice(
    browser: "Browser", address: str, key: str, log: LiveReader
) -> None:
    def sides(visit: Visit) -> list[str]:
        return visit.page.locator(".t-answer").all_inner_texts()

    with Visit(browser, address, key, at="/?mode=side") as visit:
        visit.compare("what is the capstan of pw0014")
        stored = log.comparison(visit.comparison_id)
        assert stored is not None
        assert {trial.trial.arm for trial in stored.trials} == set(ARMS)
        answers = sides(visit)
        for trial, seen, name in zip(stored.trials, answers, ("Left", "Right"), strict=True):
            assert trial.trial.answer is not None
            assert seen.startswith(name)
            assert (trial.trial.answer.text or "No answer: the documents hold none that fits.") in seen
        visit.button("Left is better").click()
        visit.says("Saved: left is better.")
        visit.button("Neither is good").click()
        visit.says("Saved: neither is good.")
        visit.page.get_by_label("Why?").fill("both miss the point")
        visit.button("Save comment").click()
        visit.says("Saved: neither is good, with a comment.")
        for _ in range(2):
            visit.page.reload()
            visit.says("Saved: neither is good, with a comment.")
            assert sides(visit) == answers
        visit.button("Withdraw").click()
        visit.says("Saved: your choice is withdrawn.")
        history = [(said.choice, said.comment) for said in log.preferences_of(visit.comparison_id)]
        assert all(trial.assignment.reason == "override" for trial in stored.trials)
    assert history == [("left", ""), ("neither", ""), ("neither", "both miss the point"), ("withdrawn", "")]


def test_nothing_that_reaches_the_browser_names_the_arms_or_the_experiment(browser: "Browser", address: str, key: str) -> None:
    with Visit(browser, address, key) as visit:
        visit.ask("what is the fender of pw0015")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        visit.button("Compare two answers").click()
        visit.says("You get two answers")
        visit.compare("what is the fender of pw0015")
        visit.button("Both are good").click()
        visit.says("Saved: both are good.")
        visit.page.reload()
        visit.says("Saved: both are good.")
        pages = visit.page.content().encode()
        assert b"what is the fender of pw0015" in b"".join(visit.received), "what is received is seen here"
        for word in (key, *ARMS, NAME, "treatment", "similarity", "override", "hashing"):
            assert word.encode() not in b"".join(visit.received).lower(), word
            assert word.encode() not in pages.lower(), word
        assert all(url.startswith((address, address.replace("http", "ws"), "data:", "blob:")) for url in visit.asked)


def test_it_works_by_keyboard_alone(browser: "Browser", address: str, key: str, log: LiveReader) -> None:
    def focused(visit: Visit) -> str:
        found = "(a => a === document.body ? '' : a.innerText || a.getAttribute('aria-label') || '')(document.activeElement)"
        return str(visit.page.evaluate(found))

    def tab_to(visit: Visit, name: str) -> None:
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            if name in focused(visit):
                return
        raise AssertionError(f"Tab does not come to {name!r}")

    with Visit(browser, address, key) as visit:
        tab_to(visit, "Your question")
        visit.page.keyboard.type("what is the pallet of pw0016, good? Perhaps.")  # holds the letters of the shortcuts
        visit.page.keyboard.press("Enter")
        visit.button("Good answer").wait_for()
        visit.page.wait_for_url("**trial=*")
        assert thumbs(log, visit.trial_id) == [], "typing is not voting"
        tab_to(visit, "Good answer")
        outline = visit.page.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
        )
        assert outline == "solid3px"
        visit.page.keyboard.press("Space")
        visit.says("Saved: a good answer.")
        assert "Good answer" in focused(visit), "the focus stays where one was"
        tab_to(visit, "wrong")
        visit.page.keyboard.press("ArrowRight")
        assert focused(visit) == "wrong source"
        visit.page.keyboard.press("Enter")
        tab_to(visit, "Comment")
        visit.page.keyboard.type("gp")
        tab_to(visit, "Save details")
        visit.page.keyboard.press("Enter")
        visit.says("Saved: a good answer, with 1 tag and a comment.")
        visit.page.locator("h1").click()
        visit.page.keyboard.press("p")
        visit.says("Saved: a poor answer, with 1 tag and a comment.")
        summary = visit.page.locator(".t-source summary").first
        assert not visit.page.locator(".t-source .rt-plain").first.is_visible()
        summary.focus()
        visit.page.keyboard.press("Enter")
        assert visit.page.locator(".t-source .rt-plain").first.is_visible()
        tab_to(visit, "Source 1 does not")
        visit.page.keyboard.press("Enter")
        visit.says("Saved: source 1 does not help.")
        assert visit.page.locator(".t-source .rt-plain").first.is_visible(), "what was unfolded stays so"
        tab_to(visit, "Compare two answers")
        visit.page.keyboard.press("Enter")
        visit.says("You get two answers")
        tab_to(visit, "Your question")
        visit.page.keyboard.type("what is the pallet of pw0016")
        visit.page.keyboard.press("Enter")
        visit.button("Left is better").wait_for()
        visit.page.locator("h1").click()
        for pressed, saved in (
            ("ArrowLeft", "left is better"),
            ("ArrowRight", "right is better"),
            ("b", "both are good"),
            ("n", "neither is good"),
        ):
            visit.page.keyboard.press(pressed)
            visit.says(f"Saved: {saved}.")
        visit.page.get_by_text("Keyboard shortcuts").click()
        visit.page.locator("h1").click()
        wait_until(lambda: "B" not in visit.button("Both are good").inner_text().removeprefix("Both are good"))
        visit.page.keyboard.press("b")
        visit.page.wait_for_timeout(500)
        assert visit.says("Saved: neither is good.").is_visible(), "switched off"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("at", ["/", "/?mode=side"], ids=["one", "side"])
def test_a_phone_shows_long_words_and_hostile_and_right_to_left_texts_as_they_are(
    browser: "Browser", address: str, key: str, at: str, scheme: str
) -> None:
    long = f"anchor {'x' * 1900} {ARABIC}"
    with Visit(browser, address, key, width=390, scheme=scheme, at=at) as visit:
        visit.ask(long) if at == "/" else visit.compare(long)
        visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        visit.page.wait_for_timeout(300)
        for what in ("document.documentElement", "document.querySelector('[data-testid=stMain]')"):
            assert visit.page.evaluate(f"{what}.scrollWidth") <= 390, what
        assert visit.page.locator(".t-question .rt-plain").inner_text() == long
        assert visit.page.locator(".t-question .rt-plain").get_attribute("dir") == "auto"
        passages = visit.page.locator(".t-source .rt-plain").all_inner_texts()
        assert passages
        assert all(HOSTILE in passage and ARABIC in passage for passage in passages)
        assert all(HOSTILE in title for title in visit.page.locator(".t-source .t-title").all_inner_texts())
        assert visit.page.locator("[data-testid=stMain] img").count() == 0
        assert not any("outside.example" in url for url in visit.asked)
        assert visit.page.title() != "broken"


def test_somebody_elses_answer_is_not_there_and_that_is_said(browser: "Browser", address: str, path: Path, key: str) -> None:
    with Visit(browser, address, key) as visit:
        visit.ask("what is the winch of pw0017")
        theirs = visit.trial_id
    with KeyStore(sql_url(load_experiment(path))) as store:
        other = store.create("somebody else", "tester", pepper=PEPPER)
    with Visit(browser, address, other, at=f"/?trial={theirs}") as visit:
        visit.says("There is no such answer here.")
        visit.says("everyone sees only what they asked themselves")
        assert visit.page.locator(".t-answer").count() == 0
        visit.ask("what is the winch of pw0017")
        assert visit.trial_id != theirs


def test_the_browsers_back_shows_what_was_there_before(browser: "Browser", address: str, key: str) -> None:
    with Visit(browser, address, key) as visit:
        visit.ask("what is the vessel of pw0022")
        visit.button("Good answer").click()
        visit.says("Saved: a good answer.")
        first = visit.trial_id
        visit.button("Compare two answers").click()
        visit.says("You get two answers")
        visit.compare("what is the vessel of pw0023")
        for _ in range(10):
            if first in visit.page.url:
                break
            visit.page.go_back()
            visit.page.wait_for_timeout(300)
        assert visit.trial_id == first
        visit.says("Saved: a good answer.")
        assert "pw0022" in visit.page.locator(".t-question").inner_text()
        assert visit.button("Left is better").count() == 0


def test_the_door_takes_keys_that_the_service_takes_and_leads_back_to_where_one_was_going(
    browser: "Browser", address: str, key: str
) -> None:
    with Visit(browser, address, None, at="/?mode=side") as visit:
        assert visit.page.url == f"{address}/login?next=%2F%3Fmode%3Dside"
        visit.page.get_by_label("API key").fill("rt_nobody_knows")
        visit.button("Sign in").click()
        visit.says("The service does not accept your key.")
        visit.page.get_by_label("API key").fill(key)
        visit.button("Sign in").click()
        visit.says("You get two answers")
        assert visit.page.url == f"{address}/?mode=side"
        cookies = visit.context.cookies()
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies if cookie["name"].startswith("ragtrial_tester")] == [
            (True, "Lax")
        ]
        assert key not in json.dumps(cookies)
        visit.page.goto(f"{address}/logout")
        assert visit.page.url == f"{address}/login"
        visit.page.goto(address)
        assert visit.page.url == f"{address}/login"


def test_a_key_that_is_revoked_or_asks_too_often_is_told_in_plain_words(browser: "Browser", address: str, path: Path) -> None:
    slow, gone = make_key(path, "tester", rate_per_minute=1), make_key(path, "tester")
    with Visit(browser, address, slow) as visit:
        visit.question.fill("what is the tug of pw0019")  # signing in was the first request
        visit.question.press("Enter")
        visit.says("That was faster than your key may ask.")
        visit.says("Try again in")
        wait_until(lambda: visit.question.input_value() == "what is the tug of pw0019")
    with Visit(browser, address, gone) as visit:
        with KeyStore(sql_url(load_experiment(path))) as store:
            store.revoke(gone.split("_")[1], "tests")
        time.sleep(1)
        visit.question.fill("what is the tug of pw0020")
        visit.question.press("Enter")
        visit.says("The service does not accept your key.")
        assert visit.page.get_by_role("link", name="Sign in").is_visible()


def test_the_dashboards_pages_are_none_of_this_servers(browser: "Browser", address: str, key: str) -> None:
    with Visit(browser, address, key) as visit:
        for name in ("verdict", "live", "compare"):
            visit.page.goto(f"{address}/{name}")
            visit.question.wait_for()
            assert visit.page.get_by_test_id("stSidebar").count() == 0
            assert visit.page.locator(".rt-heading").count() == 0


def test_a_page_with_a_key_of_its_own_asks_nobody_for_one_and_answers_on_this_machine_alone(
    browser: "Browser", service: Serving, key: str, log: LiveReader, tmp_path: Path
) -> None:
    units = set()
    with page_server(service.url, tmp_path / "log", RAGTRIAL_TESTER_KEY=key) as url:
        for _ in range(2):
            with Visit(browser, url, None) as visit:
                visit.ask("what is the tide of pw0021")
                trial = log.trial(visit.trial_id)
                assert trial is not None
                units.add(trial.unit)
        foreign: Mapping[str, str] = {"Host": "evil.example", "Accept": "text/html"}
        assert httpx.get(url, headers=foreign).status_code == 403
    assert len(units) == 2, "nobody knows who they are, so each visit is a unit of its own"
