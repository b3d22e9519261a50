"""A self-test as a page that needs no script and asks nothing of any network, and as Markdown."""

from collections.abc import Sequence

from ragtrial.domain.selftest import SelfTest
from ragtrial.report import selftest_words as said
from ragtrial.report.page import rendered


def as_selftest_html(found: SelfTest) -> str:
    """The page."""
    return rendered("selftest.html.j2", found=found, said=said)


def as_selftest_markdown(found: SelfTest) -> str:
    """The same for a wiki or a pull request."""
    parts = ["# Self-test", "", said.heading(found), "", said.where(found), "", *_table(said.HEADINGS, said.rows(found))]
    if found.null_runs:
        parts += ["", *_table(said.NULL_HEADINGS, said.null_rows(found)), "", said.HOW]
    return "\n".join(parts) + "\n"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(text: str) -> str:
    """Nothing in it is markup: names of stores and models are the user's."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in " ".join(text.split()))
