"""Is a custom model worth it? What is known before any training, and what it comes to."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["train", "try hybrid first", "collect more first", "don't"]
Purpose = Literal["alternative", "ceiling", "index"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean or a difference of means with its interval, or why there is none.

    Attributes:
        name: What was measured, e.g. `nDCG@10`.
        n: Queries (or other units) that it is of.
        value: The estimate; None where nothing could be measured.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        n_clusters: Clusters that the interval rests on; None where units were taken as independent.
        reason: Why value or interval is missing; None where both are there.

    Raises:
        ValueError: It has neither an interval nor a reason.
    """

    name: str
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_clusters: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None) or (self.low is not None and self.value is None):
            raise ValueError(f"estimate of {self.name!r} has half an interval, or one without a value")
        if (self.low is None) != (self.reason is not None):
            raise ValueError(f"estimate of {self.name!r} needs an interval or the reason why there is none, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Something other than training, measured on the same queries.

    Attributes:
        name: In words, e.g. `hybrid (dense + BM25)`.
        purpose: `alternative`: could be used as it is. `ceiling`: the best that a later stage could make of it. `index`: the index as
            configured, against exact search.
        metric: The metric compared.
        mean: With it.
        difference: It minus the baseline, within queries; intervals of alternatives hold together.
        takes: What it would take.
    """

    name: str
    purpose: Purpose
    metric: str
    mean: Estimate
    difference: Estimate
    takes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedQuery:
    """A query that the baseline fails: no relevant passage in its first ten.

    Attributes:
        query_id: The query.
        text: Its text.
        rank: Rank of its first relevant passage in the baseline's first hundred; None beyond.
        bm25_rank: The same for BM25.
        group: Number of its cluster of failed queries, from 0; None where none were made.
    """

    query_id: str
    text: str
    rank: int | None
    bm25_rank: int | None
    group: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed queries that lie near each other.

    Attributes:
        number: From 0.
        terms: Words that mark it against all other queries, most telling first.
        n_failed: Failed queries in it.
        n_near: Queries of the gold set, failed or not, that lie nearest to this group's centre.
        failing: Share of them that fail, with its interval.
        example: The failed query nearest to the centre.
    """

    number: int
    terms: tuple[str, ...]
    n_failed: int
    n_near: int
    failing: Estimate
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFailure:
    """How often queries with one value of a tag fail.

    Attributes:
        tag: Name of the tag.
        value: Its value.
        failing: Share of its queries that fail, with its interval.
    """

    tag: str
    value: str
    failing: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A property of queries, where the baseline fails and where it succeeds.

    Attributes:
        name: In words, with its unit.
        failed: Mean over failed queries; None where there are none.
        succeeded: Mean over the others; None where there are none.
        difference: Failed minus succeeded; its interval holds for all traits together.
    """

    name: str
    failed: float | None
    succeeded: float | None
    difference: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerm:
    """A term that the model has no token for.

    Attributes:
        term: The word.
        pieces: Tokens that the model makes of it.
        n_queries: Gold queries with it.
        n_failed: Of these, how many fail.
        n_passages: Passages with it.
    """

    term: str
    pieces: int
    n_queries: int
    n_failed: int
    n_passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlike:
    """Two terms that the model puts near each other although the corpus uses them in different places.

    Attributes:
        left: One term.
        right: The other.
        similarity: Cosine of their vectors in the model.
        context: Cosine of the words around them in the corpus (tf-idf), 0 to 1.
        shared: Passages with both, as a share of those with either.
        n_confused: Failed queries with one of the terms for which more of the first ten passages hold the other.
    """

    left: str
    right: str
    similarity: float
    context: float
    shared: float
    n_confused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The queries that the baseline fails, and what they share.

    Attributes:
        n: Scored queries.
        n_unjudged: Queries without a relevant passage: no ranking can succeed or fail on them.
        failing: Share that fails.
        nowhere: Failed queries whose relevant passages neither the baseline nor BM25 has in its first hundred.
        queries: The failed ones, in the gold set's order.
        groups: Largest first; empty where there is a reason.
        no_groups: Why there are none.
        slices: By value of each tag, most failing first.
        traits: Of queries.
        no_traits: Why some traits are missing.
        split_terms: Terms of the queries that the model cuts into pieces, most failing first.
        look_alikes: Terms that it may take for each other.
        no_look_alikes: Why there are none.
    """

    n: int
    n_unjudged: int
    failing: Estimate
    nowhere: int
    queries: tuple[FailedQuery, ...]
    groups: tuple[FailureGroup, ...]
    no_groups: str | None
    slices: tuple[SliceFailure, ...]
    traits: tuple[Trait, ...]
    no_traits: str | None
    split_terms: tuple[SplitTerm, ...]
    look_alikes: tuple[LookAlike, ...]
    no_look_alikes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedQuery:
    """A query on the map of failures.

    Attributes:
        query_id: The query.
        text: Its text.
        x: On the plane.
        y: On the plane.
        failed: Whether the baseline fails it.
        group: Number of its cluster of failed queries; None where it has none.
    """

    query_id: str
    text: str
    x: float
    y: float
    failed: bool
    group: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataVolume:
    """What there is to train on and to test with.

    Attributes:
        n_documents: In the corpus.
        n_passages: In the corpus.
        n_queries: In the gold set.
        n_judgments: In the gold set.
        n_pairs: Training pairs that don't touch the gold set; None where the experiment has no training section.
        n_training_queries: Distinct queries among them.
        refused: Pairs left out, by reason.
        no_pairs: Why there are none.
    """

    n_documents: int
    n_passages: int
    n_queries: int
    n_judgments: int
    n_pairs: int | None = None
    n_training_queries: int | None = None
    refused: tuple[tuple[str, int], ...] = ()
    no_pairs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What fine-tuning an embedding model came to on other data: never a promise.

    Attributes:
        data: Which data.
        n_queries: Training queries; None where they were made from unlabelled passages.
        baseline: nDCG@10 before; None where the source doesn't say.
        gain: Relative change of nDCG@10, or absolute points where the source says only those.
        gain_value: Absolute change of nDCG@10; None where the source doesn't say.
        note: What was special.
        source: Where that stands.
        names: What folders and experiments with these data are called: it is no forecast for them.
    """

    data: str
    n_queries: int | None = None
    baseline: float | None = None
    gain: str
    gain_value: float | None = None
    note: str
    source: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a custom model would take, estimated from the baseline's speed on this machine.

    Attributes:
        passages_per_s: Measured on `n_timed` passages, past the cache; the fastest of three times, as another program only slows it.
        n_timed: Passages timed.
        query_ms: Median of embedding one query alone.
        reembed_s: Embedding the whole corpus with the new model, as fast as with the old one.
        train_low_s: Training as the experiment asks for it, lower end of the guess.
        train_high_s: Upper end; None where there is nothing to train on.
        index_bytes: Vectors of one more collection, without the index's own links.
        dimension: Of the vectors.
        cost_per_hour: What an hour of this machine costs, as given; None where it was not.
        currency_note: What is not in it.
        busy: Load of the machine over its cores while it was timed, where above 1: then all of it may take less; None where idle or unknown.
    """

    passages_per_s: float
    n_timed: int
    query_ms: float
    reembed_s: float
    train_low_s: float | None
    train_high_s: float | None
    index_bytes: int
    dimension: int
    cost_per_hour: float | None
    currency_note: str
    busy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A linear adapter over the frozen vectors, cross-validated on the training pairs.

    Attributes:
        folds: How many parts.
        difference: nDCG@10 on held-out training queries, adapter minus baseline.
        seconds: What it took.
        reason: Why there is none; then all else is None.
    """

    folds: int | None = None
    difference: Estimate | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One finding that speaks for an outcome.

    Attributes:
        outcome: For which one.
        rule: Short name of the rule.
        text: One sentence with its numbers.
        decides: Whether it is the one that decided.
    """

    outcome: Outcome
    rule: str
    text: str
    decides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to do next.

    Attributes:
        outcome: In the words of `Outcome`.
        sentence: In one sentence.
        reasons: The deciding one first.
        expected: What training came to elsewhere on about as much data, and that it is no promise; None where training isn't advised.
    """

    outcome: Outcome
    sentence: str
    reasons: tuple[Reason, ...]
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that is known before a training.

    Attributes:
        experiment: Its name.
        model: The baseline's, for people.
        level: What intervals cover, e.g. 0.95.
        min_effect: The smallest gain in `metric` that is worth it.
        metric: What the headroom is told in, `nDCG@10`.
        mde: The smallest difference that this gold set can show with the planned power; None with a reason.
        no_mde: Why there is none.
        baseline: Its metrics.
        ceilings: By metric, the most that any ranking can reach here.
        options: What is to be had without training.
        deeper: Recall at larger depths.
        failures: Where it fails.
        points: Map of the queries.
        no_map: Why there is none.
        volume: Data.
        elsewhere: What it took and gave on other data.
        costs: Of training and serving.
        probe: None where it was not asked for.
        recommendation: What it comes to.
    """

    experiment: str
    model: str
    level: float
    min_effect: float
    metric: str
    mde: float | None
    no_mde: str | None
    baseline: tuple[Estimate, ...]
    ceilings: tuple[tuple[str, float], ...]
    options: tuple[Option, ...]
    deeper: tuple[Option, ...]
    failures: Failures
    points: tuple[PlottedQuery, ...]
    no_map: str | None
    volume: DataVolume
    elsewhere: tuple[Elsewhere, ...]
    costs: Costs
    probe: Probe | None
    recommendation: Recommendation

    def measured(self, name: str) -> Estimate:
        """The baseline's metric of this name.

        Raises:
            KeyError: It was not measured.
        """
        for each in self.baseline:
            if each.name == name:
                return each
        raise KeyError(name)
