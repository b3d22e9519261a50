"""The HTML report in a real browser: what a reader sees at a desk and on a phone, by day and by night, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ragtrial.report.html import as_html
from unit.report import samples

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTHS = {"desk": 1440, "tablet": 820, "phone": 390}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the report was not opened in a browser (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the report was not opened in a browser")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(as_html(samples.build()), encoding="utf-8")
    return path.as_uri()


class Visit:
    """One page, with everything that went wrong on it or left it."""

    def __init__(self, browser: "Browser", address: str, *, width: int = 1440, scheme: str = "light", script: bool = True) -> None:
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
            java_script_enabled=script,
        )
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_it_fits_the_screen_says_nothing_to_the_console_and_asks_no_network(
    browser: "Browser", address: str, width: int, scheme: str
) -> None:
    with Visit(browser, address, width=width, scheme=scheme) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        visit.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate("document.body.scrollWidth") <= width
        assert visit.said == []
        assert all(url.startswith(("file:", "data:")) for url in visit.asked)
        assert visit.page.title() == "Adopt custom: portwright-minilm-vs-finetuned"


def test_each_chart_shows_the_one_drawing_that_suits_the_screen(browser: "Browser", address: str) -> None:
    for width, shown in ((1440, "wide"), (390, "slim")):
        with Visit(browser, address, width=width) as visit:
            figures = visit.page.locator("figure.chart")
            assert figures.count() == 7
            for i in range(7):
                drawings = figures.nth(i).locator("svg")
                assert [drawings.nth(k).is_visible() for k in range(2)] == [shown == "wide", shown == "slim"]
                box = figures.nth(i).locator(f".{shown} svg").bounding_box()
                assert box is not None
                assert box["width"] <= width
                assert box["height"] > 60


def test_charts_and_page_change_colours_at_night(browser: "Browser", address: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        with Visit(browser, address, scheme=scheme) as visit:
            ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
            marks = "#metrics figure .wide svg [fill='var(--chart-custom)']"
            seen[scheme] = (ground, visit.page.evaluate(f'getComputedStyle(document.querySelector("{marks}")).fill'))
    assert seen["light"] == ("rgb(244, 246, 248)", "rgb(213, 94, 0)")
    assert seen["dark"] == ("rgb(15, 20, 26)", "rgb(240, 161, 58)")


def test_text_has_enough_contrast_by_day_and_by_night(browser: "Browser", address: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, by its formula for relative luminance."""
    measure = """() => {
        const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
        const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = element => {
            for (let at = element; at; at = at.parentElement) {
                const colour = numbers(getComputedStyle(at).backgroundColor);
                if (colour.length < 4 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        const low = new Set();
        for (const element of document.querySelectorAll("body *:not(svg, svg *)")) {
            const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
            if (!own || !element.checkVisibility()) continue;
            const pair = [luminance(numbers(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
            const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
            if (ratio < 4.5) low.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
        }
        return [...low];
    }"""
    for scheme in ("light", "dark"):
        with Visit(browser, address, scheme=scheme) as visit:
            visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert visit.page.evaluate(measure) == []


def test_a_reader_opens_a_win_by_keyboard_and_reads_both_sides(browser: "Browser", address: str) -> None:
    with Visit(browser, address, script=False) as visit:
        first = visit.page.locator("details.example").first
        assert not first.locator(".sides").is_visible()
        first.locator("summary").first.focus()
        visit.page.keyboard.press("Enter")
        first.locator(".sides").wait_for()
        assert first.locator(".passage.gold").first.is_visible()
        assert samples.SCRIPT in first.inner_text()
        assert visit.page.title().startswith("Adopt custom")


def test_hostile_text_stays_text_even_with_scripts_allowed(browser: "Browser", address: str) -> None:
    with Visit(browser, address) as visit:
        assert visit.page.locator("script").count() == 0
        assert visit.page.locator("main img").count() == 0
        assert visit.page.evaluate("document.querySelectorAll('b').length") < 10
        assert visit.page.title() != "broken"


def test_wide_tables_scroll_inside_their_own_box_on_a_phone(browser: "Browser", address: str) -> None:
    with Visit(browser, address, width=390) as visit:
        box = visit.page.locator("#metrics .scroll")
        assert box.evaluate("each => each.scrollWidth > each.clientWidth")
        assert box.evaluate("each => getComputedStyle(each).overflowX") == "auto"


def test_it_prints_by_day_and_on_a_sheet(browser: "Browser", address: str, tmp_path: Path) -> None:
    with Visit(browser, address, scheme="dark", width=718) as visit:  # A4 less margins of 1 cm, at 96 dots an inch
        path = tmp_path / "report.pdf"
        visit.page.pdf(path=str(path), format="A4")
        assert path.read_bytes().startswith(b"%PDF")
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert visit.page.evaluate("getComputedStyle(document.querySelector('h2')).color") == "rgb(22, 32, 44)"
        boxes = visit.page.evaluate("[...document.querySelectorAll('.scroll')].map(each => each.scrollWidth - each.clientWidth)")
        assert max(boxes) <= 0
