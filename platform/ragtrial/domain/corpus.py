"""What is searched: documents, and the passages that they are cut into."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ragtrial.domain.fingerprint import digest_lines

GROUPS_LENGTH = 12
"""Digits of `Corpus.groups`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A source text.

    Attributes:
        document_id: Unique in the corpus.
        title: May be empty.
        text: Never blank.
        group: What the document belongs to (the article of an already cut passage), or None.

    Raises:
        ValueError: The id or the text is blank.
    """

    document_id: str
    title: str = ""
    text: str
    group: str | None = None

    def __post_init__(self) -> None:
        if not self.document_id.strip():
            raise ValueError("a document needs an id")
        if not self.text.strip():
            raise ValueError(f"document {self.document_id!r} has no text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """The unit that is indexed and retrieved: `document.text[start:end]`.

    Attributes:
        passage_id: Unique in the corpus; the document's id itself where documents are not cut.
        document_id: Where it comes from.
        title: The document's title; embedded in front of the text.
        text: The cut text, never blank.
        start: Offset of its first character in the document's text.
        end: Offset after its last character; `end - start == len(text)`.
        group: What its document belongs to (a tenant, a source, the article of an already cut passage), or None.

    Raises:
        ValueError: The text is blank, or the offsets don't fit it.
    """

    passage_id: str
    document_id: str
    title: str = ""
    text: str
    start: int
    end: int
    group: str | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"passage {self.passage_id!r} has no text")
        if self.start < 0 or self.end - self.start != len(self.text):
            raise ValueError(f"passage {self.passage_id!r}: offsets {self.start}..{self.end} don't fit its {len(self.text)} characters")

    @property
    def content(self) -> str:
        """What is embedded and searched: the title, a space, the text."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The passages of one corpus under one chunking, in order.

    Attributes:
        name: A short name for people, e.g. the folder's.
        passages: At least one; ids are unique.
        chunking: Digest of the chunking that made them.
        fingerprint: Content hash over ids, titles, texts and offsets (computed).

    Raises:
        ValueError: No passages, or an id twice.
    """

    name: str
    passages: tuple[Passage, ...]
    chunking: str = "none"
    fingerprint: str = field(init=False)
    by_id: dict[str, Passage] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.passages:
            raise ValueError(f"corpus {self.name!r} has no passages")
        by_id = {passage.passage_id: passage for passage in self.passages}
        if len(by_id) != len(self.passages):
            raise ValueError(f"corpus {self.name!r} has {len(self.passages) - len(by_id)} passage ids twice")
        object.__setattr__(self, "by_id", by_id)
        object.__setattr__(self, "fingerprint", self._fingerprint())

    @property
    def groups(self) -> str:
        """Digest of which passage belongs to what: a part of a collection's identity where it keeps groups apart."""
        return digest_lines(group_parts(self.passages), length=GROUPS_LENGTH)

    def _fingerprint(self) -> str:
        return digest_lines(fingerprint_parts(self.passages))


def fingerprint_parts(passages: Iterable[Passage]) -> Iterator[str]:
    """What a corpus's fingerprint is made from, so that a corpus that is only streamed through has the same one."""
    return (part for p in passages for part in (p.passage_id, p.document_id, p.title, p.text, str(p.start)))


def group_parts(passages: Iterable[Passage]) -> Iterator[str]:
    """What `Corpus.groups` is made from."""
    return (part for p in passages for part in (p.passage_id, p.group or ""))


class CorpusIdentity(Protocol):
    """What names a corpus under one chunking, whether its passages are in memory or not."""

    @property
    def fingerprint(self) -> str:
        """As `Corpus.fingerprint`."""
        ...

    @property
    def chunking(self) -> str:
        """As `Corpus.chunking`."""
        ...

    @property
    def groups(self) -> str:
        """As `Corpus.groups`."""
        ...
