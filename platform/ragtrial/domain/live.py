"""A live experiment: how traffic is split, what is logged of it, and what decides; planned before any user is served.

The field descriptions are the reference of the `live` section of the experiment file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import Guardrail, PrimaryMetric, check_roles, names_of

Mode = Literal["split", "shadow", "interleaved"]
QueryText = Literal["full", "redacted", "hash"]

N_BUCKETS = 10_000
"""Shares of traffic are whole ten-thousandths."""

MINIMUM_ARM = 100
"""With fewer units in an arm (in all, where the mode has no split) there is no interval, so a plan for fewer never comes to a verdict."""

LONGEST_REASON = 1000
"""Characters of the reason that a change of the traffic is given."""

GUARDRAIL = "guardrail"
"""The actor of a change of the traffic that a broken guardrail made by itself; nobody else is called that."""

THUMBS = ("thumbs_up", "thumbs_down", "up_share", "rated")
"""Metrics that volunteers decide about: who rates may differ between the arms, so they never are the primary metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A part of the traffic that this experiment has for itself; experiments with other buckets of the layer never meet the same unit."""

    __pydantic_config__ = STRICT

    name: str = described("The layer's name; experiments that exclude each other name the same layer.")
    first: int = described("First bucket of the layer that belongs to this experiment, from 0.")
    end: int = described("First bucket that does not belong to it any more, at most 10000.")

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("layer.name is empty: name the layer")
        if not 0 <= self.first < self.end <= N_BUCKETS:
            raise ValueError(f"layer has the buckets {self.first} to {self.end}: give 0 <= first < end <= {N_BUCKETS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSpec:
    """Who takes part at the start; operators change it later.

    Another `share` moves no unit from one arm to the other. Another `treatment` can, and mixes days with arms: leave it alone.
    """

    __pydantic_config__ = STRICT

    share: float = described("Share of the units that take part (of those in the layer and outside the holdout).", default=1.0)
    treatment: float = described("Share of those that take part that get the treatment (mode split).", default=0.5)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"traffic.share is {self.share}: give a share from 0 to 1")
        if not 0 < self.treatment < 1:
            raise ValueError(f"traffic.treatment is {self.treatment}: give a share between 0 and 1, so that both arms are seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMetrics:
    """What decides on live traffic. Thumbs are guardrails or diagnostics, never the primary metric."""

    __pydantic_config__ = STRICT

    primary: PrimaryMetric = described("The one metric that decides; mode interleaved: preference.")
    secondary: tuple[str, ...] = described("Decision metrics besides the primary one; counted where that one is shown.", default=())
    guardrails: tuple[Guardrail, ...] = described("What must not get worse; a broken one stops the treatment by itself.", default=())
    exploratory: tuple[str, ...] = described("Shown without a claim.", default=())

    def __post_init__(self) -> None:
        check_roles(self.primary, self.secondary, self.guardrails, self.exploratory)
        if self.primary.name in THUMBS:
            raise ValueError(
                f"live.metrics.primary is {self.primary.name!r}: who rates is not a random sample, so thumbs can't decide; "
                "make it a guardrail, and choose a judged, retrieval or behaviour metric"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric asked for, once, the primary first."""
        return names_of(self.primary, self.secondary, self.guardrails, self.exploratory)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineScoring:
    """What is scored in the background."""

    __pydantic_config__ = STRICT

    judge_share: float = described("Share of the trials that the judge sees, drawn at random.", default=0.1)
    max_cost_usd_per_day: float | None = described("The judge stops for the day (UTC) when it has spent this; null: no limit.", default=5.0)

    def __post_init__(self) -> None:
        if not 0 <= self.judge_share <= 1:
            raise ValueError(f"scoring.judge_share is {self.judge_share}: give a share from 0 to 1")
        if self.max_cost_usd_per_day is not None and not self.max_cost_usd_per_day > 0:
            raise ValueError(f"scoring.max_cost_usd_per_day is {self.max_cost_usd_per_day}: give a sum above 0, or null")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSpec:
    """How live traffic is split between the arms, and what decides."""

    __pydantic_config__ = STRICT

    mode: Mode = described(
        "split: a unit sees one arm. shadow: users get the baseline, the custom arm runs silently and is logged. "
        "interleaved: one context from both rankings, credit by citations and by votes on sources.",
        default="split",
    )
    metrics: LiveMetrics = described("What is measured, and what decides.")
    units_planned: int | None = described(
        "Units (users) in both arms together at which the one planned verdict is given; null: only the always-valid one. "
        "`ragtrial plan` computes it.",
        default=None,
    )
    traffic: TrafficSpec = described("Who takes part at the start.", default_factory=TrafficSpec)
    salt: str | None = described("What the split is hashed with; default: the experiment's name.", default=None)
    layer: LayerSpec | None = described("The part of the traffic that this experiment has for itself.", default=None)
    holdout: float = described("Share of all units that no experiment touches: they always get the baseline.", default=0.0)
    holdout_salt: str = described("What the holdout is hashed with; experiments that share it hold out the same units.", default="holdout")
    allow: tuple[str, ...] = described("Only these units take part; empty: all.", default=())
    deny: tuple[str, ...] = described("These units never take part.", default=())
    overrides: Mapping[str, str] = described("Testers: unit to arm; they stay out of the analysis.", default_factory=dict)
    when_broken: Literal["stop", "ramp-down"] = described(
        "What a broken guardrail does by itself: stop (the baseline for everyone), or ramp-down (the share falls to a tenth). "
        "It governs guardrails only; a sample ratio mismatch changes no traffic and blocks the verdict.",
        default="stop",
    )
    availability: Literal["refuse", "unlogged"] = described(
        "Where the log can't be written: refuse (503 with Retry-After), or unlogged (the baseline is served and not logged; the outage is "
        "marked in the analysis).",
        default="refuse",
    )
    query_text: QueryText = described(
        "How queries are stored: full, redacted (personal data replaced; where that fails, the hash only), or hash.", default="full"
    )
    retention_days: int | None = described("Texts older than this are erased by `ragtrial db forget`; null: kept.", default=None)
    solicit: float = described("Share of the answers, drawn at random, that ask for a rating: the estimate to trust.", default=0.05)
    late_vote_days: int = described("A vote that comes later than this is kept and counted, but stays out of the analysis.", default=7)
    scoring: OnlineScoring = described("What is scored in the background.", default_factory=OnlineScoring)

    def __post_init__(self) -> None:
        for name in ("holdout", "solicit"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"live.{name} is {getattr(self, name)}: give a share from 0 to below 1")
        for name in ("units_planned", "retention_days", "late_vote_days"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"live.{name} is {value}: give at least 1")
        self._check_size()
        if (self.mode == "interleaved") != (self.metrics.primary.name == "preference"):
            raise ValueError(
                f"live.mode is {self.mode!r} and the primary metric {self.metrics.primary.name!r}: "
                "mode interleaved decides by 'preference', and only that mode has it"
            )
        if self.mode == "interleaved":
            self._check_one_answer()
        both = sorted(set(self.deny) & {*self.allow, *self.overrides})
        if both:
            raise ValueError(f"unit {both[0]!r} stands in deny and in allow or overrides: take it out of one")
        if self.mode == "shadow":
            feedback = [name for name in self.metrics.names if metric_named(name).kind == "feedback"]
            if feedback:
                raise ValueError(f"live.mode is 'shadow', where nobody sees the custom arm, so it has no {feedback[0]!r}")

    @property
    def smaller_share(self) -> float:
        """Share of the units that the smaller arm gets; 1 where both arms have the same units."""
        return min(self.traffic.treatment, 1 - self.traffic.treatment) if self.mode == "split" else 1.0

    def _check_size(self) -> None:
        """A planned size at which an interval can be had."""
        if self.units_planned is None or self.units_planned * self.smaller_share > MINIMUM_ARM - 1e-6:
            return
        least = math.ceil(MINIMUM_ARM / self.smaller_share - 1e-6)
        arms = f", with traffic.treatment {self.traffic.treatment:g} in the smaller arm" if self.mode == "split" else ""
        raise ValueError(
            f"live.units_planned is {self.units_planned}: a verdict takes at least {MINIMUM_ARM} units{arms}, so it would never come; "
            f"give at least {least:,} (`ragtrial plan` says how many it takes), or null for the always-valid interval alone"
        )

    def _check_one_answer(self) -> None:
        """What decides or stops must be told apart by arm, and there is one answer for both."""
        guarded = [guardrail.name for guardrail in self.metrics.guardrails]
        for kind, names in (("guardrail", guarded), ("secondary metric", self.metrics.secondary)):
            alike = [name for name in names if name != "preference"]
            if alike:
                raise ValueError(
                    f"live.mode is 'interleaved' and {alike[0]!r} a {kind}: both rankings make one answer there, so that only 'preference' "
                    "can be told apart by arm, and the verdict would wait for it for ever; take it out, or guard it in mode split or shadow"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficState:
    """What holds of the traffic at a moment; each change is a new version.

    Attributes:
        version: From 1; 1 is the plan's.
        share: Share of the units that take part.
        treatment: Share of those that get the treatment.
        stopped: Everyone gets the baseline, and nobody takes part.
        actor: Who changed it: a key's name, `plan`, or `guardrail`.
        reason: Why.
        at: When, seconds since 1970.
    """

    version: int
    share: float
    treatment: float
    stopped: bool = False
    actor: str = "plan"
    reason: str = ""
    at: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 < self.treatment < 1 and math.isfinite(self.at)):
            raise ValueError(f"traffic is {self.share} with {self.treatment} treatment: give shares from 0 to 1, treatment between")


def acted_on(history: Sequence[TrafficState]) -> tuple[str, ...]:
    """The metrics whose guardrails have changed the traffic: the reasons of those changes begin with their names and a colon."""
    found = [state.reason.partition(":")[0].split(", ") for state in history if state.actor == GUARDRAIL]
    return tuple(dict.fromkeys(name for names in found for name in names))


AssignmentReason = Literal["split", "override", "no unit", "outside", "holdout", "denied", "stopped", "fallback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which arm a unit was given, and why.

    Attributes:
        unit: The unit as the caller named it; None where it named none.
        arm: The arm that is served; `interleaved` in that mode.
        reason: `split` is the experiment: only that is analysed. Everything else gets the baseline, except overrides. `fallback` is the
            baseline's trial that stood in for one that failed; the failed one keeps the reason that it had.
        bucket: The unit's bucket in this experiment, 0 to 9999; None without a unit.
        propensity: Chance that the unit had of getting this arm, given that it takes part; None where it doesn't.
        version: Of the traffic's state.
    """

    unit: str | None
    arm: str
    reason: AssignmentReason
    bucket: int | None = None
    propensity: float | None = None
    version: int

    @property
    def counted(self) -> bool:
        """Whether it belongs to the analysis."""
        return self.reason == "split"
