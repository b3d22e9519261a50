"""How raw files become a corpus: the settings of `ragtrial prepare` and of its `prepare.yaml`."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described

Keep = Literal["longest", "earliest", "latest"]
SplitBy = Literal["document", "time"]
GoldRule = Literal["test", "drop", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketFields:
    """Which fields of an exported ticket hold what.

    Each is a list of names, of which the first that is there counts; `fields.summary` is a field within a field.
    """

    __pydantic_config__ = STRICT

    id: tuple[str, ...] = described("Its number.", default=("id", "key", "ticket_id", "issue key", "number", "_id"))
    title: tuple[str, ...] = described(
        "What it is about, in a line.", default=("subject", "title", "summary", "fields.summary", "short_description", "name")
    )
    text: tuple[str, ...] = described(
        "What was written first.", default=("description", "body", "text", "content", "fields.description", "message", "question")
    )
    comments: tuple[str, ...] = described(
        "What was written later: a text, a list of texts, or a list of objects.",
        default=("comments", "fields.comment.comments", "replies", "conversation", "answer", "resolution"),
    )
    comment_text: tuple[str, ...] = described("The text of a comment.", default=("body", "text", "plain_body", "content", "message"))
    date: tuple[str, ...] = described(
        "When it was written.", default=("created_at", "created", "date", "fields.created", "opened_at", "timestamp")
    )
    thread: tuple[str, ...] = described(
        "What it belongs to: tickets of one thread stay in one split.",
        default=("thread_id", "thread", "doc", "problem_id", "parent", "fields.parent.key", "conversation_id"),
    )
    topic: tuple[str, ...] = described("What the data card counts by.", default=("topic", "category", "component", "product", "queue"))
    date_format: str | None = described(
        "How dates are written, as for Python's strptime; null: ISO 8601, RFC 2822 or seconds since 1970.", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoilerplateSpec:
    """Lines that stand in many documents, and say nothing of any: signatures, footers."""

    __pydantic_config__ = STRICT

    share: float = described("Share of the documents, of all or of one topic, from which a line is taken out.", default=0.3)
    documents: int = described("And so many documents at least.", default=10)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.documents < 2:
            raise ValueError(f"share is {self.share} and documents is {self.documents}: give a share from 0 to 1 and at least 2 documents")


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSpec:
    """Documents that say the same as another one."""

    __pydantic_config__ = STRICT

    near: float = described("Jaccard similarity of their runs of five words from which two documents are one.", default=0.8)
    keep: Keep = described("Which of them is kept.", default="longest")

    def __post_init__(self) -> None:
        if not 0.3 <= self.near <= 1:
            raise ValueError(f"near is {self.near}: give a similarity from 0.3 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSplitSpec:
    """What documents are for: training, choosing settings, testing."""

    __pydantic_config__ = STRICT

    by: SplitBy = described("document: at random. time: older documents train, newer ones test.", default="document")
    dev: float = described("Share of the documents for choosing settings.", default=0.1)
    test: float = described("Share of the documents for testing.", default=0.1)
    seed: int = described("Seed of the draw.", default=42)
    near: float = described("Similarity from which two documents must not stand in different splits.", default=0.5)
    leaks: Literal["together", "report"] = described(
        "together: such documents stay in one split. report: they are only counted.", default="together"
    )
    undated: Literal["drop", "train"] = described("by time: what becomes of a document without a date.", default="drop")
    folders: Literal["apart", "together"] = described("together: documents of one folder stay in one split.", default="apart")

    def __post_init__(self) -> None:
        if not (self.dev >= 0 and self.test >= 0 and self.dev + self.test < 1):  # false also where one is no number
            raise ValueError(f"dev is {self.dev} and test is {self.test}: give shares of which less than 1 is the sum")
        if not 0.3 <= self.near <= 1:
            raise ValueError(f"near is {self.near}: give a similarity from 0.3 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationSpec:
    """What is done to raw files."""

    __pydantic_config__ = STRICT

    licence: str | None = described(
        "Under which the documents may be used: stands in the data card, and goes with pairs and models made from them.", default=None
    )
    languages: tuple[str, ...] = described("Keep documents in these languages (ISO 639-1, e.g. [en, de]); empty: all.", default=())
    min_words: int = described("Shorter documents are dropped.", default=5)
    max_megabytes: int = described("Larger files are not read.", default=200)
    redact: bool = described("Take out personal data.", default=True)
    model: str | None = described(
        "An installed spaCy model that finds names of people and places; null: names are not found.", default=None
    )
    ids: Literal["path", "record"] = described(
        "path: a document is named after its file, a ticket after its file and number. record: a ticket is named by its number alone.",
        default="path",
    )
    tickets: TicketFields = described("Fields of exported tickets.", default_factory=TicketFields)
    boilerplate: BoilerplateSpec = described("Repeated lines.", default_factory=BoilerplateSpec)
    duplicates: DuplicateSpec = described("Near-duplicates.", default_factory=DuplicateSpec)
    split: CorpusSplitSpec = described("Train, dev and test.", default_factory=CorpusSplitSpec)
    gold: GoldRule = described(
        "What becomes of documents that the gold set was made from. test: to the test split, with all that is tied to them. drop: left out. "
        "flag: only marked.",
        default="test",
    )

    def __post_init__(self) -> None:
        if self.min_words < 1 or self.max_megabytes < 1:
            raise ValueError(f"min_words is {self.min_words} and max_megabytes is {self.max_megabytes}: give at least 1")
        odd = [each for each in self.languages if not (len(each) == 2 and each.isalpha() and each.islower())]
        if odd:
            raise ValueError(f"languages holds {odd[0]!r}: give codes of two small letters, e.g. en")
