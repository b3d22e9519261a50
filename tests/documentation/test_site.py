"""The site builds strictly from what is there, and asks no other host for anything."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("material")

LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data", "use": "href"}
"""What a browser fetches by itself; a link that a reader clicks may lead anywhere."""


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).parent / "mkdocs"
    # not --quiet: what is not logged is not counted by --strict
    command = [mkdocs, "build", "--strict", "--config-file", repository / "docs" / "site" / "mkdocs.yml", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


class Fetched(HTMLParser):
    """Addresses that a page makes the browser fetch, its anchors, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        address = given.get(LOADED.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in ("canonical", "next", "prev")):
            self.addresses.append(address)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        self.addresses += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()]


def read(page: Path) -> Fetched:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *said: object) -> None:
        """Nothing on standard error."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def foreign(address: str) -> bool:
    return bool(re.match(r"(?:[a-z]+:)?//", address))


@pytest.mark.slow
def test_no_page_makes_a_browser_ask_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert {address for page in pages for address in read(page).addresses if foreign(address)} == set()
    styles = [*site.rglob("*.css"), *site.rglob("*.svg")]
    inside = r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)"""
    assert {found for style in styles for found in re.findall(inside, style.read_text(encoding="utf-8"))} == set()
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert "mermaid" not in re.findall(r'class="([^"]*)"', text)  # the theme would fetch its renderer from elsewhere
    assert 'data-md-component="source"' not in text  # the theme would ask the code host for stars


@pytest.mark.slow
def test_every_link_within_the_site_leads_to_a_page_and_its_heading(site: Path) -> None:
    pages = {page: read(page) for page in site.rglob("*.html")}
    broken = []
    for page, found in pages.items():
        for link in found.links:
            path, _, anchor = unquote(link).partition("#")
            if foreign(link) or link.startswith(("mailto:", "data:")) or page.name == "404.html":
                continue
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.slow
def test_the_reference_is_made_from_the_code(site: Path) -> None:
    text = {
        name: (site / "reference" / f"{name}.html").read_text(encoding="utf-8") for name in ("experiment-file", "http-api", "python-stats")
    }
    assert "Smallest" in text["experiment-file"]
    assert "min_effect" in text["experiment-file"]
    assert "/v1/feedback" in text["http-api"]
    assert "sign_flip" in text["python-stats"]
    assert "Student 1908" in text["python-stats"]


@pytest.mark.slow
def test_a_real_browser_asks_no_other_host_finds_words_and_needs_no_sideways_scrolling(site: Path) -> None:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the site was not opened in a browser (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the site was not opened in a browser")
    with served(site) as url, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(120_000)
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in ("explained", "reference/experiment-file"):
            page.goto(f"{url}/{name}.html", wait_until="networkidle")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{url}/index.html")
        page.fill(".md-search__input", "guardrail")
        page.wait_for_selector(".md-search-result__item")
        browser.close()
    assert {address for address in asked if not address.startswith((url, "data:", "blob:"))} == set()
    assert faults == []
