"""What a live experiment has come to so far: effects that may be looked at any time, checks, and the verdict in the offline words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_trial import Outage
from ragtrial.domain.metric import Metric
from ragtrial.domain.verdict import Check, GuardrailState, MetricRole, Verdict

IntervalKind = Literal["running", "planned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A difference with what is known of it, at one level.

    Attributes:
        kind: `running` holds at every look together; `planned` at the planned size, and nowhere else.
        estimate: Treatment minus control, in the metric's unit.
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end.
        p_value: Two-sided, of no difference; always-valid where running.
        alpha: The level that is spent on it.
        n_units: Units with data.
        means: Of control and treatment, over the same data; None where the arms have no mean of their own.
        relative: Lift over the control's mean; None where that is too near to 0 to divide by.
        p_adjusted: Of a secondary metric: corrected among those of this kind, behind the primary metric's of this kind, to be compared with
            this interval's alpha. None for other roles, and where the primary metric has no interval of this kind.
    """

    kind: IntervalKind
    estimate: float
    low: float
    high: float
    p_value: float
    alpha: float
    n_units: int
    means: tuple[float, float] | None = None
    relative: float | None = None
    p_adjusted: float | None = None

    def shows(self, role: MetricRole) -> bool:
        """Whether there is a difference: 0 is outside, and the p that counts for a metric of this role is below this interval's level.

        That is the primary metric's own p and a secondary one's adjusted p; what is not tested for a decision needs none.
        """
        if self.low <= 0 <= self.high:
            return False
        if role not in ("primary", "secondary"):
            return True
        counts = self.p_value if role == "primary" else self.p_adjusted
        return counts is not None and counts < self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEffect:
    """A difference between the arms, treatment minus control.

    Attributes:
        running: Of all data so far, always valid.
        planned: Of the data until the planned number of units was there, computed once and not changed by what came later; None before
            that, and where no number was planned.
        standard_error: Of the running estimate, over the units.
        variance_reduction: Share of the variance that earlier behaviour took away (CUPED); None where there is none.
        method: In words, e.g. `delta method by unit, always-valid sequence`.
    """

    running: Interval
    planned: Interval | None = None
    standard_error: float
    variance_reduction: float | None = None
    method: str

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The planned one first, where it is there: the order in which they decide."""
        return (self.running,) if self.planned is None else (self.planned, self.running)

    def counting(self, role: MetricRole) -> Interval:
        """The interval that counts for a metric of this role: the first one that shows a difference; where neither does, the first one.

        Either kind may show it, each at its own level: the levels add up to alpha.
        """
        return next((interval for interval in self.intervals if interval.shows(role)), self.intervals[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveArm:
    """One arm on one metric.

    Attributes:
        mean: Over its scored trials; None where nothing was scored.
        n_units: Units with a scored trial.
        n_trials: Trials that belong to the analysis.
        n_scored: Of them, those with a value.
        unscored: Trials without a value, by reason.
    """

    mean: float | None
    n_units: int
    n_trials: int
    n_scored: int
    unscored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveGuardrail:
    """Non-inferiority of the treatment at any look.

    Attributes:
        margin: The planned margin, positive.
        relative: Whether margin, estimate and bounds are ratios minus one.
        estimate: How much worse the treatment is (below 0 is better), in the metric's unit or as a ratio.
        low: One-sided lower bound at the running level; above the margin the guardrail is broken.
        high: One-sided upper bound; below the margin the guardrail holds.
        state: In one word.
        method: In words.
    """

    margin: float
    relative: bool
    estimate: float
    low: float
    high: float
    state: GuardrailState
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveComparison:
    """Control against treatment on one metric.

    Attributes:
        metric: What was measured.
        role: As planned.
        baseline: The control arm.
        custom: The treatment arm.
        within: Modes shadow and interleaved: differences are within a query, so that both arms have the same trials.
        effect: None where it can't be computed yet; `no_effect` says why.
        no_effect: The reason, or None.
        guardrail: For guardrails; None where it can't be tested yet.
        no_guardrail: Why it can't be tested yet, or None.
    """

    metric: Metric
    role: MetricRole
    baseline: LiveArm
    custom: LiveArm
    effect: LiveEffect | None
    no_effect: str | None = None
    guardrail: LiveGuardrail | None = None
    no_guardrail: str | None = None
    within: bool = False

    @property
    def interval(self) -> Interval | None:
        """The interval that counts: whatever is said of the difference is said of this one; None without an effect."""
        return None if self.effect is None else self.effect.counting(self.role)

    @property
    def p_adjusted(self) -> float | None:
        """Of a secondary metric, of the interval that counts; None for other roles: the primary metric decides alone, by its own p."""
        return None if self.interval is None else self.interval.p_adjusted

    @property
    def samples(self) -> tuple[LiveArm, ...]:
        """Both arms, or, where they have the same trials, the one sample: what counts of trials and units are summed over."""
        return (self.baseline,) if self.within else (self.baseline, self.custom)

    @property
    def n_units(self) -> int:
        """Units with a scored trial, each counted once."""
        return sum(arm.n_units for arm in self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailAlarm:
    """A planned guardrail is shown to be broken: what stops the treatment by itself.

    Attributes:
        metric: Its name.
        guardrail: The numbers.
        sentence: For the log and for people.
    """

    metric: str
    guardrail: LiveGuardrail
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatioFound:
    """Whether the arms got what was planned for them; sequential, so that it may be looked at any time.

    Attributes:
        level: `units`: shares of the units. `queries`: queries per unit.
        state: `fail` blocks the verdict.
        observed: Treatment's share of the units, or treatment's queries per unit over control's.
        expected: What was planned, or 1.
        low: Lower end of the always-valid interval; None for units, which are tested by an e-value.
        high: Upper end, likewise.
        p_value: Always-valid.
        n_units: Units in both arms.
        counts: Units (or queries) of control and treatment.
    """

    level: Literal["units", "queries"]
    state: Literal["pass", "warn", "fail"]
    observed: float
    expected: float
    low: float | None = None
    high: float | None = None
    p_value: float
    n_units: int
    counts: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference with its interval at a planned size: for pictures and diagnostics, not for decisions."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What a difference can be: ends without an estimate between them, for nothing was measured there."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VotesFound:
    """What the thumbs say, of all answers or of those that asked for a rating.

    Attributes:
        solicited: Whether these are the answers that asked at random: the estimate to trust.
        trials: Answers of control and treatment.
        rated: Of them, rated ones.
        up: Of them, those with a thumb up.
        withdrawn: Votes taken back, by arm.
        late: Votes that came too late to count, by arm.
        rating_rate: Difference of the share that was rated; tested first. None where it can't be computed.
        share: Difference of up-votes among votes.
        bounds: What the difference could be, whatever those think who did not vote.
        who_rates_differs: The rating rates differ, so the naive difference must not be read.
        reason: Why something is None, or None.
    """

    solicited: bool
    trials: tuple[int, int]
    rated: tuple[int, int]
    up: tuple[int, int]
    withdrawn: tuple[int, int]
    late: tuple[int, int]
    rating_rate: Difference | None = None
    share: Difference | None = None
    bounds: Range | None = None
    who_rates_differs: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A high quantile of the waiting time in both arms, with an interval that draws whole units.

    Attributes:
        quantile: E.g. 0.95.
        control: In milliseconds; None where it can't be computed, and `reason` says why.
        treatment: Likewise.
        ratio: Treatment over control.
        ratio_low: Lower end of its interval at a planned size.
        ratio_high: Upper end.
        reason: Or None.
        drawn: From the queries of how many users, and from how many these were drawn at random; None: from all.
    """

    quantile: float
    control: float | None = None
    treatment: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    reason: str | None = None
    drawn: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """Mode interleaved: how many queries and units preferred an arm.

    Attributes:
        units_for_treatment: Units whose queries sum up to more than 0.
        units_for_control: Less than 0.
        units_tied: Exactly 0.
        sign_p_value: Two-sided sign test over units without the tied ones, at a planned size; beside the mean, which decides.
    """

    units_for_treatment: int
    units_for_control: int
    units_tied: int
    sign_p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How things stood at a moment.

    Attributes:
        at: Seconds since 1970.
        n_units: Units with a scored trial until then.
        estimate: Of the primary metric; None before there is an interval.
        low: Lower end of the always-valid interval.
        high: Upper end.
        units: Units of control and treatment until then, scored or not.
        treatment_share: Treatment's share of those units; None in modes without a split.
    """

    at: float
    n_units: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    units: tuple[int, int] = (0, 0)
    treatment_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How alpha is spent.

    Attributes:
        running: On all looks together.
        planned: On the one verdict at the planned size; None where none is planned. Both together are the plan's alpha.
        tuned_for: Units of both arms at which running intervals are tightest.
        units_planned: Units of both arms at which the planned verdict is given; None where none is planned.
    """

    running: float
    planned: float | None
    tuned_for: int
    units_planned: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the experiment is.

    Attributes:
        n_units: Units that belong to the analysis.
        n_trials: Their trials.
        levels: How alpha is spent, and the planned size.
        started_at: First trial, seconds since 1970; None before it.
        seen_at: Last trial.
        planned_at: When the planned number of units was there; None before.
        units_per_day: New units a day, of late; None where it can't be told.
        days_left: Until the planned number of units is there; None where that is reached, not planned, or can't be told.
        traffic: What holds of the traffic now.
        n_changes: Changes of the traffic since the start.
        outages: Times in which queries were refused or not logged.
    """

    n_units: int
    n_trials: int
    levels: Levels
    started_at: float | None
    seen_at: float | None
    planned_at: float | None = None
    units_per_day: float | None = None
    days_left: int | None = None
    traffic: TrafficState
    n_changes: int = 0
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that does not count, with its number."""

    what: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnalysis:
    """Everything that is concluded from a live experiment so far.

    Attributes:
        comparisons: The primary metric first.
        checks: Health checks; one that fails refuses the verdict.
        verdict: The decision; its `n_more` counts units, not queries.
        days_more: Days that `verdict.n_more` units take; None where that can't be told.
        sample_ratios: Of units and of queries; empty where the mode has no split or nothing was seen.
        votes: Of all answers, then of those that asked; empty where the mode has no votes by arm.
        tail: p95 of what users wait, or None in modes without a split.
        preferred: Mode interleaved, or None.
        looks: How the primary metric and the split came about, oldest first.
        progress: How far it is.
        left_out: Everything that does not count.
    """

    comparisons: tuple[LiveComparison, ...]
    checks: tuple[Check, ...]
    verdict: Verdict
    days_more: int | None = None
    sample_ratios: tuple[SampleRatioFound, ...] = ()
    votes: tuple[VotesFound, ...] = ()
    tail: Tail | None = None
    preferred: Preferred | None = None
    looks: tuple[Look, ...] = ()
    progress: Progress
    left_out: tuple[LeftOut, ...] = ()

    @property
    def primary(self) -> LiveComparison:
        """The comparison that decides."""
        return next(c for c in self.comparisons if c.role == "primary")
