"""Texts that others wrote are texts wherever they are shown: in pages, in Markdown, in spreadsheets, on the terminal, in the log."""

import csv
import io
import json
import logging
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import lxml.html
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from poisoned import PAYLOAD, XSS, poisoned
from ragtrial.api.logs import JsonLines
from ragtrial.cli.terminal import console
from ragtrial.domain.inert import inert_cell, inert_markdown
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.model_card import model_card
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.formats.labels import Item, write_items
from ragtrial.formats.pairs import write_pairs
from ragtrial.report.html import as_html
from ragtrial.report.live_html import as_live_html
from ragtrial.report.live_markdown import as_live_markdown
from ragtrial.report.markdown import as_markdown
from ragtrial.report.slide import as_html as as_slide
from ragtrial.report.terminal import render_terminal
from ragtrial.suite.pair_files import export_pairs
from unit.report import live_samples, samples

FOREIGN = {"script", "iframe", "object", "embed", "form", "input", "base", "meta", "link", "img", "math", "textarea", "button"}


@pytest.fixture(scope="module")
def clean():
    return samples.build(n=60)


@pytest.fixture(scope="module")
def pages(clean) -> dict[str, str]:
    """Each page with the payloads in everything that it shows."""
    bad = poisoned(clean)
    return {"report": as_html(bad), "live": as_live_html(poisoned(live_samples.build(n=300))), "slide": as_slide(bad)}


