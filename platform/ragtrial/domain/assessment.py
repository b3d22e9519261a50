"""Is a custom model worth it? What is known before any training, and what it comes to."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import Failures, PlottedQuery

Outcome = Literal["train", "try hybrid first", "collect more first", "don't"]
Purpose = Literal["alternative", "ceiling", "index"]


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
        outcome: For which one: of a rule that does not apply, for training.
        rule: Short name of the rule.
        text: One sentence with its numbers, and with the level from which the rule applies.
        applies: Whether the rule applies; None of what no rule asks for.
        decides: Whether it is the one that decided.
    """

    outcome: Outcome
    rule: str
    text: str
    applies: bool | None = None
    decides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to do next.

    Attributes:
        outcome: In the words of `Outcome`.
        sentence: In one sentence.
        reasons: Every rule in the order in which they are asked, then what else was found.
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
