"""A product manager in a real browser: from the empty start to a verdict, and a link that shows a colleague the same thing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from board_pages import Board, Visit, dashboard, small_board
from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.reader import Reader
from ragtrial.report import words
from ragtrial.report.summary import Summary, read_summary
from ragtrial.suite.opening import url_of
from unit.dashboards.boards import changed, with_two_tags

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

FIRST_SCREEN = 900
"""Pixels that one sees without scrolling, as `Visit` opens a window."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with dashboard(changed(small_board(tmp_path_factory.mktemp("verdict")), with_two_tags).url) as running:
        yield running


def concluded(url: str) -> Summary:
    with Reader(url) as reader, BoardReader(url) as stored:
        found = read_summary(reader, stored, reader.evaluations()[-1].evaluation_id)
    assert found is not None
    return found


def troubles(visit: Visit) -> list[str]:
    """What the browser complained of; on any page but the first, Streamlit looks for its server below that page before it looks at the root."""
    return [said for said in visit.said if "404" not in said]


def shown_charts(page: "Page") -> list[str]:
    """Text alternatives of the pictures that suit the width of the screen."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.rt-drawn img')].filter(each => getComputedStyle(each).display !== 'none').map(each => each.alt)"
    )
    return found


def test_from_the_empty_start_to_a_verdict_and_a_shared_link(browser: "Browser", tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "small.yaml", write_beir_folder(tmp_path / "data", n_passages=100))
    with dashboard(None, folder=tmp_path) as board, Visit(browser, f"{board.url}/") as visit:
        visit.page.get_by_text("ragtrial demo").first.wait_for()

        done = ragtrial_command("evaluate", path, "--quiet")
        assert done.code in (0, 1), done.err
        content = concluded(url_of(tmp_path / ".ragtrial" / "ragtrial.db"))
        decision = words.DECISIONS[content.analysis.verdict.decision]
        visit.page.get_by_role("heading", name=decision, level=1).wait_for()  # it appears by itself

        visit.rest()
        assert content.analysis.verdict.sentence in visit.text()
        for asked in ("How large is the gain?", "How sure is it?", "What does it cost?"):
            box = visit.page.get_by_text(asked).bounding_box()
            assert box is not None
            assert box["y"] < FIRST_SCREEN, f"{asked} is not on the first screen"
        visit.page.locator(".rt-drawn img").first.wait_for(state="attached")
        assert shown_charts(visit.page)[0].startswith("nDCG@10: difference ")

        visit.page.get_by_text("The statistics behind the verdict").click()
        visit.page.get_by_text("Standard error, degrees of freedom").wait_for()
        visit.rest()
        visit.page.wait_for_url("**statistics=true**")
        link = visit.page.url
        assert f"evaluation={content.evaluation.evaluation_id}" in link
        assert "statistics=true" in link
        assert visit.outside() == []
        assert troubles(visit) == []

        with Visit(browser, link) as colleague:
            colleague.page.get_by_text("Standard error, degrees of freedom").wait_for()
            assert colleague.heading() == visit.heading()
            for _ in range(100):  # the last parts are on their way to the screen
                if colleague.text() == visit.text():
                    break
                colleague.page.wait_for_timeout(100)
            assert colleague.text() == visit.text()


def test_from_the_verdict_to_the_slices_of_one_tag(browser: "Browser", board: Board) -> None:
    with Visit(browser, f"{board.url}/") as visit:
        visit.page.get_by_role("link", name="Compare the arms").click()
        visit.page.get_by_text("Slices by", exact=True).wait_for()
        visit.rest()
        assert re.search(r"/compare\?.*evaluation=", visit.page.url)
        assert "planned metrics" in visit.heading()

        visit.page.get_by_role("radiogroup", name="Slices by").get_by_text("topic").click()
        visit.page.wait_for_url("**tag=topic**")
        visit.rest()
        with Visit(browser, visit.page.url) as colleague:
            drawn = colleague.page.locator("img[alt^='Differences in nDCG@10']").first
            drawn.wait_for(state="attached")
            slices = drawn.get_attribute("alt") or ""
            assert "topic: " in slices
            assert "source: " not in slices
            colleague.page.locator("[role=radio][aria-checked=true]", has_text="topic").wait_for()
            assert colleague.outside() == []
            assert troubles(colleague) == []


def test_exploratory_metrics_are_drawn_when_they_are_asked_for(browser: "Browser", board: Board) -> None:
    with Visit(browser, f"{board.url}/compare") as visit:
        before = shown_charts(visit.page)
        assert not any("answer_rouge_l" in each for each in before)
        visit.page.get_by_text("shown without a claim").click()
        visit.page.wait_for_url("**exploratory=true**")
        visit.page.locator(".rt-drawn img[alt*=answer_rouge_l]").first.wait_for(state="attached")
        visit.rest()
        visit.page.wait_for_function(f"document.querySelectorAll('.rt-drawn').length > {len(before)}")
        assert any("answer_rouge_l" in each for each in shown_charts(visit.page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390], ids=["desk", "phone"])
@pytest.mark.parametrize("page", ["", "compare?exploratory=true&numbers=true"], ids=["verdict", "compare"])
def test_the_pages_fit_the_screen_and_show_each_chart_once(browser: "Browser", board: Board, page: str, width: int, scheme: str) -> None:
    with Visit(browser, f"{board.url}/{page}", width=width, scheme=scheme) as visit:
        figures = visit.page.locator(".rt-drawn")
        for i in range(figures.count()):
            figures.nth(i).scroll_into_view_if_needed()
            pictures = figures.nth(i).locator("img")
            visible = [k for k in range(pictures.count()) if pictures.nth(k).evaluate("each => getComputedStyle(each).display") != "none"]
            assert len(visible) == 1
            shown = pictures.nth(visible[0])
            visit.page.wait_for_function("each => each.complete && each.naturalWidth > 0", arg=shown.element_handle())
            assert len(shown.get_attribute("alt") or "") > 30
        main = visit.page.locator("[data-testid=stMain]")
        assert main.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
        assert visit.outside() == []
        assert troubles(visit) == []


def test_the_phone_sees_the_decision_and_what_it_means_without_scrolling(browser: "Browser", board: Board) -> None:
    with Visit(browser, f"{board.url}/", width=390) as visit:
        for part in (visit.page.locator(".rt-verdict h1"), visit.page.locator(".rt-verdict .rt-said"), visit.page.locator(".rt-next")):
            box = part.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < FIRST_SCREEN