class Elements(HTMLParser):
    """Names of elements, event handlers, and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [
            value or "" for name, value in attrs if name in ("href", "src", "action", "srcdoc", "xlink:href", "formaction", "style")
        ]


@pytest.mark.parametrize("name", ["report", "live", "slide"])
def test_a_page_of_poisoned_texts_has_no_element_handler_or_address_of_theirs(pages, name):
    found = Elements(pages[name])
    assert "window.broken" in pages[name], "the payloads are not on the page, so this test tests nothing"
    assert set(found.names) & FOREIGN <= {"meta", "link"}
    assert not [each for each in found.attributes if each.startswith("on")]
    assert not [each for each in found.addresses if "evil" in each or each.strip().lower().startswith(("javascript:", "data:text"))]
    tree = lxml.html.document_fromstring(pages[name])  # a second parser, which mends broken HTML as browsers do
    assert not tree.xpath(
        "//script | //*[@onerror or @onload or @onfocus or @onmouseover] | //iframe | //base | //meta[@http-equiv='refresh']"
    )


@pytest.mark.slow
def test_no_payload_runs_in_a_browser(pages, tmp_path):
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium is installed: the pages were not opened in a browser")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name, bad in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_text(bad, "utf-8")
            page.goto(path.as_uri())
            page.mouse.move(300, 300)
            assert page.evaluate("typeof window.broken") == "undefined", name
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def shown(markdown: str) -> Elements:
    """Markdown as a forge shows it, raw HTML and tables included."""
    return Elements(MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(markdown))


@pytest.mark.parametrize("make", ["report", "live"])
def test_markdown_of_poisoned_texts_makes_no_picture_no_link_and_no_html(clean, make):
    texts = as_markdown(poisoned(clean)) if make == "report" else as_live_markdown(poisoned(live_samples.build(n=300)))
    assert "broken" in texts
    found = shown(texts)
    assert not set(found.names) & (FOREIGN | {"a", "svg"})
    assert not [each for each in found.attributes if each.startswith("on")]
    assert "@everyone" not in texts
    assert "@security-team" not in texts


@pytest.mark.parametrize("payload", XSS)
def test_a_line_of_markdown_is_inert_whatever_is_in_it(payload):
    for text in (payload, f"\n\n{payload}", f"a\n- {payload}", f"```\n{payload}", f"> {payload}", f"\\{payload}"):
        found = shown(f"- {inert_markdown(text)}\n\n| a |\n|---|\n| {inert_markdown(text)} |\n")
        assert set(found.names) <= {"ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td", "em", "strong"}
        assert found.names["td"] == 1


def test_a_model_card_carries_out_nothing_of_its_lineage():
    lineage = {
        "base": {"name": PAYLOAD, "revision": "r", "location": PAYLOAD, "licence": PAYLOAD},
        "data_licence": PAYLOAD,
        "method": PAYLOAD,
        "data": {"path": PAYLOAD, "format": "beir", "split": "train"},
        "pair_files": [PAYLOAD],
        "training": {PAYLOAD: PAYLOAD},
        "settings": {PAYLOAD: [PAYLOAD]},
        "warnings": [PAYLOAD],
        "overfitting": PAYLOAD,
        "environment": {PAYLOAD: PAYLOAD},
        "experiment": PAYLOAD,
        "code": {"commit": PAYLOAD},
        "checksum": "0" * 64,
    }
    record = {
        "experiment": PAYLOAD,
        "id": PAYLOAD,
        "role": "treatment",
        "sentence": PAYLOAD,
        "against": PAYLOAD,
        "metrics": [{"name": PAYLOAD, "why_none": PAYLOAD}],
    }
    intrinsic = {
        "base": PAYLOAD,
        "general_source": PAYLOAD,
        "warnings": [PAYLOAD],
        "terms": [{"name": PAYLOAD, "before": {"reason": PAYLOAD}}],
    }
    card = model_card(
        RegisteredModel(name="m", version="v1", folder=Path("m"), lineage=lineage),
        evaluations=[record],
        intrinsic=intrinsic,
        licence=PAYLOAD,
    )
    _, _, body = card.split("---\n", 2)
    found = shown(body)
    assert not set(found.names) & (FOREIGN | {"a", "svg"})
    assert not [each for each in found.attributes if each.startswith("on")]


FORMULAE = (
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "hello\r=1+1",
    "hello\r\n=1",
    " =1",
    "\n=1",
    "＝1+1",  # noqa: RUF001 - the wide form, on purpose
    '=HYPERLINK("https://evil.example")',
)


def test_no_cell_of_a_csv_file_is_run_by_a_spreadsheet(tmp_path):
    from ragtrial_board.tables import csv_of

    pairs = [
        Pair(query=text, passage=f"{text} p", passage_id=f"p{n}", document_id="d", negatives=(text,)) for n, text in enumerate(FORMULAE)
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    export_pairs(tmp_path / "pairs.jsonl", tmp_path / "pairs.csv", form="triplets", split=None)
    items = [Item(item_id=f"i{n}", question=text, references=(text,), passages=(text,), answer=text) for n, text in enumerate(FORMULAE)]
    write_items(tmp_path / "labels.csv", items, ("yes", "no"))
    tables = [(tmp_path / name).read_bytes().decode() for name in ("pairs.csv", "labels.csv")]
    tables.append(csv_of(pd.DataFrame({"text": FORMULAE, "number": range(len(FORMULAE))})).decode())
    for table in tables:
        assert "\r" not in table.replace("\r\n", "\n")  # outside of quotes it would begin a row
        rows = list(csv.reader(io.StringIO(table, newline="")))
        assert len(rows) == len(FORMULAE) + 1
        assert not [cell for row in rows for cell in row if cell.lstrip(" \n")[:1] in set("=+-@\t\r＝＋－＠")]  # noqa: RUF001


def test_a_number_with_its_sign_stays_a_number():
    assert [inert_cell(text) for text in ("-0.5", "+1e-3", "-", "a=b", "")] == ["-0.5", "+1e-3", "'-", "a=b", ""]


def test_no_escape_sequence_of_a_text_reaches_the_terminal(clean):
    from rich.panel import Panel
    from rich.table import Table

    out = console()
    out.file, out.no_color = io.StringIO(), True
    render_terminal(poisoned(clean), out)
    out.print(f"error: {PAYLOAD}", markup=False, soft_wrap=True)
    table = Table(PAYLOAD)
    table.add_row(PAYLOAD)
    out.print(table, Panel(PAYLOAD))
    said = out.file.getvalue()
    assert "\N{REPLACEMENT CHARACTER}" in said
    assert not set(said) & set("\x1b\x9b\x07\x9d\x90")


def test_the_answers_in_the_cache_are_listed_without_their_escape_sequences(tmp_path, capsys):
    from ragtrial.cli.calls import _list_keys
    from ragtrial.llm.cache import CallCache
    from ragtrial.llm.chat import ChatRequest, Completion, Endpoint, Sampling

    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1", model="m\x1b[31m")
    request = ChatRequest(endpoint=endpoint, system="s", user="u", prompt="p/1", sampling=Sampling(max_tokens=5))
    with CallCache(tmp_path) as cache:
        done = Completion(
            key=request.key,
            text="\x1b]0;owned\x07 yes",
            model="m",
            elapsed_ms=1.0,
            prompt_tokens=1,
            cached_tokens=None,
            completion_tokens=1,
            cost_usd=None,
        )
        cache.put([(request, done)])
    _list_keys(tmp_path)
    said = capsys.readouterr().out
    assert "owned" in said
    assert "\x1b" not in said


def test_a_line_of_the_log_is_one_line_whatever_is_in_it():
    record = logging.makeLogRecord(
        {"name": "x", "msg": "asked %s", "args": ('"}\n{"level": "error", "message": "forged"} \u2028\x1b[2J',), "levelname": "INFO"}
    )
    line = JsonLines().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"].startswith("asked")
