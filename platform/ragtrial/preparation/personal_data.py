"""Personal data out of documents; what can't be searched for sure is an error, so that it is dropped and not kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragtrial.redaction import Find, Redactor

_OVERLAP = 3_500
"""Characters that two parts of a long document share: a key of 4096 bits is found whole in one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """A text without personal data.

    Attributes:
        text: Each find is replaced by its kind, e.g. `<EMAIL_ADDRESS>`; all else is as it was.
        finds: Where the replacements stand in it, in order.
    """

    text: str
    finds: tuple[Find, ...]


def free(text: str, redactor: Redactor) -> Freed:
    """The text without what the redactor found; a long one is searched in parts that overlap.

    Raises:
        RedactionError: A part could not be searched; the message holds none of it.
    """
    return _replaced(text, _found(text, redactor))


def free_name(name: str, redactor: Redactor) -> Freed:
    """The name of a file or folder without what the redactor found in it, as it stands and with each `_` read as a space.

    Patterns begin and end where words do, and to them `scan_4111111111111111` is one word.

    Raises:
        RedactionError: As for `free`.
    """
    spaced = name.replace("_", " ")
    finds = _found(name, redactor)
    return _replaced(name, [*finds, *_found(spaced, redactor)] if spaced != name else finds)


def _found(text: str, redactor: Redactor) -> list[Find]:
    finds: list[Find] = []
    for start, end in _parts(text, redactor.max_chars):
        finds += [Find(kind=each.kind, start=start + each.start, end=start + each.end) for each in redactor.find(text[start:end])]
    return finds


def _replaced(text: str, finds: Sequence[Find]) -> Freed:
    pieces: list[str] = []
    placed: list[Find] = []
    done = length = 0
    for each in _apart(finds):
        mark = f"<{each.kind}>"
        pieces += [text[done : each.start], mark]
        length += each.start - done
        placed.append(Find(kind=each.kind, start=length, end=length + len(mark)))
        length += len(mark)
        done = each.end
    return Freed(text="".join([*pieces, text[done:]]), finds=tuple(placed))


def _parts(text: str, most: int) -> Iterator[tuple[int, int]]:
    """Offsets of overlapping parts of at most so many characters, cut where a paragraph, a line or a word ends."""
    start = 0
    while len(text) - start > most:
        end = start + most
        lowest = start + most - _OVERLAP // 4
        for cut in ("\n\n", "\n", " "):
            at = text.rfind(cut, lowest, end)
            if at > 0:
                end = at
                break
        yield start, end
        start = _word_start(text, end - _OVERLAP)
    yield start, len(text)


def _word_start(text: str, at: int) -> int:
    """The next beginning of a word within a short way; a number cut in two looks like another number."""
    for place in range(at, at + 200):
        if text[place].isspace():
            return place + 1
    return at


def _apart(finds: Sequence[Find]) -> list[Find]:
    """In order; what overlaps is one find, of the kind that covers most."""
    merged: list[Find] = []
    widest = 0
    for each in sorted(finds, key=lambda find: (find.start, -find.end)):
        width = each.end - each.start
        if merged and each.start < merged[-1].end:
            last = merged[-1]
            kind = each.kind if width > widest else last.kind
            merged[-1] = Find(kind=kind, start=last.start, end=max(last.end, each.end))
            widest = max(widest, width)
        else:
            merged.append(each)
            widest = width
    return merged
