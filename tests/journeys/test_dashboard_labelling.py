"""The labelling queue in a real browser: by the keyboard alone, on a phone, and after a reload; what is saved is in SQL once."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from board_pages import Visit, dashboard, make_key
from judged_log import ARMS, EVALUATION, GROUNDED, METRIC, RATIONALE, write
from ragtrial.db.reader import Reader
from ragtrial.suite import labelling
from tester_pages import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

WORDS = {"1": "correct", "2": "partly", "3": "wrong", "4": "abstained"}
READING_MS = 700
PATIENCE_MS = 60_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'log.db'}"
    write(found)
    return found


def said(url: str, labeller: str) -> list[str]:
    """The words of one person in the order of the queue, whatever they labelled."""
    with Reader(url) as reader:
        queue = labelling.open_queue(reader, EVALUATION, METRIC)
        found = labelling.standing(queue, reader, labeller).said
    return [found[item.item_id].word for item in queue.items if item.item_id in found]


def history(url: str) -> Counter[tuple[object, ...]]:
    """How often each trial was labelled by whom."""
    with Reader(url) as reader:
        return Counter((label.labeller, label.trial) for label in reader.labels("handbook", history=True))


class Person:
    """Somebody who labels, and touches nothing but the keyboard."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.page = visit, visit.page

    def shown(self) -> str:
        """The question and the answer on the screen."""
        return self.page.locator(".rt-asked .rt-plain").inner_text() + self.page.locator(".rt-answer").inner_text()

    def read(self) -> str:
        """Look at what is shown for as long as it takes."""
        self.page.wait_for_selector(".rt-asked .rt-plain", timeout=PATIENCE_MS)
        self.visit.rest()
        self.page.wait_for_timeout(READING_MS)
        return self.shown()

    def press(self, key: str, *, read: str | None = None) -> None:
        """Read, if not done yet, press a key and wait for the next answer."""
        before = read or self.read()
        self.page.keyboard.press(key)
        script = "([before]) => document.querySelector('.rt-asked .rt-plain').innerText + document.querySelector('.rt-answer').innerText !== before"
        self.page.wait_for_function(script, arg=[before], timeout=PATIENCE_MS)

    def state(self) -> str:
        """What the page says became of the last key."""
        self.visit.rest()
        return " ".join(self.page.locator(".rt-state").inner_text().split())


def address(board_url: str, labeller: str, metric: str = METRIC) -> str:
    return f"{board_url}/labelling?evaluation={EVALUATION}&metric={metric}&labeller={labeller}"


def test_a_person_labels_ten_answers_by_keyboard_alone_and_a_reload_goes_on(url: str, browser: "Browser") -> None:
    keys = "1232143212"
    with dashboard(url) as board, Visit(browser, address(board.url, "ann")) as visit:
        person, seen = Person(visit), []
        for key in keys:
            seen.append(person.read())
            assert not [told for told in (*ARMS, RATIONALE) if told in visit.text()]
            person.press(key, read=seen[-1])
            assert person.state() == f"✓ Saved: {WORDS[key]}"
        assert said(url, "ann") == [WORDS[key] for key in keys]
        assert set(history(url).values()) == {1}
        eleventh = person.read()
        assert "10 of 40" in visit.text()

        visit.page.reload()
        assert person.read() == eleventh
        assert "10 of 40" in visit.text()
        with Visit(browser, address(board.url, "bob")) as other:
            assert Person(other).read() == seen[0], "another person begins at the beginning, with the same draw"
        assert len(set(seen)) == 10
        assert visit.outside() == []
        assert [line for line in visit.said if "404" not in line] == [], (
            "Streamlit's client looks for its health below the page's path first"
        )


def test_skip_and_undo_have_keys_and_a_held_key_labels_nothing_unseen(url: str, browser: "Browser") -> None:
    with dashboard(url) as board, Visit(browser, address(board.url, "ann")) as visit:
        person = Person(visit)
        first = person.read()
        person.press("s")
        assert person.state() == "i Skipped 1 skipped"
        person.press("1")
        person.press("u")
        person.read()
        assert "You said correct" in visit.text()
        person.press("3")
        assert person.state() == "✓ Saved: wrong 1 skipped"
        assert said(url, "ann") == ["wrong"]
        assert set(history(url).values()) == {2}, "what was said before is kept"

        person.read()
        for _ in range(40):
            visit.page.keyboard.down("2")
            visit.page.wait_for_timeout(33)
        visit.page.keyboard.up("2")
        wait_until(lambda: len(said(url, "ann")) > 1)
        visit.rest()
        assert said(url, "ann") == ["wrong", "partly"], "one answer was on the screen when the key went down"
        visit.page.reload()
        assert person.read() == first, "what was skipped is asked again"


def test_digits_in_a_note_are_no_labels_and_the_note_is_kept(url: str, browser: "Browser") -> None:
    with dashboard(url) as board, Visit(browser, address(board.url, "ann")) as visit:
        person = Person(visit)
        person.read()
        visit.page.get_by_placeholder("A note, if you like").focus()
        visit.page.keyboard.type("late by 12 hours")
        visit.page.keyboard.press("Tab")
        assert said(url, "ann") == []
        person.press("3")
        with Reader(url) as reader:
            assert {(label.word, label.note) for label in reader.labels("handbook")} == {("wrong", "late by 12 hours")}


def test_a_tester_labels_after_signing_in_and_sees_nothing_else(url: str, browser: "Browser") -> None:
    key = make_key(url, "tester", name="tess")
    towards = quote(f"/labelling?evaluation={EVALUATION}&metric={METRIC}", safe="")
    with dashboard(url, no_auth=False) as board, Visit(browser, f"{board.url}/login?next={towards}") as visit:
        visit.page.fill("#key", key)
        visit.page.keyboard.press("Enter")
        person = Person(visit)
        person.press("2")
        assert said(url, "tess") == ["partly"]
        assert visit.page.locator("[data-testid=stSidebar] a[href*=compare]").count() == 0
        visit.goto(f"{board.url}/judges?evaluation={EVALUATION}")
        assert visit.heading() == "This page is not for testers"


@pytest.mark.parametrize(("metric", "scheme"), [(METRIC, "light"), (GROUNDED, "dark")])
def test_it_fits_a_phone_and_its_keys_are_in_reach(url: str, browser: "Browser", metric: str, scheme: str) -> None:
    with dashboard(url) as board, Visit(browser, address(board.url, "ann", metric), width=390, scheme=scheme) as visit:
        person = Person(visit)
        person.read()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
        button = visit.page.get_by_role("button", name="Partly")
        box = button.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, "the keys stay on the screen however long the passages are"
        button.click()
        visit.page.wait_for_selector("text=Saved: partly", timeout=PATIENCE_MS)
        assert visit.outside() == []
