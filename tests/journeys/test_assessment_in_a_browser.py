"""The page of an assessment in a real browser: it fits the screen, and asks no network."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from ragtrial.report.assessment_html import as_assessment_html
from ragtrial.settings import read_settings
from ragtrial.suite.assessing import assess_file
from unit.suite import assessing_world

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the assessment was not opened in a browser (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the assessment was not opened in a browser")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("assessed")
    path = folder / "report.html"
    path.write_text(as_assessment_html(assess_file(assessing_world.build(folder), settings=read_settings({}))), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 820, 390])
def test_it_fits_the_screen_and_asks_no_network(browser: "Browser", address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    figures = page.locator("figure.chart")
    assert figures.count() >= 3
    for place in range(figures.count()):
        box = figures.nth(place).locator(".wide svg" if width >= 720 else ".slim svg").bounding_box()
        assert box is not None
        assert box["width"] <= width
    page.close()
