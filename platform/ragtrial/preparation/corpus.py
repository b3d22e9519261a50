"""All documents together: repeated lines, duplicates, the gold set, and splits."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.data_card import SplitLeaks
from ragtrial.domain.pair import Split
from ragtrial.domain.preparation import Keep, PreparationSpec
from ragtrial.errors import InputError
from ragtrial.preparation.cleaning import Boilerplate, find_boilerplate
from ragtrial.preparation.documents import Dropped, Kept
from ragtrial.preparation.duplicates import Signatures, find_duplicates, shingles
from ragtrial.preparation.splits import Groups, Near, near_links, near_pairs, split_by_document, split_by_time
from ragtrial.redaction import Find

FindGold = Callable[[Sequence[Kept]], Mapping[int, str]]
"""The documents that a gold set was made from, by their number, with the reason."""

NO_DATE = "no date, which a split by time needs (split.undated: train keeps them)"
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A document of the corpus with what it is for.

    Attributes:
        document: The document.
        split: Its split.
        group: Id of the first document of those that stay together with it; None: it is alone.
        gold: Why it touches the gold set; None: it doesn't.
    """

    document: Kept
    split: Split
    group: str | None = None
    gold: str | None = None


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """A corpus and what was left out.

    Attributes:
        documents: In the order of their sources.
        dropped: Files and documents, in the order of the steps.
        boilerplate: Lines taken out with the number of documents that they stood in.
        leaks: Between splits.
        gold: Documents that the gold set was made from, by id, with the reason; also those that were dropped for it.
        gold_moved: Documents in the test split for that.
    """

    documents: tuple[Sorted, ...]
    dropped: tuple[Dropped, ...]
    boilerplate: tuple[tuple[str, int], ...]
    leaks: SplitLeaks
    gold: Mapping[str, str]
    gold_moved: int


def assemble(
    results: Sequence[Kept | Dropped], spec: PreparationSpec, *, find_gold: FindGold | None = None, progress: Progress = no_progress
) -> Assembled:
    """The corpus that these documents make.

    Args:
        results: Of every file and record, in order.
        spec: What is to be done.
        find_gold: Finds documents of a gold set; None: there is none.
        progress: Shows how far the search for near-duplicates is.

    Raises:
        InputError: No document is left, or a split by time finds no date.
    """
    named = _named(results)
    dropped = [each for each in named if isinstance(each, Dropped)]
    documents = [each for each in named if isinstance(each, Kept)]
    documents, boilerplate = _without_boilerplate(documents, spec, dropped)
    runs = [shingles(f"{document.title}\n{document.text}") for document in documents]
    signatures = Signatures(runs, progress("near-duplicates", len(runs)) if runs else lambda _: None)
    numbers = _without_duplicates(documents, signatures, spec, dropped)
    gold = dict(find_gold([documents[number] for number in numbers])) if find_gold else {}
    gold = {numbers[place]: reason for place, reason in gold.items()}
    named_gold = {documents[number].document_id: reason for number, reason in sorted(gold.items())}
    numbers = _without_unwanted(documents, numbers, gold, spec, dropped)
    _require(numbers, dropped)
    groups, pairs, missed = _grouped(documents, numbers, signatures, spec)
    held = frozenset(groups.of(number) for number in gold if number in set(numbers)) if spec.gold == "test" else frozenset()
    splits = _split(documents, groups, spec, held)
    members = groups.members()
    firsts = {number: documents[group].document_id for group, found in members.items() if len(found) > 1 for number in found}
    made = tuple(
        Sorted(document=documents[number], split=splits[number], group=firsts.get(number), gold=gold.get(number)) for number in numbers
    )
    return Assembled(
        documents=made,
        dropped=tuple(dropped),
        boilerplate=tuple(sorted(boilerplate.counts.items(), key=lambda each: (-each[1], each[0]))),
        leaks=_leaks(documents, pairs, splits, groups, spec, missed),
        gold=named_gold,
        gold_moved=sum(groups.of(number) in held for number in numbers),
    )


def _named(results: Sequence[Kept | Dropped]) -> list[Kept | Dropped]:
    """Every id once: a second one of the same gets a number."""
    seen: dict[str, int] = {}
    named = []
    for each in results:
        count = seen[each.document_id] = seen.get(each.document_id, 0) + 1
        document_id = each.document_id if count == 1 else f"{each.document_id}~{count}"
        seen.setdefault(document_id, 1)
        named.append(each if count == 1 else dataclasses.replace(each, document_id=document_id))
    return named


def _without_boilerplate(documents: Sequence[Kept], spec: PreparationSpec, dropped: list[Dropped]) -> tuple[list[Kept], Boilerplate]:
    topics = [document.topic for document in documents]
    found = find_boilerplate([document.text for document in documents], topics, spec.boilerplate)
    left = []
    for document in documents:
        text, finds = _without_lines(document, found)
        if len(text.split()) < spec.min_words:
            reason = f"fewer than {spec.min_words} words beside lines that many documents hold"
            dropped.append(_drop(document, reason, "boilerplate"))
        else:
            others = {name: places for name, places in document.finds.items() if name != "text"}
            left.append(dataclasses.replace(document, text=text, finds={**others, **({"text": finds} if finds else {})}))
    return left, found


