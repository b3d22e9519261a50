"""Documents into passages, and judgments on documents or spans onto those passages.

A gold set is judged on documents or on runs of their characters, never on passages, so that it outlives any chunking.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from ragtrial.contracts import Chunker
from ragtrial.domain.corpus import Corpus, Document, Passage
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.gold import GoldSet, Judgment

_PASSAGE_ID = re.compile(r"(?P<document>.+)#(?P<start>[0-9]+)-(?P<end>[0-9]+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A `Chunker` that doesn't cut: each document is one passage under its own id."""

    def split(self, document: Document) -> tuple[Passage, ...]:
        """The whole text as one passage."""
        return (
            Passage(
                passage_id=document.document_id,
                document_id=document.document_id,
                title=document.title,
                text=document.text,
                start=0,
                end=len(document.text),
                group=document.group,
            ),
        )


class _Splitter(Protocol):
    def chunk_indices(self, text: str) -> list[tuple[int, str]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutter:
    """A `Chunker` that cuts at the largest units of meaning that fit (paragraph, sentence, word; headings first in Markdown).

    A passage's id is `<document id>#<start>-<end>`: the same id is the same text under any chunking. White space between passages
    belongs to none; every other character belongs to at least one.

    Attributes:
        splitter: Of semantic-text-splitter; its offsets count characters, as Python's do (not bytes).
    """

    splitter: _Splitter

    def split(self, document: Document) -> tuple[Passage, ...]:
        """The passages in order; neighbours share characters only where an overlap was asked for."""
        return tuple(
            Passage(
                passage_id=f"{document.document_id}#{start}-{start + len(text)}",
                document_id=document.document_id,
                title=document.title,
                text=text,
                start=start,
                end=start + len(text),
                group=document.group,
            )
            for start, text in self.splitter.chunk_indices(document.text)
            if text.strip()  # Rust counts U+001C to U+001F as text, Python as white space
        )


def chunker(spec: ChunkingSpec) -> Chunker:
    """The chunker that the spec describes."""
    if spec.strategy == "none":
        return Whole()
    make = MarkdownSplitter if spec.strategy == "markdown" else TextSplitter
    return Cutter(splitter=make(spec.max_chars, overlap=spec.overlap_chars))


def cut(documents: Iterable[Document], spec: ChunkingSpec, name: str) -> Corpus:
    """The passages of all documents, in order.

    Raises:
        ValueError: No documents, or an id twice.
    """
    cutter = chunker(spec)
    passages = tuple(passage for document in documents for passage in cutter.split(document))
    return Corpus(name=name, passages=passages, chunking=spec.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turnover:
    """What became of the judgments when they were resolved to passages.

    Attributes:
        n_judgments: As they were given.
        n_resolved: Those that reached at least one passage.
        unresolved: The others, each with the reason.
        partial: Spans that the judged passages cover only in part, each with the share of its characters (white space aside)
            that they cover, above 0 and below 1. A span that a cut goes through loses the end that is too small to judge a passage by.
        n_passages_judged: Judgments after resolving: pairs of query and passage.
    """

    n_judgments: int
    n_resolved: int
    unresolved: tuple[tuple[Judgment, str], ...] = ()
    partial: tuple[tuple[Judgment, float], ...] = ()
    n_passages_judged: int

    def summary(self) -> str:
        """All of it in one sentence."""
        text = f"{self.n_resolved} of {self.n_judgments} judgments resolved to {self.n_passages_judged} judged passages"
        if self.partial:
            text += f", {len(self.partial)} of them covered in part"
        if self.unresolved:
            judgment, reason = self.unresolved[0]
            text += f"; {len(self.unresolved)} could not be resolved, e.g. of query {judgment.query_id!r}: {reason}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A gold set on passages.

    Attributes:
        gold: The same queries, judged on the passages of one corpus; a query whose judgments could not be resolved has none.
        turnover: What became of the judgments.
    """

    gold: GoldSet
    turnover: Turnover


def resolve(gold: GoldSet, documents: Sequence[Document], corpus: Corpus) -> Resolved:
    """Put judgments of documents and spans onto the passages of `corpus`.

    A judgment of a document holds for each of its passages. A judgment of a span holds for every passage that has at least half of the
    span, or of which the span has at least half (in characters, white space aside); where these hold less than half of the span
    together, also for those that have most of it, one after the other, until they do.
    A judgment of a passage of `corpus` is kept; one of a passage of another chunking (`<document id>#<start>-<end>`) counts as its span.
    Where several judgments of a query meet in one passage the highest grade holds, so a grade of 0 never takes relevance away.

    Args:
        gold: Judged on documents, spans, or passages.
        documents: What `corpus` was cut from.
        corpus: The passages.
    """
    texts = {document.document_id: document.text for document in documents}
    passages: dict[str, list[Passage]] = {}
    for passage in corpus.passages:
        passages.setdefault(passage.document_id, []).append(passage)
    grades: dict[tuple[str, str], int] = {}
    unresolved: list[tuple[Judgment, str]] = []
    partial: list[tuple[Judgment, float]] = []
    for judgment in gold.judgments:
        found = _found(judgment, texts, passages, corpus)
        if isinstance(found, str):
            unresolved.append((judgment, found))
            continue
        for passage in found.passages:
            key = (judgment.query_id, passage.passage_id)
            grades[key] = max(judgment.grade, grades.get(key, 0))
        if judgment.grade > 0 and found.covered < 1:
            partial.append((judgment, found.covered))
    judgments = tuple(Judgment(query_id=query, target_id=passage, grade=grade) for (query, passage), grade in grades.items())
    turnover = Turnover(
        n_judgments=len(gold.judgments),
        n_resolved=len(gold.judgments) - len(unresolved),
        unresolved=tuple(unresolved),
        partial=tuple(partial),
        n_passages_judged=len(judgments),
    )
    return Resolved(gold=GoldSet(name=gold.name, queries=gold.queries, judgments=judgments), turnover=turnover)


@dataclass(frozen=True, slots=True)
class _Found:
    """The passages that a judgment holds for, at least one, and the share of the judged characters that they hold."""

    passages: Sequence[Passage]
    covered: float = 1.0


def _found(judgment: Judgment, texts: Mapping[str, str], passages: Mapping[str, Sequence[Passage]], corpus: Corpus) -> _Found | str:
    """Where a judgment goes, or the reason why it goes nowhere."""
    document_id, start, end = judgment.target_id, judgment.start, judgment.end
    if document_id not in texts and start is None:
        if document_id in corpus.by_id:
            return _Found((corpus.by_id[document_id],))
        document_id, start, end = _span_in(document_id)
    if document_id not in texts:
        return f"{judgment.target_id!r} is neither a document nor a passage of corpus {corpus.name!r}"
    text, there = texts[document_id], passages.get(document_id, ())
    if not there:
        return f"document {document_id!r} has no passage in corpus {corpus.name!r}"
    if start is None or end is None:
        return _Found(there)
    if end > len(text):
        return f"the span {start}..{end} reaches beyond document {document_id!r}, which has {len(text)} characters"
    if not text[start:end].strip():
        return f"the span {start}..{end} of document {document_id!r} is white space only"
    touched = _touched(text, start, end, there)
    if not touched:
        return f"the span {start}..{end} of document {document_id!r} lies in none of its passages"
    return _Found(touched, _covered(text, start, end, touched))


def _span_in(passage_id: str) -> tuple[str, int | None, int | None]:
    """Document and offsets that a passage id of any chunking names; the id itself where it names none."""
    match = _PASSAGE_ID.fullmatch(passage_id)
    return (match["document"], int(match["start"]), int(match["end"])) if match else (passage_id, None, None)


def _touched(text: str, start: int, end: int, passages: Sequence[Passage]) -> Sequence[Passage]:
    """The passages that a span judges, as `resolve` says; none where no passage has any of it."""
    of_span = _size(text, start, end)
    near = [p for p in passages if p.start < end and start < p.end]
    shared = {p.passage_id: _size(text, max(start, p.start), min(end, p.end)) for p in near}
    by_share = sorted((p for p in near if shared[p.passage_id]), key=lambda p: -shared[p.passage_id])
    touched = [p for p in by_share if 2 * shared[p.passage_id] >= min(of_span, _size(text, p.start, p.end))]
    for passage in by_share:
        if touched and 2 * _covered(text, start, end, touched) >= 1:
            break
        if passage not in touched:
            touched.append(passage)
    return touched


def _size(text: str, start: int, end: int) -> int:
    """Characters between two offsets, white space aside, so that a gap between passages takes no part."""
    return sum(map(len, text[start:end].split()))


def _covered(text: str, start: int, end: int, passages: Sequence[Passage]) -> float:
    """The share of the span's characters, white space aside, that the passages hold."""
    wanted = [offset for offset in range(start, end) if not text[offset].isspace()]
    held = sum(any(p.start <= offset < p.end for p in passages) for offset in wanted)
    return held / len(wanted)
