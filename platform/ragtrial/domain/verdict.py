"""What came out: effects, comparisons, checks, and one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ragtrial.domain.calibration import Calibration
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
        df: Degrees of freedom of that error.
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
    df: float
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
class WorstCase:
    """What the difference could be at the two extremes of what is missing (Manski bounds).

    Attributes:
        low: Lower end of the interval where every missing score speaks against the treatment.
        high: Upper end where every missing score speaks for it.
        estimate_low: The difference in the first case.
        estimate_high: In the second.
        missing_control: Queries that control has no score for, though they could have one; not those that the other arm left unpaired.
        missing_treatment: Likewise.
    """

    low: float
    high: float
    estimate_low: float
    estimate_high: float
    missing_control: int
    missing_treatment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeQuality:
    """How much an LLM judge can be trusted on one metric, as far as its own repeated opinions tell.

    Attributes:
        metric: What it judged.
        scorer: Version of the judge: model, prompt, rubric and sampling.
        n_opinions: Distinct questions that it was asked (a question of both arms counts once).
        n_unscored: Of them, those without a usable answer.
        n_repeated: Items that it judged more than once.
        flipped: Share of these whose opinions are not all equal, with its interval; None where none was judged twice.
        flipped_low: Lower end.
        flipped_high: Upper end.
        disagreement: Chance that two opinions of one item differ; None where none was judged twice.
        noise_share: Share of the variance of the mean difference that is the judge's wavering; None where it can't be told.
        half_width: Half of the interval's width now; None likewise.
        half_width_judgments: With twice the judgments of each answer.
        half_width_queries: With twice the queries.
        n_pairs: Pairs compared in both orders (judge_preference).
        n_inconsistent: Of them, those where the same place won twice; they count as ties.
        first_share: Share of wins that went to the answer shown first; 0.5 is no bias. None where nothing was won.
        why_not: Why the noise can't be told, or None.
    """

    metric: str
    scorer: str
    n_opinions: int
    n_unscored: int
    n_repeated: int = 0
    flipped: float | None = None
    flipped_low: float | None = None
    flipped_high: float | None = None
    disagreement: float | None = None
    noise_share: float | None = None
    half_width: float | None = None
    half_width_judgments: float | None = None
    half_width_queries: float | None = None
    n_pairs: int = 0
    n_inconsistent: int = 0
    first_share: float | None = None
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCount:
    """LLM calls for one purpose, as made, and as each arm alone would have needed them.

    Attributes:
        purpose: `answer`, or a metric's name.
        made: Calls behind the results, each counted once.
        alone: Calls if each arm had been answered and judged alone.
        cost_usd: Of `made`, as far as it is known; None where none of it is.
        cost_alone_usd: Of `alone`, likewise.
        unpriced: Answers or judgments among `made` whose cost is not known, so that it is missing in the sums.
    """

    purpose: str
    made: int
    alone: int
    cost_usd: float | None
    cost_alone_usd: float | None
    unpriced: int = 0


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
        p_adjusted: Of a secondary metric, behind the primary one (`stats.multiplicity.gated`); None for other roles (the primary decides
            alone, by its own p), and where it or the primary metric has no p.
        wins: Queries where custom is better.
        ties: Queries where both are equal.
        losses: Queries where baseline is better.
        guardrail: For guardrails.
        worst_case: Where the arms lack scores of different numbers of queries, what that could hide; None where they don't, or where
            the metric has no range.
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
    worst_case: WorstCase | None = None


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
        judges: One for each metric that an LLM judged.
        calls: LLM calls by purpose; empty where none were made.
        calibrations: One for each judged metric that people labelled answers for.
    """

    comparisons: tuple[Comparison, ...]
    slices: tuple[Slice, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    mde_planned: float | None
    headline_answer_metric: str | None = None
    judges: tuple[JudgeQuality, ...] = ()
    calls: tuple[CallCount, ...] = ()
    calibrations: tuple[Calibration, ...] = ()

    @property
    def primary(self) -> Comparison:
        """The comparison that decides."""
        return next(c for c in self.comparisons if c.role == "primary")
