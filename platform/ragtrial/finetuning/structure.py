"""Pairs without an LLM: what a document's title, its headings and the definitions in it say of the text below or beside them.

A title or a heading is taken out of the passage that it becomes the query of: a passage that holds its query word for word teaches a model
to compare words, which it can already.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragtrial.domain.corpus import Document, Passage
from ragtrial.domain.pair import Pair, PairOrigin
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.leakage import normalise, text_digest
from ragtrial.generation.sentences import sentences_of

NO_TITLE = "the document has no title"
NO_WORDS = "fewer than two words"
SHARED_TITLE = "documents that don't belong together share the title"
SERIES = "three or more titles differ in numbers, days and months alone"
UNDER_A_HEADING = "the document goes on in other passages, and its first one stands under a heading of its own"
OF_ALL_ALONE = "the document goes on in other passages, and its first one holds less than half of the title's words"
SHARED_HEADING = "several sections are called so, and there is no title to tell them apart"
TOO_SHORT = "the text below it has fewer than 8 words"
DEFINED_OFTEN = "the term is explained in more than 2 documents"

_LEAST_WORDS = 8
_A_SERIES = 3
_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonnabend|sonntag"
_MONTHS = r"january|february|april|june|july|august|september|october|november|december|januar|februar|märz|juni|juli|oktober|dezember"
_ALSO_WORDS = (
    r"may|march|mai|jan|feb|mar|mär|apr|jun|jul|aug|sept?|oct|okt|nov|dec|dez|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun|mo|di|mi|do|fr|sa|so"
)
_NUMBER = r"\d+(?:st|nd|rd|th)?"
_COUNTED = re.compile(
    rf"\b(?:(?:{_DAYS}|{_MONTHS})\b"
    rf"|(?:{_ALSO_WORDS})(?=\s+(?:(?:{_MONTHS}|{_ALSO_WORDS})\s+)?{_NUMBER}\b)"
    rf"|(?:(?<=\d\s)|(?<=\d(?:st|nd|rd|th)\s)|(?<=\d(?:st|nd|rd|th)\sof\s))(?:{_ALSO_WORDS})\b"
    r"|(?:may|march|mai)$|(?:x{0,3}(?:ix|iv|v?i{1,3})|x{1,3}v?|v)\b)"
    rf"|{_NUMBER}"
)
"""What the titles of a series differ in, as `normalise` writes them: numbers (also Roman), days and months, English and German. A word that may
also be another one counts beside a number only, `may` and `march` also at the end."""

_CONTENT = re.compile(r"[^\W\d_]{4,}")
_STEM = 5
"""Letters by which words are compared, so that a plural or another ending is the same word."""

_MOST_DOCUMENTS = 2
_FIRST_LINE = re.compile(r"\s*(?P<heading>\S[^\n]{0,119})\n[ \t]*\n(?=\s*\S)")
_SENTENCE_END = (".", ";", ":", ",", "!")
_LINE_END = re.compile(r"\r\n|\r|\n")

_MARKED = r"(?P<mark>\*\*|\*|__|_|`|[\"“])(?P<term>[^*`\n\"“”]{2,60}?)(?:(?P=mark)|”)"
_IS = r"(?:is|are|means?|stands? for|refers? to|denotes?|describes?)"
_MARKED_TERM = re.compile(rf"(?:^|[\s(]){_MARKED}(?:\s+\([^)]*\))?,?\s+{_IS}\s+\S")
_LISTED_TERM = re.compile(
    r"^[ \t]*(?:[-*+•]\s+|\d+[.)]\s+)?\*\*(?P<term>[^*\n]{2,60}?)(?::\*\*|\*\*[ \t]*(?::|\u2013|\u2014|-[ \t]))[ \t]*(?P<said>\S[^\n]*)",
    re.MULTILINE,
)
_PLAIN_TERM = re.compile(
    r"(?P<article>An?\s+)?(?P<term>[^\W_][\w/&-]*(?:\s[\w/&-]+){0,3}?)\s+"
    r"(?:(?P<is>is|are)\s+(?:an?|the)|means|stands? for|refers? to)\s+\S"
)
_TABLE = re.compile(r"^ {0,3}\|?[ \t]*:?-+:?[ \t]*\|", re.MULTILINE)
_TERM_HEADS = frozenset(("abbreviation", "acronym", "expression", "jargon", "short", "short form", "term", "terms", "word", "words"))
_MEANING_HEADS = frozenset(
    ("definition", "description", "explanation", "full form", "in full", "long form", "meaning", "means", "stands for")
)
"""What the first two columns of a glossary are called."""

_ABBREVIATION = re.compile(r"[A-Z0-9&-]*[A-Z][A-Z0-9&-]*[A-Z0-9][A-Z0-9&-]*")
_NO_FIRST_WORDS = (
    "a all and another any as at both but by each every few for he her here his how i if in it its many most my neither no none nothing not of "
    "on one only or other our she so some such that the their then there these they this those to we what when where which who whose why with "
    "you your"
)
_NO_LAST_WORDS = "also always by for in mostly never of often on only place sometimes to usually with"
_NO_TERM, _NO_END = frozenset(_NO_FIRST_WORDS.split()), frozenset(_NO_LAST_WORDS.split())
_ASKED = ("What is {}?", "What does {} mean?", "{} definition")


class Section(NamedTuple):
    """A heading with the text below it, up to the next heading of any level.

    Attributes:
        heading: Its words, without marks.
        body: Offset of the first character below it.
        end: Offset behind the last one.
    """

    heading: str
    body: int
    end: int


def title_pairs(documents: Sequence[Document], passages: Sequence[Passage]) -> Gathered:
    """Each title with the beginning of its document, where it says what is told there.

    A title of a document (or article) of one passage is paired with that. Where there are more passages the title is about all of them:
    a digest of a chat, a collection of tickets. Then it is paired with what stands before the first heading, and only if that holds half
    of the title's words; the passages below headings are for `heading_pairs`. A title that parts of one article share, or lack, counts once.
    """
    places, left_out = _by_document(passages), Counter[str]()
    groups: dict[str, set[str]] = {}
    for document in documents:
        groups.setdefault(normalise(document.title), set()).add(document.group or document.document_id)
    series = Counter(_COUNTED.sub("#", title) for title in groups)
    owner = {document.document_id: document.group or document.document_id for document in documents}
    sizes = Counter(owner[passage.document_id] for passage in passages if passage.document_id in owner)
    pairs, seen = [], set[tuple[str, str]]()
    for document in documents:
        title = normalise(document.title)
        if (owner[document.document_id], title) in seen:
            continue
        seen.add((owner[document.document_id], title))
        first = places[document.document_id][0]
        is_whole = sizes[owner[document.document_id]] == 1
        body = first.text.strip() if is_whole else _lead(first.text)
        reason = (
            (None if title else NO_TITLE)
            or _unfit(document.title)
            or (SHARED_TITLE if len(groups[title]) > 1 else None)
            or (SERIES if series[_COUNTED.sub("#", title)] >= _A_SERIES and not _says_all(title, body) else None)
            or (None if is_whole else _unsaid(title, body))
        )
        if reason is not None:
            left_out[reason] += 1
            continue
        pairs.append(_pair(document.title, first, "title", document, body=body))
    return _checked(pairs, left_out)


def _says_all(title: str, text: str) -> bool:
    """Whether a text has every word and number of a title: that of `ataxia type 3` speaks of just this one."""
    return set(title.split()) <= set(normalise(text).split())


def _unsaid(title: str, lead: str) -> str | None:
    """Why the beginning of a long document isn't what its title says; None where it is."""
    if len(lead.split()) < _LEAST_WORDS:
        return UNDER_A_HEADING
    said = {word[:_STEM] for word in _CONTENT.findall(normalise(lead))}
    words = {word[:_STEM] for word in _CONTENT.findall(title)}
    return None if words and len(words & said) >= len(words) / 2 else OF_ALL_ALONE


