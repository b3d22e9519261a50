"""An engineer with a browser: from the verdict to one query's passages, what is chosen there, and texts that must stay texts."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

import odd_queries
from board_pages import Board, Visit, dashboard, small_board
from odd_queries import odd_board
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.reader import Reader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Board]]:
    url = small_board(tmp_path_factory.mktemp("small")).url
    with dashboard(url) as board:
        yield url, board


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Board]]:
    url = odd_board(tmp_path_factory.mktemp("odd")).url
    with dashboard(url) as board:
        yield url, board


def faults(visit: Visit) -> list[str]:
    """What the browser complained of, but for the two addresses below a page's own that Streamlit itself asks for in vain."""
    return [text for text in visit.said if "404" not in text]


def overflow(visit: Visit) -> int:
    """Pixels by which the page is wider than its window."""
    wide: int = visit.page.evaluate(
        "document.querySelector('[data-testid=stMain]').scrollWidth - document.querySelector('[data-testid=stMain]').clientWidth"
    )
    return wide


def test_an_engineer_gets_from_the_verdict_to_a_querys_passages_in_three_clicks_and_passes_the_link_on(
    small: tuple[str, Board], browser: Browser
) -> None:
    url, board = small
    with Reader(url) as reader, BoardReader(url) as outcomes:
        evaluation_id = reader.evaluations()[0].evaluation_id
        wanted = outcomes.outcomes(evaluation_id, view="baseline failures", limit=1).rows[0]
    with Visit(browser, f"{board.url}/?evaluation={evaluation_id}") as visit:
        page = visit.page
        page.get_by_role("link", name="Queries", exact=True).click()
        expect(page.locator("h1")).to_contain_text("queries that the baseline misses")
        page.locator("a.q-link").first.click()
        expect(page.locator(".q-asked")).to_have_text(wanted.text)
        visit.rest()
        found = page.locator(".q-side.q-custom .q-passage.q-gold").first
        expect(found).to_contain_text("★ relevant")
        found.get_by_text("Show all").or_(found.locator(".q-text").first).first.click()
        expect(page.locator(".q-side.q-baseline .q-passage")).to_have_count(10)
        said, shared = visit.heading(), page.url
        assert visit.outside() == []
        assert faults(visit) == []
    with Visit(browser, shared) as colleague:
        assert colleague.heading() == said
        assert colleague.page.locator(".q-asked").inner_text() == wanted.text


def test_the_way_back_leads_to_the_view_that_was_open(small: tuple[str, Board], browser: Browser) -> None:
    _, board = small
    with Visit(browser, f"{board.url}/queries?view=largest+wins&size=10") as visit:
        page = visit.page
        said = visit.heading()
        page.get_by_role("button", name="Page 2", exact=True).click()
        expect(page.get_by_text("11 to 20 of")).to_be_visible()
        eleventh = page.locator("a.q-link").first.inner_text()
        page.locator("a.q-link").first.click()
        expect(page.locator(".q-asked")).to_have_text(eleventh)
        visit.rest()
        page.get_by_role("link", name="← Previous").click()
        expect(page.get_by_text("10 of")).to_be_visible()
        page.get_by_role("link", name="Next →").click()
        expect(page.locator(".q-asked")).to_have_text(eleventh)
        page.get_by_role("link", name="All of “largest wins”").click()
        expect(page.locator("h1")).to_have_text(said)
        assert faults(visit) == []


def test_a_shared_passage_leads_to_its_place_in_the_other_arm(odd: tuple[str, Board], browser: Browser) -> None:
    _, board = odd
    with Visit(browser, f"{board.url}/query?evaluation={odd_queries.EVALUATION}&query=arabic") as visit:
        page = visit.page
        page.locator("#baseline-1").get_by_role("link", name="also 3rd in custom").click()
        expect(page.locator("#custom-3")).to_be_in_viewport()
        expect(page.locator("#custom-3")).not_to_have_css("box-shadow", "none")
        page.locator("#baseline-1").hover()
        expect(page.locator("#custom-3")).to_have_css("outline-style", "solid")
        assert page.evaluate("getComputedStyle(document.querySelector('#custom-1')).outlineStyle") == "none"


PLACES = (
    "queries?view=all",
    "queries?live=1",
    f"query?evaluation={odd_queries.EVALUATION}&query=markup",
    f"query?evaluation={odd_queries.EVALUATION}&query=unbroken",
    f"query?evaluation={odd_queries.EVALUATION}&query=long",
    "query?trial=t-markup",
)


