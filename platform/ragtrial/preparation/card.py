"""The data card of a corpus."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from ragtrial.domain.data_card import (
    DataCard,
    GoldLeaks,
    Lengths,
    RedactedKind,
    Redaction,
    SplitSize,
    Stage,
    TopicBalance,
    UnreadFiles,
)
from ragtrial.domain.pair import SPLITS, Split
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.preparation.corpus import Assembled, Sorted
from ragtrial.preparation.documents import STAGES, Dropped
from ragtrial.preparation.source_files import known_suffix

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_FIRST_BIN = 8
_NAMED = 20
"""Files that were not read and are named, or kinds of them; of more the rest is counted."""

_STAGE_NAMES = {
    "read": "read from files",
    "cleaned": "with text after cleaning",
    "language": "in a language to keep",
    "redacted": "searched for personal data",
    "boilerplate": "with text beside repeated lines",
    "duplicates": "unlike all others",
    "gold": "not dropped for the gold set",
    "split": "in a split",
}


def card_of(
    made: Assembled,
    spec: PreparationSpec,
    *,
    name: str,
    sources: Sequence[str],
    files: Mapping[str, int],
    gold: GoldLeaks | None,
    digests: Mapping[str, str],
    versions: Mapping[str, str],
) -> DataCard:
    """The card.

    Args:
        made: The corpus and what was left out; of the latter also files that were not read.
        spec: The settings.
        name: Of the corpus.
        sources: Names of what was given.
        files: Files that could be opened, by kind.
        gold: What was found against a gold set; None: none was given.
        digests: Of the files written and of what went in.
        versions: Of libraries.
    """
    documents = made.documents
    redaction = Redaction(done=spec.redact, model=spec.model if spec.redact else None, kinds=_kinds(documents))
    unread = [each for each in made.dropped if each.stage == "read"]
    return DataCard(
        name=name,
        sources=tuple(sources),
        licence=spec.licence,
        files=dict(files),
        stages=_stages(made, spec),
        unread=(_named(unread) if redaction.shows_names else _by_kind(unread))[:_NAMED],
        formats=_counted(each.document.format for each in documents),
        encodings=_counted(each.document.encoding for each in documents if each.document.encoding not in ("utf-8", "pdf", "word", "mail")),
        notes=_notes(documents),
        topics=_topics(documents),
        lengths=lengths_of([len(each.document.text.split()) for each in documents]),
        languages=_counted(each.document.language for each in documents),
        boilerplate=made.boilerplate,
        redaction=redaction,
        splits=tuple(_split_size(split, documents) for split in SPLITS),
        split_by=spec.split.by,
        leaks=made.leaks if redaction.shows_names else replace(made.leaks, examples=()),
        gold=gold,
        warnings=_warnings(made, spec),
        settings=asdict(spec),
        digests=dict(digests),
        versions=dict(versions),
    )


def lengths_of(words: Sequence[int]) -> Lengths:
    """How long documents are; at least one. A quantile is the length of a document, the lower of two (`inverted_cdf`)."""
    values = np.asarray(words)
    quantiles = {f"{share:g}": int(np.quantile(values, share, method="inverted_cdf")) for share in _QUANTILES}
    bins: list[tuple[int, int, int]] = []
    low, high = 0, _FIRST_BIN
    while low <= values.max():
        bins.append((low, high, int(((values >= low) & (values < high)).sum())))
        low, high = high, 2 * high
    first = next(number for number, each in enumerate(bins) if each[2])
    return Lengths(quantiles=quantiles, mean=float(values.mean()), histogram=tuple(bins[first:]))


def _named(unread: Sequence[Dropped]) -> tuple[UnreadFiles, ...]:
    return tuple(UnreadFiles(what=each.source, reason=each.reason, n=1) for each in unread)


def _by_kind(unread: Sequence[Dropped]) -> tuple[UnreadFiles, ...]:
    """By top folder and kind, most frequent first: a name that was not searched for names of people stands in no card."""
    counts = Counter((*_kind(each.source), each.reason) for each in unread)
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(UnreadFiles(what=_said(n, folder, kind, of=of), reason=reason, n=n) for (folder, kind, of, reason), n in ranked)


def _kind(source: str) -> tuple[str, str, bool]:
    """Top folder, ending of the name (where it is one of a kind of files), and whether it is a record of a file."""
    path, mark, _ = source.partition("#")
    folder, slash, _ = path.partition("/")
    return folder if slash else ".", known_suffix(path), bool(mark)


def _said(n: int, folder: str, kind: str, *, of: bool) -> str:
    noun = "record" if of else "file"
    plural = noun if n == 1 else f"{noun}s"
    what = plural if not kind else f"{plural} of {kind}" if of else kind
    return f"{folder}/: {n:,} {what}"


def _stages(made: Assembled, spec: PreparationSpec) -> tuple[Stage, ...]:
    """Documents left after each step that was done."""
    by_stage = {stage: _counted(each.reason for each in made.dropped if each.stage == stage) for stage in STAGES}
    left = len(made.documents) + sum(sum(reasons.values()) for stage, reasons in by_stage.items() if stage != "read")
    stages = [Stage(name=_STAGE_NAMES["read"], documents=left, dropped=by_stage["read"])]
    for stage in STAGES[1:]:
        left -= sum(by_stage[stage].values())
        if stage != "redacted" or spec.redact:
            stages.append(Stage(name=_STAGE_NAMES[stage], documents=left, dropped=by_stage[stage]))
    return tuple(stages)


def _topics(documents: Sequence[Sorted]) -> tuple[TopicBalance, ...]:
    topics: dict[str | None, list[Sorted]] = {}
    for each in documents:
        topics.setdefault(each.document.topic, []).append(each)
    rows = [
        TopicBalance(
            topic=topic,
            documents=len(found),
            words=sum(len(each.document.text.split()) for each in found),
            splits={split: sum(each.split == split for each in found) for split in SPLITS},
        )
        for topic, found in topics.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.documents, row.topic or "")))


def _split_size(split: Split, documents: Sequence[Sorted]) -> SplitSize:
    inside = [each.document for each in documents if each.split == split]
    dates = sorted(each.date for each in inside if each.date is not None)
    return SplitSize(
        split=split,
        documents=len(inside),
        words=sum(len(each.text.split()) for each in inside),
        first=dates[0] if dates else None,
        last=dates[-1] if dates else None,
        undated=len(inside) - len(dates),
    )


def _kinds(documents: Sequence[Sorted]) -> tuple[RedactedKind, ...]:
    found: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    for each in documents:
        kinds = [find.kind for finds in each.document.finds.values() for find in finds]
        found.update(kinds)
        holders.update(set(kinds))
    rows = [RedactedKind(kind=kind, found=n, documents=holders[kind]) for kind, n in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.found, row.kind)))


def _notes(documents: Sequence[Sorted]) -> dict[str, int]:
    notes: Counter[str] = Counter()
    for each in documents:
        notes.update(each.document.notes)
    return dict(sorted(notes.items()))


def _warnings(made: Assembled, spec: PreparationSpec) -> tuple[str, ...]:
    said = []
    if not spec.redact:
        said.append("personal data were not looked for (--no-redact): treat every file as personal")
    elif spec.model is None:
        said.append(
            "names of people and places were not looked for: give an installed spaCy model with --model, of the documents' language"
        )
    if spec.licence is None:
        said.append("the licence of the documents is not stated: give it with --licence")
    said += _split_warnings(made, spec)
    if made.leaks.crossing:
        said.append(f"{made.leaks.crossing} pairs of near-duplicates stand in different splits")
    undated = sum(each.document.date is None for each in made.documents)
    if spec.split.by == "time" and undated:
        said.append(f"{undated} documents without a date are in a split by time: they may be newer than what they are tested on")
    if spec.gold == "flag" and made.gold:
        said.append(f"{len(made.gold)} documents that the gold set was made from are only flagged: don't train on them")
    return tuple(said)


def _split_warnings(made: Assembled, spec: PreparationSpec) -> list[str]:
    """What is wrong with the sizes of the splits: empty, or far from what was planned."""
    said = []
    n = len(made.documents)
    sizes = Counter(each.split for each in made.documents)
    if not sizes["train"]:
        way = "documents that the gold set was not made from" if made.gold_moved else "more documents, or smaller dev and test splits"
        said.append(f"the train split is empty, so no training pair can be made: give {way}")
    shares: tuple[tuple[Split, float], ...] = (("dev", spec.split.dev), ("test", spec.split.test))
    for split, share in shares:
        size, planned = sizes[split], share * n
        is_of_gold = split == "test" and made.gold_moved > planned
        if share and not size:
            said.append(f"the {split} split is empty: there are too few documents, or they belong together in groups larger than the split")
        elif not 0.5 * planned - 1 <= size <= 1.5 * planned + 1:
            why = (
                f"{made.gold_moved:,} stand there for the gold set (--gold-rule drop leaves its documents out instead)"
                if is_of_gold
                else "documents that belong together, or are of one day, are never parted"
            )
            said.append(f"the {split} split holds {size / n:.0%} of the documents, planned were {share:.0%}: {why}")
    return said


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda each: (-each[1], each[0])))