def _lead(text: str) -> str:
    """What stands before the first heading; all of a text without any."""
    heads = _heads(text)
    if heads:
        return text[: heads[0][1]].strip()
    return "" if _under_first_line(text) else text.strip()


def heading_pairs(documents: Sequence[Document], passages: Sequence[Passage]) -> Gathered:
    """Each heading with the text below it, as far as one passage holds it; the document's title goes before a heading that others have too."""
    places, left_out = _by_document(passages), Counter[str]()
    found = [(document, section) for document in documents for section in sections(document.text)]
    named = Counter(normalise(section.heading) for _, section in found)
    pairs = []
    for document, section in found:
        heading = normalise(section.heading)
        if heading == normalise(document.title):
            continue  # the title says it already
        reason = _unfit(section.heading)
        common = named[heading] > 1 or reason is not None
        if common and not document.title.strip():
            left_out[reason or SHARED_HEADING] += 1
            continue
        passage, body = _held(document, section, places[document.document_id])
        query = f"{document.title}: {section.heading}" if common else section.heading
        pairs.append(_pair(query, passage, "heading", document, body=body))
    return _checked(pairs, left_out)


def definition_pairs(documents: Sequence[Document], passages: Sequence[Passage]) -> Gathered:
    """A question for each term that a passage explains: `**term**: ...`, `*term* means ...`, `TERM is the ...`, `A term is a ...`, and a table's rows."""
    by_id, left_out = {document.document_id: document for document in documents}, Counter[str]()
    found: dict[str, dict[str, tuple[str, Passage]]] = {}
    for passage in passages:
        for term in terms_of(passage.text):
            found.setdefault(normalise(term), {}).setdefault(passage.document_id, (term, passage))
    pairs = []
    for name, places in found.items():
        if len(places) > _MOST_DOCUMENTS:
            left_out[DEFINED_OFTEN] += 1
            continue
        for term, passage in places.values():
            query = _ASKED[int(text_digest(name)[:8], 16) % len(_ASKED)].format(term)
            pairs.append(_pair(query, passage, "definition", by_id[passage.document_id], body=passage.content, term=term))
    return Gathered(pairs=tuple(pairs), left_out=dict(left_out))


