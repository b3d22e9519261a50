"""What every page of the dashboard can do, in a browser: links that show the same thing, downloads, charts that suit the screen."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import yaml
from PIL import Image
from streamlit.testing.v1 import AppTest

from board_pages import Board, SmallBoard, Visit, dashboard, small_board
from commands import ragtrial_command
from ragtrial.db.reader import Reader
from ragtrial.report.drawing import DARK, LIGHT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Download, Locator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallBoard:
    """Two evaluations: the second one under another name."""
    found = small_board(tmp_path_factory.mktemp("frame"))
    plan = yaml.safe_load(found.path.read_text())
    other = found.path.with_name("other.yaml")
    other.write_text(yaml.safe_dump({**plan, "name": "other"}, sort_keys=False))
    assert ragtrial_command("evaluate", other, "--quiet", "--output", found.path.with_name("report-2")).code in (0, 1)
    return found


@pytest.fixture(scope="module")
def board(small: SmallBoard) -> Iterator[Board]:
    with dashboard(small.url) as running:
        yield running


def evaluations(small: SmallBoard) -> dict[str, str]:
    with Reader(small.url) as reader:
        return {each.experiment: each.evaluation_id for each in reader.evaluations()}


def click(visit: Visit, page: str) -> None:
    visit.page.locator("[data-testid=stSidebar] [data-testid=stPageLink-NavLink]", has_text=page).click()
    visit.page.wait_for_function("name => document.title.includes(name)", arg=page)
    visit.rest()


def test_a_link_shows_a_colleague_the_same_thing(browser: "Browser", board: Board, small: SmallBoard) -> None:
    ids = evaluations(small)
    with Visit(browser, board.url) as visit:
        assert visit.page.url == f"{board.url}/?evaluation={ids['other']}", "the newest one, and the address says so"
        visit.page.locator("[data-testid=stSelectbox]").first.click()
        visit.page.get_by_role("option", name=re.compile("^small")).click()
        visit.page.wait_for_url(f"**/?evaluation={ids['small']}")
        visit.rest()
        click(visit, "Compare arms")
        link, title = visit.page.url, visit.page.title()
        assert link == f"{board.url}/compare?evaluation={ids['small']}"
        assert "small" in title
    with Visit(browser, link) as colleague:
        assert colleague.page.title() == title
        assert colleague.page.url == link


def test_what_was_chosen_goes_along_and_one_step_back_is_one_page_back(browser: "Browser", board: Board, small: SmallBoard) -> None:
    chosen = evaluations(small)["small"]
    with Visit(browser, f"{board.url}/?evaluation={chosen}") as visit:
        for page in ("Compare arms", "Cost and speed"):
            click(visit, page)
            assert f"evaluation={chosen}" in visit.page.url
        visit.page.go_back()
        visit.page.wait_for_function("document.title.includes('Compare arms')")
        visit.page.go_back()
        visit.page.wait_for_function("document.title.includes('Verdict')")
        assert f"evaluation={chosen}" in visit.page.url


def test_a_link_to_what_is_not_there_says_so_and_shows_what_is(browser: "Browser", board: Board) -> None:
    with Visit(browser, f"{board.url}/compare?evaluation=long-gone-1") as visit:
        assert "There is no evaluation 'long-gone-1'" in visit.text()
        assert "other" in visit.page.title()


def test_an_unknown_page_says_so_and_shows_the_first(browser: "Browser", board: Board) -> None:
    with Visit(browser, f"{board.url}/nothing") as visit:
        visit.page.get_by_text("Page not found").first.wait_for()


def downloaded(visit: Visit, name: str) -> tuple[str, bytes]:
    visit.rest()
    with visit.page.expect_download() as waiting:
        visit.page.get_by_role("button", name=name, exact=True).first.click()
    download: Download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def test_charts_leave_as_pictures_that_name_their_evaluation(browser: "Browser", board: Board, small: SmallBoard) -> None:
    chosen = evaluations(small)["small"]
    with Visit(browser, f"{board.url}/?evaluation={chosen}") as visit:
        visit.page.locator(".st-key-downloads-chart-effect button").first.wait_for()  # the charts come one after the other
        name, content = downloaded(visit, "PNG")
        assert name == f"{chosen}-effect.png"
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.size[0] == 2 * 820
        name, content = downloaded(visit, "SVG")
        assert name == f"{chosen}-effect.svg"
        assert content.startswith(b"<svg")


def test_tables_leave_as_csv_and_parquet_with_the_same_rows(browser: "Browser", board: Board, small: SmallBoard) -> None:
    with Visit(browser, f"{board.url}/cost?evaluation={evaluations(small)['small']}") as visit:
        csv_name, csv = downloaded(visit, "CSV")
        parquet_name, parquet = downloaded(visit, "Parquet")
        assert csv_name.removesuffix(".csv") == parquet_name.removesuffix(".parquet")
        left, right = pd.read_csv(io.BytesIO(csv)), pd.read_parquet(io.BytesIO(parquet))
        assert list(left.columns) == list(right.columns)
        assert len(left) == len(right) > 0


def test_the_verdict_leaves_as_one_page_for_a_slide(browser: "Browser", board: Board, small: SmallBoard) -> None:
    chosen = evaluations(small)["small"]
    with Visit(browser, f"{board.url}/?evaluation={chosen}") as visit:
        name, content = downloaded(visit, "Slide as PDF")
        assert name == f"{chosen}-verdict.pdf"
        assert content.startswith(b"%PDF-")
        name, content = downloaded(visit, "Slide as HTML")
        assert name == f"{chosen}-verdict.html"
        assert visit.heading().splitlines()[-1] in content.decode()


def colours_of(image: "Locator") -> set[object]:
    with Image.open(io.BytesIO(image.screenshot())) as picture:
        return {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 20) or []}


@pytest.mark.parametrize(("width", "shown"), [(1440, "wide"), (390, "slim")])
@pytest.mark.parametrize(("scheme", "look"), [("light", LIGHT), ("dark", DARK)])
def test_each_chart_shows_the_one_drawing_that_suits_the_screen_in_its_colours(
    browser: "Browser", board: Board, small: SmallBoard, width: int, shown: str, scheme: str, look: object
) -> None:
    custom = look.custom if isinstance(look, type(LIGHT)) else ""
    with Visit(browser, f"{board.url}/?evaluation={evaluations(small)['small']}", width=width, scheme=scheme) as visit:
        figure = visit.page.locator(".rt-drawn").first
        figure.scroll_into_view_if_needed()
        images = {name: figure.locator(f"img.{name}") for name in ("wide", "slim")}
        visit.page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=images[shown].element_handle())
        assert {name: image.is_visible() for name, image in images.items()} == {name: name == shown for name in images}
        assert len(images[shown].get_attribute("alt") or "") > 40
        assert tuple(bytes.fromhex(custom[1:])) in colours_of(images[shown])
        assert (images["slim"].get_attribute("loading"), images["slim"].evaluate("image => getComputedStyle(image).display")) == (
            "lazy",
            "block" if shown == "slim" else "none",
        ), "the browser fetches it only where it is laid out"
        settled = 0 if shown == "slim" else len(visit.asked)  # a column is narrow for a moment before the page is laid out
        for chart in visit.page.locator(".rt-drawn").all():
            chart.scroll_into_view_if_needed()
        visit.page.wait_for_timeout(300)
        drawn_elsewhere = [url for url in visit.asked[settled:] if "/drawn/" in url]
        assert bool(drawn_elsewhere) == (shown == "slim"), "what is not shown is not fetched"
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_charts_change_their_colours_with_the_page_without_being_drawn_anew(browser: "Browser", board: Board, small: SmallBoard) -> None:
    with Visit(browser, f"{board.url}/?evaluation={evaluations(small)['small']}") as visit:
        image = visit.page.locator(".rt-drawn img.wide").first
        image.scroll_into_view_if_needed()
        visit.page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
        before = image.get_attribute("src")
        visit.page.evaluate("document.querySelector('.stApp').style.colorScheme = 'dark'")
        dark = tuple(bytes.fromhex(DARK.custom[1:]))
        for _ in range(100):
            if dark in (colours := colours_of(image)):
                break
            visit.page.wait_for_timeout(200)
        assert dark in colours
        assert image.get_attribute("src") == before


def test_a_page_can_be_walked_through_with_the_keyboard(browser: "Browser", board: Board, small: SmallBoard) -> None:
    with Visit(browser, f"{board.url}/?evaluation={evaluations(small)['small']}") as visit:
        visit.page.get_by_role("button", name="Slide as PDF").first.wait_for()
        visit.rest()
        reached = []
        for _ in range(30):
            visit.page.keyboard.press("Tab")
            reached.append(visit.page.evaluate("(document.activeElement.innerText || document.activeElement.ariaLabel || '').trim()"))
        for name in ("Compare arms", "Models and drift", "PNG", "SVG", "Slide as PDF"):
            assert name in reached, reached


def test_one_part_that_fails_leaves_the_others() -> None:
    def page() -> None:
        import streamlit as st

        from ragtrial.errors import StoreError
        from ragtrial_board.frame import section

        with section("The first part"):
            raise StoreError("database 'x' is locked: wait, *then* try [again](http://evil)")
        with section("The second part"):
            _ = 1 / int("0")
        with section("The third part"):
            st.html("<p>still here</p>")

    test = AppTest.from_function(page).run(timeout=30)
    assert not test.exception
    first, second = (element.value for element in test.error)
    assert "The first part can't be shown: database 'x' is locked" in first.replace("\\", "")
    assert "\\[again\\]" in first, "what an error quotes is no Markdown"
    assert "something went wrong (ZeroDivisionError)" in second.replace("\\", "")
    assert "Traceback" not in second
    assert [element.proto.body for element in test.get("html")] == ["<p>still here</p>"]
