"""A passage's sentences, fit to be shown as an answer.

`sentencex` (Wikimedia; rules for abbreviations, brackets and decimals, no model) finds where sentences end: on scientific prose it
keeps `Fig. 2A`, `E. coli`, `et al. (2010)` and `p<0.05` whole, at about 70 MB of text a second. It knows nothing of Markdown, where a
line break can end a statement, so the text is first taken apart into blocks, line by line. A Markdown parser won't do for that: a
passage is a piece of a document and may begin inside a table, and plain prose must come out as it went in.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest

import sentencex

MIN_WORDS = 3
"""Shorter sentences ("Yes.", "See below.") say nothing on their own."""

LANGUAGE = "en"
"""Whose abbreviations sentencex knows."""

_FENCE = re.compile(r"\s*(```[^`]*|~~~.*)$")
_QUOTE = re.compile(r"^\s{0,3}(>\s?)+")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_UNDER_HEAD = re.compile(r"\s*\|[\s:|]*-[\s:|-]*$")
"""The line between a table's head and its body."""

_BREAK = re.compile(r"\s{0,3}#{1,6}(\s|$)|[\s|:*_=-]*$")
"""A heading, a rule, or a line without a word."""

_ITEM = re.compile(r"\s*(?P<mark>[-*+•]|[0-9]{1,3}[.)])\s+(?=\S)")
_WORD = re.compile(r"\w")


def sentences_of(text: str) -> tuple[str, ...]:
    """The sentences of a passage in order, white space collapsed; empty where none has `MIN_WORDS` words.

    Headings and heads of tables are left out: they name what follows and state nothing. Bullets, numbers of list items, quote marks and the outer bars
    of table rows are dropped; each list item, table row and line of code is cut on its own. Marks inside a line (`*emphasis*`,
    `` `code` ``, links) stay.
    """
    found = (sentence.strip() for block in _blocks(text) for sentence in sentencex.segment(LANGUAGE, block))
    return tuple(sentence for sentence in found if _n_words(sentence) >= MIN_WORDS)


def _n_words(sentence: str) -> int:
    return sum(_WORD.search(part) is not None for part in sentence.split())


def _blocks(text: str) -> Iterator[str]:
    """Runs of text in which no line break ends a statement, each as one line."""
    lines: list[str] = []
    fenced = listed = False
    raws = text.splitlines()
    for raw, following in zip_longest(raws, raws[1:], fillvalue=""):
        if _FENCE.match(raw):
            fenced = not fenced
            yield from _joined(lines)
            continue
        line = raw if fenced else _QUOTE.sub("", raw, count=1)
        if fenced or _ROW.match(line) or _BREAK.match(line):
            yield from _joined(lines)
            yield from _joined([] if _BREAK.match(line) or _UNDER_HEAD.match(following) else [line.strip().strip("|")])
            listed = False
            continue
        item = _ITEM.match(line)
        if item and (listed or not lines or _interrupts(item["mark"])):
            yield from _joined(lines)
            line, listed = line[item.end() :], True
        lines.append(line)
    yield from _joined(lines)


def _interrupts(mark: str) -> bool:
    r"""As in CommonMark 0.31, section 5.3: inside a paragraph only a bullet or the number 1 begins a list ("in table\n3. The" doesn't)."""
    return not mark[0].isdigit() or mark[:-1] == "1"


def _joined(lines: list[str]) -> Iterator[str]:
    """The lines collected so far as one block, if there are any; the list is emptied."""
    block = " ".join(" ".join(lines).split())
    lines.clear()
    if block:
        yield block
