"""Tables leave the dashboard whole: as Parquet exactly as they are, as CSV so that no spreadsheet runs what a user typed."""

import io
import re

import pandas as pd
import pytest

from ragtrial_board.linking import address
from ragtrial_board.naming import slug
from ragtrial_board.saying import badge, plain, unmarked
from ragtrial_board.tables import csv_of, parquet_of

FRAME = pd.DataFrame(
    {
        "query": ["=HYPERLINK('http://evil')", "+1 berth", "-0.5", "@cmd", "plain, with a comma", "كم من الوقت", None],
        "gain": [0.5, -0.25, None, 0.0, 1.0, 2.0, 3.0],
    }
)


def test_a_spreadsheet_runs_nothing_that_a_user_typed() -> None:
    read = pd.read_csv(io.BytesIO(csv_of(FRAME)), dtype={"query": str})
    assert list(read["query"][:5]) == ["'=HYPERLINK('http://evil')", "'+1 berth", "-0.5", "'@cmd", "plain, with a comma"]
    assert read["query"][5] == FRAME["query"][5]
    assert read["query"].isna()[6]
    pd.testing.assert_series_equal(read["gain"], FRAME["gain"])


def test_parquet_holds_the_table_as_it_is() -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet_of(FRAME))), FRAME)


def test_what_others_wrote_is_shown_as_it_is() -> None:
    text = "<img src=x onerror=alert(1)> **bold** ![x](http://evil/pixel)"
    shown = plain(text)
    assert "<img" not in shown
    assert "&lt;img src=x" in shown
    assert 'dir="auto"' in shown
    assert "<b>" not in badge("good", "✓", "<b>x</b>")
    for mark in ("*", "[", "]", "<", "`", "$", ":", "!"):
        assert f"\\{mark}" in unmarked(f"a{mark}b")
    assert unmarked("_a_ and doc_type") == "\\_a\\_ and doc_type"


@pytest.mark.parametrize("text", ["www.evil.example", "see WWW.evil.example/a", "https://evil.example/a?b=c", "mail ann@evil.example"])
def test_an_address_that_others_wrote_becomes_no_link(text: str) -> None:
    looked_for = re.compile(r"(https?:\\?/\\?/|www(?=\\?\.))|[-.\w+]+@[-\w]+\.", re.IGNORECASE)  # as the browser's Markdown looks for them
    assert looked_for.search(text)
    assert not looked_for.search(re.sub(r"\\(.)", r"\1", unmarked(text)))
    assert unmarked("nDCG@10") == "nDCG@10"


def test_an_address_holds_the_state_of_its_view() -> None:
    assert address("verdict") == "/"
    assert address("verdict", evaluation="a b") == "/?evaluation=a+b"
    assert address("query", evaluation="e-1", query="q&x=1") == "/query?evaluation=e-1&query=q%26x%3D1"


def test_names_of_files_are_plain() -> None:
    assert slug("nDCG@10 against USD") == "ndcg-10-against-usd"
    assert slug("كم") == "ragtrial"
