"""What a comparison of an LLM judge with people came to."""

from dataclasses import dataclass

from ragtrial.domain.label import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its two-sided 1 - alpha interval."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2.0

    @property
    def excludes_zero(self) -> bool:
        """Whether it is beyond chance."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEstimates:
    """Both arms' means and their difference on one metric; None where it can't be told, and then `why_not` says why.

    Attributes:
        control: Mean of the control arm.
        treatment: Mean of the treatment arm.
        difference: Treatment minus control.
        why_not: The reasons, each once, or None.
    """

    control: Estimate | None = None
    treatment: Estimate | None = None
    difference: Estimate | None = None
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far people and judge say the same of the same answers.

    Attributes:
        selection: Of which labels.
        n: Labels compared; two people's labels of one answer are two.
        share: Of them, those with the same word.
        kappa: Cohen's, over the words; None where it can't be told.
        weighted_kappa: With linear weights over the words' values; None likewise.
        why_not: Why a kappa can't be told, or None.
        words: The closed set, the best first.
        confusion: How often people said word i where the judge said word j; people in rows.
    """

    selection: Selection
    n: int
    share: Estimate
    kappa: Estimate | None
    weighted_kappa: Estimate | None
    why_not: str | None
    words: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWidth:
    """How narrow the corrected interval of the difference is expected to be with more labels.

    Attributes:
        more_answers: Answers to label besides those that are, at least 1.
        half_width: Half of the interval's width then.
    """

    more_answers: int
    half_width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A judge's scores of one metric beside what people say.

    Attributes:
        metric: What was judged.
        scorer: Version of the judge.
        n_labels: Labels at hand that count: drawn at random, of this evaluation and this judge.
        n_answers: Answers (trials) that they are of.
        n_queries: Queries that they are of.
        n_pairs: Of these, those of which both arms' answers are labelled.
        n_labellers: People.
        n_volunteered: Labels that came by themselves; they show in the agreement and nowhere else.
        n_unused: Labels of answers that the judge has no score of in both arms.
        stale: What is known of labels for another judge or another evaluation, a sentence each.
        agreements: Of the random labels and of those that came by themselves; empty where there are none.
        bias: Mean of judge minus human in each arm, and how much more lenient the judge is to treatment.
        naive: The judge's own estimates.
        corrected: The same on the human scale (prediction-powered inference).
        method: How they were corrected: `paired` (both arms' answers of a query), `independent` (each arm by itself), or None.
        planned: What more labels would bring, the fewest first; the last one is with all of them. Empty where that can't be told.
    """

    metric: str
    scorer: str
    n_labels: int = 0
    n_answers: int = 0
    n_queries: int = 0
    n_pairs: int = 0
    n_labellers: int = 0
    n_volunteered: int = 0
    n_unused: int = 0
    stale: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    bias: ArmEstimates = ArmEstimates()
    naive: ArmEstimates = ArmEstimates()
    corrected: ArmEstimates = ArmEstimates()
    method: str | None = None
    planned: tuple[PlannedWidth, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether anybody labelled anything, be it of use or not."""
        return bool(self.n_labels or self.n_volunteered or self.stale)