def sections(text: str) -> tuple[Section, ...]:
    """The sections of a Markdown text, in order; of a text without a heading its first line, where a blank line sets it off as one."""
    heads = _heads(text)
    if not heads:
        return _under_first_line(text)
    behind = [*(begin for _, begin, _ in heads[1:]), len(text)]
    return tuple(Section(heading=heading, body=body, end=end) for (heading, _, body), end in zip(heads, behind, strict=True) if heading)


def _heads(text: str) -> list[tuple[str, int, int]]:
    """The words of each Markdown heading, where it begins, and where the text below it does."""
    tokens = MarkdownIt("commonmark").parse(text)
    starts = [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]
    found = []
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            begin, body = (starts[min(line, len(starts) - 1)] for line in token.map)
            found.append((_plain(tokens[place + 1]), begin, body))
    return found


def terms_of(text: str) -> tuple[str, ...]:
    """The terms that a text explains, once each, in order of the kinds of explanation."""
    listed = [match["term"] for match in _LISTED_TERM.finditer(text) if len(match["said"].split()) > 1]
    tabled = list(_tabled_terms(text)) if _TABLE.search(text) else []
    sentences = sentences_of(text)
    marked = [match["term"] for sentence in sentences for match in _MARKED_TERM.finditer(sentence)]
    plain = [term for sentence in sentences for term in _plain_terms(sentence)]
    once = {normalise(term): term.strip(" .:,-") for term in reversed([*listed, *tabled, *marked, *plain]) if _is_term(term)}
    return tuple(reversed(once.values()))


def _tabled_terms(text: str) -> Iterator[str]:
    """The first cells of the rows of a Markdown table whose first two columns are headed as terms and their meanings."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells: list[str] = []
    headed = False
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            cells = []
        elif token.type in ("th_open", "td_open"):
            cells.append(_plain(tokens[place + 1]))
        elif token.type == "tr_close":
            in_head = tokens[place + 1].type == "thead_close"
            if in_head:
                headed = len(cells) > 1 and normalise(cells[0]) in _TERM_HEADS and normalise(cells[1]) in _MEANING_HEADS
            elif headed and len(cells[1].split()) > 1:
                yield cells[0]


def _plain_terms(sentence: str) -> Iterator[str]:
    """What begins the sentence and is explained in it without marks: only what can hardly be anything else than a term."""
    match = _PLAIN_TERM.match(sentence)
    if match is None:
        return
    if match["article"] or match["is"] is None or _ABBREVIATION.fullmatch(match["term"]):
        yield match["term"]


def _is_term(term: str) -> bool:
    words = normalise(term).split()
    if not words or words[0] in _NO_TERM or words[-1] in _NO_END:
        return False
    return len(words) <= 5 and any(character.isalpha() for character in term) and len(term.strip()) > 1


def _plain(inline: Token) -> str:
    """A heading's words without emphasis and links."""
    return "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline")).strip()


def _under_first_line(text: str) -> tuple[Section, ...]:
    match = _FIRST_LINE.match(text)
    if match is None or match["heading"].rstrip().endswith(_SENTENCE_END) or len(match["heading"].split()) > 12:
        return ()
    return (Section(heading=match["heading"].strip(), body=match.end(), end=len(text)),)


def _held(document: Document, section: Section, passages: Sequence[Passage]) -> tuple[Passage, str]:
    """The passage that holds most of a section, and what of the section it holds."""
    passage = max(passages, key=lambda each: min(each.end, section.end) - max(each.start, section.body))
    return passage, document.text[max(passage.start, section.body) : min(passage.end, section.end)].strip()


def _by_document(passages: Sequence[Passage]) -> Mapping[str, Sequence[Passage]]:
    found: dict[str, list[Passage]] = {}
    for passage in passages:
        found.setdefault(passage.document_id, []).append(passage)
    return found


def _unfit(query: str) -> str | None:
    return NO_WORDS if sum(any(map(str.isalpha, word)) for word in normalise(query).split()) < 2 else None


def _pair(query: str, passage: Passage, origin: PairOrigin, document: Document, *, body: str, **provenance: object) -> Pair:
    return Pair(
        query=" ".join(query.split()),
        passage=body,
        passage_id=passage.passage_id,
        document_id=document.document_id,
        source=document.group or document.document_id,
        origin=origin,
        provenance=provenance,
    )


def _checked(pairs: Sequence[Pair], left_out: Counter[str]) -> Gathered:
    kept = [pair for pair in pairs if len(pair.passage.split()) >= _LEAST_WORDS]
    if len(kept) < len(pairs):
        left_out[TOO_SHORT] += len(pairs) - len(kept)
    return Gathered(pairs=tuple(kept), left_out=dict(left_out))
