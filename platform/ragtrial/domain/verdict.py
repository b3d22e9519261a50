"""What came out: effects, comparisons, checks, and one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ragtrial.domain.metric import Metric

MetricRole = Literal["primary", "secondary", "guardrail", "exploratory"]
Decision = Literal["adopt custom", "keep baseline", "undecided", "too few", "refused"]
GuardrailState = Literal["holds", "broken", "not shown"]
CheckState = Literal["pass", "fail", "warn", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """One arm's mean on one metric; `mean` is None where nothing was scored.

    Attributes:
        mean: Over the queries scored in both arms.
        n_scored: Queries that this arm has a value for.
        unscored: Trials without a value, by reason.
    """

    mean: float | None
    n_scored: int
    unscored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A mean difference, treatment minus control, with its uncertainty.

    Attributes:
        estimate: In the metric's unit.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        p_value: Two-sided sign-flip permutation p.
        standard_error: Of the estimate.
        bootstrap_low: Percentile bootstrap interval, beside the t interval.
        bootstrap_high: Its upper end.
        standardised: Mean difference over the standard deviation of differences (Cohen's d_z).
        relative: Lift over the control's mean, or None where that is 0.
        mde: Smallest effect that these data would have seen with the planned power.
        p_equivalent: TOST p for lying within the margin; None where no margin was planned.
        p_mcnemar: McNemar mid-p for metrics that are 0 or 1 for every query, else None.
        method: In words, e.g. `paired t`, or `paired t, cluster-robust (23 clusters)`.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    standard_error: float
    bootstrap_low: float
    bootstrap_high: float
    standardised: float
    relative: float | None
    mde: float
    p_equivalent: float | None = None
    p_mcnemar: float | None = None
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailResult:
    """One-sided non-inferiority of the treatment against the planned margin.

    Attributes:
        margin: The planned margin, positive.
        relative: Whether margin, estimate and bound are ratios minus one.
        estimate: How much worse the treatment is (below 0 is better), in the metric's unit or as a ratio.
        bound: One-sided 1 - alpha confidence bound on `estimate`.
        state: `holds` (bound below the margin), `broken` (shown to be beyond it), or `not shown`.
    """

    margin: float
    relative: bool
    estimate: float
    bound: float
    state: GuardrailState


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Control against treatment on one metric.

    Attributes:
        metric: What was measured.
        role: As planned.
        baseline: The control arm.
        custom: The treatment arm.
        references: Mean of each reference line (`bm25`, `shuffled-context`); None where it has no value.
        n: Queries asked.
        n_scored: Queries scored in both arms.
        effect: None where it can't be computed; `no_effect` says why.
        no_effect: The reason, or None.
        p_adjusted: After the correction over decision metrics; None for other roles and where there is no p.
        wins: Queries where custom is better.
        ties: Queries where both are equal.
        losses: Queries where baseline is better.
        guardrail: For guardrails.
    """

    metric: Metric
    role: MetricRole
    baseline: ArmSummary
    custom: ArmSummary
    references: Mapping[str, float | None] = field(default_factory=dict)
    n: int
    n_scored: int
    effect: Effect | None
    no_effect: str | None = None
    p_adjusted: float | None = None
    wins: int
    ties: int
    losses: int
    guardrail: GuardrailResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The primary metric on the queries with one tag value; exploratory.

    Attributes:
        tag: E.g. `topic`.
        value: E.g. `gate`.
        n_scored: Queries in it that both arms have a value for.
        baseline_mean: Control's mean on them.
        custom_mean: Treatment's mean.
        effect: None where the slice is too small; `no_effect` says why.
        no_effect: The reason, or None.
        p_adjusted: Benjamini-Hochberg over all slices.
    """

    tag: str
    value: str
    n_scored: int
    baseline_mean: float
    custom_mean: float
    effect: Effect | None
    no_effect: str | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One health check.

    Attributes:
        name: `parity`, `leakage`, `coverage`, `ann_recall`, ...
        state: `fail` refuses the verdict; `warn` and `unknown` are shown.
        detail: What was found, in one sentence.
    """

    name: str
    state: CheckState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, in one sentence with its evidence.

    Attributes:
        decision: What to do.
        sentence: Why, with the numbers.
        reasons: What led to it, one sentence each.
        n_more: About how many more queries would decide; None where that can't be said.
        gate_passed: Whether the experiment's evidence rule holds (exit code 0).
    """

    decision: Decision
    sentence: str
    reasons: tuple[str, ...] = ()
    n_more: int | None = None
    gate_passed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that was concluded from one evaluation.

    Attributes:
        comparisons: The primary metric first.
        slices: Exploratory, of the primary metric.
        checks: Health checks.
        verdict: The decision.
        mde_planned: Smallest effect that was expected to be seen, computed before the run; None for a single query.
        headline_answer_metric: Which answer metric suits the length of the references, or None.
    """

    comparisons: tuple[Comparison, ...]
    slices: tuple[Slice, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    mde_planned: float | None
    headline_answer_metric: str | None = None

    @property
    def primary(self) -> Comparison:
        """The comparison that decides."""
        return next(c for c in self.comparisons if c.role == "primary")