@pytest.mark.parametrize("width", [1440, 390])
def test_texts_of_others_stay_texts_and_inside_the_window(odd: tuple[str, Board], browser: Browser, width: int) -> None:
    _, board = odd
    with Visit(browser, width=width) as visit:
        page = visit.page
        for place in PLACES:
            visit.goto(f"{board.url}/{place}")
            page.wait_for_selector("h1", timeout=60_000)
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
            visit.rest()
            assert page.evaluate("window.hacked") is None, place
            assert page.locator("h1").count() == 1, place
            assert page.locator("a[href*='evil.example'], img[src*='evil.example']").count() == 0, place
            assert overflow(visit) <= 0, place
        assert visit.outside() == []
        assert faults(visit) == []


def test_a_link_writes_no_markdown_and_no_link_onto_the_page(odd: tuple[str, Board], browser: Browser) -> None:
    _, board = odd
    wanted = "**bold** [a](http://evil.example/a) www.evil.example https://evil.example/b ann@evil.example"
    with Visit(browser, f"{board.url}/queries?{urlencode({'evaluation': wanted})}") as visit:
        said = visit.page.get_by_test_id("stAlert")
        expect(said).to_contain_text("**bold** [a](http:")
        expect(said).to_contain_text("ann@")
        assert said.locator("a, strong").count() == 0


def test_live_traffic_is_paged_to_and_fro_and_another_view_begins_at_its_newest(odd: tuple[str, Board], browser: Browser) -> None:
    _, board = odd
    with Visit(browser, f"{board.url}/queries?live=1&size=10") as visit:
        page = visit.page
        newest = page.locator("a.q-link").first.inner_text()
        page.get_by_role("link", name="Older", exact=True).click()
        expect(page.locator("a.q-link")).to_have_count(3)
        page.get_by_role("link", name="Newer", exact=True).click()
        expect(page.locator("a.q-link")).to_have_count(10)
        expect(page.locator("a.q-link").first).to_have_text(newest)
        page.get_by_role("link", name="Older", exact=True).click()
        expect(page.locator("a.q-link")).to_have_count(3)
        page.get_by_role("radio", name="thumbs down").click()
        expect(page.locator("a.q-link")).to_have_count(1)
        expect(page).not_to_have_url(re.compile("before"))
        page.get_by_text("As a table to sort and download").click()
        expect(page.get_by_role("button", name="CSV", exact=True)).to_be_visible()
        expect(page).to_have_url(re.compile("table=true"))
        assert faults(visit) == []


@pytest.mark.parametrize(("where", "shown", "in_all"), [("odd", 10, 13), ("small", 10, 120)])
def test_a_download_holds_all_rows_of_the_view_and_the_page_its_own(
    where: str, shown: int, in_all: int, request: pytest.FixtureRequest, browser: Browser
) -> None:
    url, board = request.getfixturevalue(where)
    with Reader(url) as reader:
        subject = {"live": "1"} if where == "odd" else {"evaluation": reader.evaluations()[0].evaluation_id}
    with Visit(browser, f"{board.url}/queries?{urlencode({**subject, 'view': 'all', 'size': shown, 'table': 'true'})}") as visit:
        expect(visit.page.locator("a.q-link")).to_have_count(shown)
        with visit.page.expect_download() as waiting:
            visit.page.get_by_role("button", name="CSV", exact=True).click()
        assert len(pd.read_csv(waiting.value.path())) == in_all


def test_a_right_to_left_query_runs_from_the_right(odd: tuple[str, Board], browser: Browser) -> None:
    _, board = odd
    with Visit(browser, f"{board.url}/query?evaluation={odd_queries.EVALUATION}&query=arabic") as visit:
        visit.page.locator(".q-asked").first.wait_for()
        assert visit.page.evaluate("getComputedStyle(document.querySelector('.q-asked')).direction") == "rtl"
        assert visit.page.evaluate("getComputedStyle(document.querySelector('.q-head')).direction") == "ltr"


def test_an_operator_adds_a_judgment_with_a_note_that_was_just_typed(odd: tuple[str, Board], browser: Browser) -> None:
    url, board = odd
    with Visit(browser, f"{board.url}/query?evaluation={odd_queries.EVALUATION}&query=markup") as visit:
        page = visit.page
        page.get_by_role("radio", name="2, highly relevant").click()
        visit.rest()
        page.get_by_label("Why (kept with it)").fill("says it")
        page.get_by_role("button", name="Add to the gold set").click()
        expect(page.get_by_text("Kept as number")).to_be_visible()
        assert faults(visit) == []
    place = Path(url.removeprefix("sqlite:///"))
    with sqlite3.connect(place) as connection:
        rows = connection.execute("SELECT kind, query_id, grade, evaluation_id, note FROM curations").fetchall()
    assert rows == [("judgment", "markup", 2, odd_queries.EVALUATION, "says it")]
