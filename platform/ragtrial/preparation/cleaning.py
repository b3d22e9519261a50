"""Text as it should have been written: Unicode, white space, and no lines that stand everywhere."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.preparation import BoilerplateSpec
from ragtrial.errors import MissingExtraError

_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Soft hyphens, zero-width spaces, byte order marks and marks of direction. Joiners stay: Persian, Hindi and emoji need them."""

_SPACES = re.compile(r"(?<=\S)[^\S\n]+")
_ANY_SPACE = re.compile(r"[^\S\n]")
_BLANK_LINES = re.compile(r"\n{3,}")
_HEADING = re.compile(r"#{1,6}\s|\s*(?:```|~~~)")


def clean(text: str) -> str:
    """The text in Unicode NFC: mojibake and entities mended by ftfy, control and invisible characters gone, white space in order.

    Lines and paragraphs stay, and so do blanks at the beginning of a line.

    Raises:
        MissingExtraError: ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError as error:
        raise MissingExtraError(package="ftfy", extra="prepare", purpose="cleaning text") from error
    text = ftfy.fix_text(text, uncurl_quotes=False, normalization="NFC", explain=False).translate(_INVISIBLE)
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Cn", "Co"))
    lines = (_SPACES.sub(" ", _ANY_SPACE.sub(" ", line)).rstrip() for line in text.split("\n"))
    return unicodedata.normalize("NFC", _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n").rstrip())


def clean_line(text: str) -> str:
    """A title or a name: cleaned, on one line."""
    return " ".join(clean(text).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Boilerplate:
    """Lines that stand in many documents.

    Attributes:
        everywhere: Those of the whole corpus, as `key_of` spells them.
        by_topic: Those of one topic.
        counts: How many documents each line was in, where it is taken out.
    """

    everywhere: frozenset[str]
    by_topic: Mapping[str | None, frozenset[str]]
    counts: Mapping[str, int]

    def has(self, line: str, topic: str | None) -> bool:
        """Whether the line is taken out of documents of this topic."""
        key = key_of(line)
        return key is not None and (key in self.everywhere or key in self.by_topic.get(topic, ()))


def key_of(line: str) -> str | None:
    """What two lines must share to be the same; None for lines that are never boilerplate: headings, fences, lines without a letter."""
    if _HEADING.match(line) or not any(char.isalpha() for char in line):
        return None
    return " ".join(line.casefold().split())


def find_boilerplate(texts: Sequence[str], topics: Sequence[str | None], spec: BoilerplateSpec) -> Boilerplate:
    """Lines that stand in too large a share of all documents, or of those of a topic.

    Args:
        texts: One per document.
        topics: Theirs.
        spec: What is too large.
    """
    sizes = Counter(topics)
    overall: Counter[str] = Counter()
    within: dict[str | None, Counter[str]] = {topic: Counter() for topic in sizes}
    for text, topic in zip(texts, topics, strict=True):
        keys = {key for line in text.split("\n") if (key := key_of(line)) is not None}
        overall.update(keys)
        within[topic].update(keys)

    def many(counts: Counter[str], size: int) -> frozenset[str]:
        return frozenset(key for key, n in counts.items() if n >= spec.documents and n > spec.share * size)

    everywhere = many(overall, len(texts))
    by_topic = {topic: many(counts, sizes[topic]) - everywhere for topic, counts in within.items()}
    found = {key: overall[key] for key in everywhere}
    for topic, lines in by_topic.items():
        for key in lines:
            found[key] = found.get(key, 0) + within[topic][key]
    return Boilerplate(everywhere=everywhere, by_topic=by_topic, counts=found)
