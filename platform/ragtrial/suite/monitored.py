"""What a look of the drift monitor compares: a window of queries and its reference, new passages and those that were there."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ragtrial.chunking import cut
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.monitored import MonitoredReader, MonitoredTrials, Stretch
from ragtrial.db.monitoring import DIGEST_BYTES, MonitorStore
from ragtrial.domain.corpus import Document, Passage
from ragtrial.domain.monitor import FIRST, GOLD, MonitorSpec
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import InputError
from ragtrial.formats.query_log import LoggedQuery, read_query_log
from ragtrial.formats.records import read_documents
from ragtrial.formats.validation import Findings
from ragtrial.monitoring.comparing import Series, Texts, texts_of
from ragtrial.preparation.cleaning import clean
from ragtrial.preparation.letterheads import find_letterheads, folder_of
from ragtrial.preparation.loading import load
from ragtrial.preparation.raw import Unread
from ragtrial.preparation.source_files import find_files, nothing_readable
from ragtrial.suite.preparing import Prepared

_DAY_S = 86_400.0


class NeverServedError(InputError):
    """The experiment has no live log under this plan."""


class Sides(NamedTuple):
    """Reference and window of what queries say; None where there is nothing yet, with the reason."""

    reference: Texts | None
    window: Texts | None
    missing: str | None = None


@dataclass(kw_only=True)
class Gathered:
    """All that a look compares.

    Attributes:
        sides: What queries say.
        trials: Reference and window of the live log; None of a file, where there is nothing yet, or where they are of two plans.
        apart: Why trials can't be compared though there are some; None where they can.
        passages: Those of the reference, and the new ones; None where documents are not watched.
        stretch: The window's place in the live log, to be kept as a reference.
        source: For people.
        reference: For people.
        left_out: What is not looked at, by reason.
    """

    sides: Sides
    trials: tuple[MonitoredTrials, MonitoredTrials] | None = None
    passages: tuple[tuple[Passage, ...], tuple[Passage, ...]] | None = None
    apart: str | None = None
    stretch: Stretch | None = None
    source: str
    reference: str
    left_out: dict[str, int] = field(default_factory=dict)

    def seen(self, extra: Sequence[str] = ()) -> str:
        """A digest of the data, so that the same ones are not looked at twice."""
        digest = hashlib.sha256("\0".join(extra).encode())
        for side in (self.sides.reference, self.sides.window):
            for text in () if side is None else side.texts:
                digest.update(text.encode() + b"\0")
        for trials in self.trials or ():
            for name, found in sorted(trials.values.items()):
                digest.update(name.encode() + found.trial.tobytes() + found.value.tobytes())
        for passages in self.passages or ():
            digest.update(b"".join(map(digest_of, passages)) + b"\0")
        return digest.hexdigest()[:32]


def gather_live(
    prepared: Prepared,
    url: str,
    store: MonitorStore,
    spec: MonitorSpec,
    *,
    metrics: Sequence[str],
    since: float | None,
    now: float,
    remember: bool,
) -> Gathered:
    """From the live log of the experiment; where `remember`, what the first look was compared with stays the reference.

    Raises:
        NeverServedError: It was never served.
        InputError: There is no such reference.
        StoreError: The log can't be read.
    """
    name = prepared.experiment.name
    with LiveReader(url) as log:
        try:
            live_id = log.live_id(prepared.experiment)
        except InputError as error:
            raise NeverServedError(str(error)) from error
    with MonitoredReader(url) as reader:
        stretch = _stretch(reader, live_id, store, name, spec, since=since, remember=remember)
        behind = 0 if stretch is None or spec.reference == GOLD else stretch.last
        days = spec.window_days
        begin = since if days is None else max(since or 0.0, now - days * _DAY_S)
        window = None
        if stretch is not None or spec.reference == GOLD:
            window = reader.newest(live_id, behind=behind, n=spec.window if days is None else None, since=begin)
        n_asked = reader.n_asked(live_id, since=since)
        kept_under = (
            None if stretch is None else reader.plan_of(stretch)
        ) or live_id  # of an earlier plan it says what was asked all the same
        old = None if stretch is None else reader.trials(kept_under, stretch, metrics=metrics)
        new = None if window is None else reader.trials(live_id, window, metrics=metrics)
    reference = _gold(prepared) if spec.reference == GOLD else None if old is None else texts_of(old)
    missing = None
    if reference is None:
        missing = f"too few: {n_asked:,} of the {spec.reference_queries:,} queries that the reference takes"
    elif new is None:
        missing = f"too few: 0 of the {spec.fewest:,} needed in the window (no query came after the reference)"
    later = None if old is None or new is None or (new.stretch.first <= old.stretch.last) or kept_under != live_id else (old, new)
    gathered = Gathered(
        sides=Sides(reference, None if new is None else texts_of(new), missing),
        trials=later,
        apart=None
        if kept_under == live_id
        else f"reference {spec.reference!r} was kept under an earlier live plan, whose arms and gold set are others",
        stretch=window,
        source=f"the live log, {n_asked:,} queries",
        reference={FIRST: f"the first {spec.reference_queries:,} queries", GOLD: "the gold queries"}.get(spec.reference, spec.reference),
    )
    _count_hashed(gathered)
    return gathered


def _stretch(
    reader: MonitoredReader, live_id: int, store: MonitorStore, name: str, spec: MonitorSpec, *, since: float | None, remember: bool
) -> Stretch | None:
    """Where the reference stands in the live log; None while there are too few queries."""
    if spec.reference in (FIRST, GOLD):
        kept_as = f"{FIRST} {spec.reference_queries}{'' if since is None else f' since {since:.0f}'} of {live_id}"
        found = store.stretch(name, kept_as) or reader.first(live_id, n=spec.reference_queries, since=since)
        return store.keep_stretch(name, kept_as, found) if found is not None and remember else found
    found = store.stretch(name, spec.reference)
    if found is None:
        known = ", ".join([FIRST, GOLD, *(each for each in store.references(name) if " " not in each)])
        raise InputError(f"there is no reference {spec.reference!r} of experiment {name!r}: there are {known}")
    return found


def gather_file(prepared: Prepared, path: Path, spec: MonitorSpec, *, since: float | None, now: float) -> Gathered:
    """From a JSON-lines file of queries.

    Raises:
        InputError: The file is wrong, or the reference is a kept one, which is of the live log.
    """
    if spec.reference not in (FIRST, GOLD):
        raise InputError(f"reference {spec.reference!r} is of the live log: with --queries give first or gold")
    queries = [query for query in read_query_log(path) if since is None or query.at >= since]
    first = [] if spec.reference == GOLD else queries[: spec.reference_queries]
    left = queries[len(first) :]
    if spec.window_days is None:
        chosen = left[-spec.window :]
    else:
        latest = min(now, queries[-1].at if queries else now)
        chosen = [query for query in left if query.at >= latest - spec.window_days * _DAY_S]
    reference = _gold(prepared) if spec.reference == GOLD else _texts(first, 0)
    what = "the gold queries" if spec.reference == GOLD else f"the first {len(first):,} queries of the file"
    return Gathered(sides=Sides(reference, _texts(chosen, len(first))), source=f"{path.name}, {len(queries):,} queries", reference=what)


def add_documents(
    gathered: Gathered, prepared: Prepared, store: MonitorStore, spec: MonitorSpec, folder: Path | None, *, remember: bool
) -> None:
    """New passages beside those that were there: of a folder beside the corpus, or of the corpus beside what it was at first.

    The corpus of the first look is kept where `remember`.

    Raises:
        InputError: The folder holds no documents, or broken ones.
    """
    name, corpus = prepared.experiment.name, prepared.corpus
    if folder is not None:
        there = {digest_of(passage) for passage in corpus.passages}
        documents, unread = read_folder(folder)
        gathered.left_out |= {f"files or records of {folder.name!r} that are not read: {reason}": n for reason, n in unread.items()}
        added = cut(documents, prepared.experiment.chunking, folder.name).passages
        gathered.passages = corpus.passages, tuple(passage for passage in added if digest_of(passage) not in there)
        return
    digests = [digest_of(passage) for passage in corpus.passages]
    kept_as = f"{FIRST} {corpus.chunking}"
    known = None if spec.reference in (FIRST, GOLD) else store.passages(name, spec.reference)
    if not known:
        known = store.keep_passages(name, kept_as, digests) if remember else store.passages(name, kept_as) or frozenset(digests)
    old = tuple(passage for passage, digest in zip(corpus.passages, digests, strict=True) if digest in known)
    new = tuple(passage for passage, digest in zip(corpus.passages, digests, strict=True) if digest not in known)
    gathered.passages = old, new
    if gone := len(known - set(digests)):
        gathered.left_out["passages of the reference that are gone from the corpus"] = gone


def keep_reference(gathered: Gathered, prepared: Prepared, store: MonitorStore, name: str) -> None:
    """Keep the window, and the corpus as it is, as a reference.

    Raises:
        InputError: There is no window of the live log to keep.
        ConflictError: A reference of this name is kept already.
    """
    if gathered.stretch is None:
        raise InputError("there is no window of the live log that could be kept as a reference: serve first, and leave --queries out")
    store.keep_stretch(prepared.experiment.name, name, gathered.stretch)
    store.keep_passages(prepared.experiment.name, name, [digest_of(passage) for passage in prepared.corpus.passages])


def digest_of(passage: Passage) -> bytes:
    """What a passage is known by, wherever it stands: its title and text."""
    return hashlib.sha256(passage.content.encode()).digest()[:DIGEST_BYTES]


def read_folder(folder: Path) -> tuple[tuple[Document, ...], Mapping[str, int]]:
    """The documents of a folder: its `corpus.jsonl`, or else every file that `ragtrial prepare` reads; and what is not read, by reason.

    Raises:
        InputError: There is none, or `corpus.jsonl` is broken.
        MissingExtraError: What reads a format is not installed.
    """
    if (folder / "corpus.jsonl").is_file():
        findings = Findings()
        documents = tuple(read_documents(folder / "corpus.jsonl", findings).sound.values())
        return findings.require(documents), {}
    spec = PreparationSpec()
    files, unread = find_files((folder,), max_megabytes=spec.max_megabytes)
    found, left = [], list(unread)
    letterheads = find_letterheads(files)
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            left.append(Unread(place=file.place, reason=f"could not be read ({type(error).__name__})"))
            continue
        for each in load(file, data, spec.tickets, letterheads.get(folder_of(file), frozenset())):
            if isinstance(each, Unread):
                left.append(each)
            elif text := clean(each.text):
                found.append(Document(document_id=each.place, title=each.title, text=text))
            else:
                left.append(Unread(place=each.place, reason="no text"))
    if not found:
        raise nothing_readable(left)
    return tuple(found), Counter(each.reason for each in left)


def _gold(prepared: Prepared) -> Texts:
    queries = prepared.gold.queries
    return Texts(texts=tuple(query.text for query in queries), units=tuple(f"gold {query.query_id}" for query in queries))


def _texts(queries: Sequence[LoggedQuery], begin: int) -> Texts:
    units = tuple(f"query {begin + place}" if query.user is None else f"user {query.user}" for place, query in enumerate(queries))
    return Texts(texts=tuple(query.text for query in queries), units=units)


def _count_hashed(gathered: Gathered) -> None:
    for where, side in (("reference", gathered.sides.reference), ("window", gathered.sides.window)):
        if side is not None and side.hashed:
            gathered.left_out[f"queries of the {where} of which only the hash is kept"] = side.hashed


def lengths(texts: Texts) -> Series:
    """Characters of each query."""
    return Series(np.array([len(text) for text in texts.texts], dtype=np.float64), np.array(texts.units, dtype=np.str_))