def _without_lines(document: Kept, boilerplate: Boilerplate) -> tuple[str, tuple[Find, ...]]:
    """The text without these lines, and where the finds of the other lines stand now (no find holds a line break)."""
    kept: list[str] = []
    finds: list[Find] = []
    places = document.finds.get("text", ())
    start = length = 0
    for line in document.text.split("\n"):
        end = start + len(line)
        is_second_blank = not line.strip() and (not kept or not kept[-1].strip())
        if not boilerplate.has(line, document.topic) and not is_second_blank:
            shift = length - start
            inside = (each for each in places if start <= each.start < end)
            finds += [Find(kind=each.kind, start=each.start + shift, end=each.end + shift) for each in inside]
            kept.append(line)
            length += len(line) + 1
        start = end + 1
    return "\n".join(kept).rstrip(), tuple(finds)


def _without_duplicates(documents: Sequence[Kept], signatures: Signatures, spec: PreparationSpec, dropped: list[Dropped]) -> list[int]:
    order = sorted(range(len(documents)), key=lambda number: _rank(documents[number], spec.duplicates.keep))
    superfluous = find_duplicates(signatures, order, spec.duplicates.near)
    for each in sorted(superfluous, key=lambda found: found.number):
        of = documents[each.of].document_id
        reason = "the same words as another document" if each.similarity == 1 else "nearly the same as another document"
        found = _drop(documents[each.number], reason, "duplicates")
        dropped.append(dataclasses.replace(found, duplicate_of=of, similarity=round(each.similarity, 4)))
    gone = {each.number for each in superfluous}
    return [number for number in range(len(documents)) if number not in gone]


def _rank(document: Kept, keep: Keep) -> tuple[Any, ...]:
    """What is kept comes first; without a date it comes after those that have one."""
    length, day, last = -len(document.text), document.date or "", document.document_id
    if keep == "longest":
        return (length, day or "9999", last)
    if keep == "earliest":
        return (day or "9999", length, last)
    return (tuple(-ord(char) for char in day) or (0,), length, last)


def _without_unwanted(
    documents: Sequence[Kept], numbers: Sequence[int], gold: Mapping[int, str], spec: PreparationSpec, dropped: list[Dropped]
) -> list[int]:
    """Without what the gold set was made from, where that is dropped, and what a split by time can't place."""
    left = []
    for number in numbers:
        document = documents[number]
        if number in gold and spec.gold == "drop":
            dropped.append(_drop(document, gold[number], "gold"))
        elif spec.split.by == "time" and document.date is None and spec.split.undated == "drop":
            dropped.append(_drop(document, NO_DATE, "split"))
        else:
            left.append(number)
    if spec.split.by == "time" and not any(documents[number].date for number in left):
        raise InputError("no document has a date, so they can't be split by time: give --by document")
    return left


def _require(numbers: Sequence[int], dropped: Sequence[Dropped]) -> None:
    if not numbers:
        counts: dict[str, int] = {}
        for each in dropped:
            counts[each.reason] = counts.get(each.reason, 0) + 1
        said = "; ".join(f"{n} {reason}" for reason, n in sorted(counts.items(), key=lambda each: -each[1]))
        raise InputError(f"no document is left ({said}): give other files, or change what is dropped")


def _grouped(
    documents: Sequence[Kept], numbers: Sequence[int], signatures: Signatures, spec: PreparationSpec
) -> tuple[Groups, tuple[Near, ...], float]:
    look = near_links if spec.split.leaks == "together" else near_pairs
    pairs, missed = look(signatures, numbers, spec.split.near)
    groups = Groups(numbers)
    groups.join_by({number: documents[number].thread for number in numbers})
    if spec.split.folders == "together":
        groups.join_by({number: documents[number].folder or "" for number in numbers})
    if spec.split.leaks == "together":
        for pair in pairs:
            groups.join(pair.a, pair.b)
    return groups, pairs, missed


def _split(documents: Sequence[Kept], groups: Groups, spec: PreparationSpec, held: frozenset[int]) -> dict[int, Split]:
    members = groups.members()
    if spec.split.by == "time":
        return split_by_time(members, [document.date for document in documents], spec.split, test=held)
    return split_by_document(members, [document.document_id for document in documents], spec.split, test=held)


def _leaks(
    documents: Sequence[Kept], pairs: Sequence[Near], splits: Mapping[int, Split], groups: Groups, spec: PreparationSpec, missed: float
) -> SplitLeaks:
    crossing = [pair for pair in pairs if splits[pair.a] != splits[pair.b]]
    shown = sorted(crossing, key=lambda pair: (-pair.similarity, pair.a, pair.b))[:_EXAMPLES]
    return SplitLeaks(
        near=spec.split.near,
        documents=len({number for pair in pairs for number in (pair.a, pair.b)}),
        groups=sum(len(members) > 1 for members in groups.members().values()),
        crossing=len(crossing),
        miss_probability=missed,
        examples=tuple((documents[pair.a].document_id, documents[pair.b].document_id, round(pair.similarity, 4)) for pair in shown),
    )


def _drop(document: Kept, reason: str, stage: str) -> Dropped:
    return Dropped(document_id=document.document_id, source=document.source, reason=reason, stage=stage)
