"""What a data card says of a prepared corpus."""

from collections.abc import Mapping
from dataclasses import dataclass

from ragtrial.domain.pair import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How many documents were left after a step.

    Attributes:
        name: The step.
        documents: What was left after it.
        dropped: How many it dropped, by reason; empty where none.
    """

    name: str
    documents: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicBalance:
    """The documents of a topic.

    Attributes:
        topic: The top folder, or the field of tickets; None where a document has none.
        documents: How many.
        words: In all of them.
        splits: How many in each split.
    """

    topic: str | None
    documents: int
    words: int
    splits: Mapping[Split, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Words per document.

    Attributes:
        quantiles: Words by the share of documents that are at most as long, from 0 to 1; each is the length of a document.
        mean: Words in all, by documents.
        histogram: Lower end, upper end (exclusive) and documents, on a scale of doubling lengths.
    """

    quantiles: Mapping[str, int]
    mean: float
    histogram: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """One split.

    Attributes:
        split: Its name.
        documents: How many.
        words: In all of them.
        first: The oldest date; None where no document has one.
        last: The newest date.
        undated: Documents without a date.
    """

    split: Split
    documents: int
    words: int
    first: str | None
    last: str | None
    undated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactedKind:
    """One kind of personal data.

    Attributes:
        kind: As Presidio names it.
        found: How often it was taken out of what is in the corpus.
        documents: Of how many documents.
    """

    kind: str
    found: int
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What was done about personal data.

    Attributes:
        done: Whether they were looked for.
        model: The spaCy model that looked for names; None: names of people and places were not looked for.
        kinds: What was taken out, most frequent first.
    """

    done: bool
    model: str | None
    kinds: tuple[RedactedKind, ...]

    @property
    def shows_names(self) -> bool:
        """Whether names of files may be shown: names of people were looked for in them."""
        return self.done and self.model is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadFiles:
    """Files, or records of files, that no document was read from.

    Attributes:
        what: The name of one; where names may hold those of people, a top folder with the number and kind of files (`hr/: 3 .doc`).
        reason: Why, and what to do.
        n: How many.
    """

    what: str
    reason: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLeaks:
    """Near-duplicates among the documents that were kept.

    Attributes:
        near: From which similarity two documents are near.
        documents: Documents as near as that to another one.
        groups: Groups of documents that stay in one split, for that reason, as a thread or as a folder.
        crossing: Pairs whose documents are in different splits; 0 where they are kept together.
        miss_probability: With which a pair just as near as `near` was not found.
        examples: Ids of crossing pairs with their similarity; on a card only where names of files may be shown, which ids are made from.
    """

    near: float
    documents: int
    groups: int
    crossing: int
    miss_probability: float
    examples: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldLeaks:
    """Documents that the gold set was made from.

    Attributes:
        name: The gold set's.
        queries: Its size.
        documents: Documents found, by reason.
        moved: Documents that are in the test split for it, with what is tied to them.
        rule: What became of them: `test`, `drop` or `flag`.
        unchecked: Gold queries of fewer than five words, which were looked for in titles and headings only.
    """

    name: str
    queries: int
    documents: Mapping[str, int]
    moved: int
    rule: str
    unchecked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCard:
    """What went into a corpus, what was dropped and why, and what is in it.

    Attributes:
        name: The corpus, for people.
        sources: Names of the folders given, and of the files where these may be shown.
        licence: As given; None: not stated.
        files: Files that were read, by kind.
        stages: Documents after each step, in order; the first one's `dropped` are files and records that no document was read from.
        unread: Files and records that no document was read from, the first by name or the most frequent kinds; all are in removed.jsonl.
        formats: Documents kept by format.
        encodings: Documents kept by the encoding of their file, where that was not UTF-8.
        notes: Oddities that dropped nothing, by what they are.
        topics: Largest first.
        lengths: Of the documents kept.
        languages: Documents kept by language; `und`: too short to say.
        boilerplate: Lines taken out with the number of documents that they stood in, most frequent first.
        redaction: What was done about personal data.
        splits: Sizes in the order train, dev, test.
        split_by: `document` or `time`.
        leaks: Between splits.
        gold: Against a gold set; None: none was given.
        warnings: What is to be known before the corpus is used.
        settings: All of them.
        digests: SHA-256 of each file of the corpus, and of what went in.
        versions: Of what the result depends on.
    """

    name: str
    sources: tuple[str, ...]
    licence: str | None
    files: Mapping[str, int]
    stages: tuple[Stage, ...]
    unread: tuple[UnreadFiles, ...]
    formats: Mapping[str, int]
    encodings: Mapping[str, int]
    notes: Mapping[str, int]
    topics: tuple[TopicBalance, ...]
    lengths: Lengths
    languages: Mapping[str, int]
    boilerplate: tuple[tuple[str, int], ...]
    redaction: Redaction
    splits: tuple[SplitSize, ...]
    split_by: str
    leaks: SplitLeaks
    gold: GoldLeaks | None
    warnings: tuple[str, ...]
    settings: Mapping[str, object]
    digests: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def n_unread(self) -> int:
        """Files and records that no document was read from."""
        return sum(self.stages[0].dropped.values())

    @property
    def n_removed(self) -> int:
        """All files, records and documents that are not in the corpus."""
        return sum(sum(stage.dropped.values()) for stage in self.stages)

    @property
    def documents(self) -> int:
        """Documents in the corpus."""
        return sum(split.documents for split in self.splits)
