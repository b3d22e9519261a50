"""Live scores summed by unit: what the statistics of a live experiment need, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.metric import Metric

Sums = NDArray[np.float64]

NOT_SCORED = "not scored yet"
"""The reason of trials whose score is still to come."""


@dataclass(frozen=True, kw_only=True)
class UnitSums:
    """One metric in one arm, by unit.

    Attributes:
        totals: Sum of the metric over the unit's scored trials, shape (n_units,).
        counts: Its scored trials, shape (n_units,), each above 0.
        pre_totals: The same before the experiment began, where there was a unit before; NaN never, so absent units have count 0.
        pre_counts: Likewise, or None where no covariate is known.
        n_trials: Trials of the arm that belong to the analysis, scored or not.
        unscored: Trials without a value, by reason.
    """

    totals: Sums
    counts: Sums
    pre_totals: Sums | None = None
    pre_counts: Sums | None = None
    n_trials: int
    unscored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """Mode split: both arms on one metric; units are independent."""

    metric: Metric
    control: UnitSums
    treatment: UnitSums


@dataclass(frozen=True, kw_only=True)
class WithinScores:
    """Modes shadow and interleaved: a difference (treatment minus control) for each query, summed by unit.

    Attributes:
        metric: What was measured.
        differences: Summed differences and their number, by unit.
        control_mean: Mean over the same queries; None in mode interleaved.
        treatment_mean: Likewise.
    """

    metric: Metric
    differences: UnitSums
    control_mean: float | None = None
    treatment_mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Who was exposed to what, and who was left out of the analysis.

    Attributes:
        state_versions: Versions of the traffic's state, in order; the rows of `units` and `trials`.
        units: Units first exposed under each version, by arm: shape (n_versions, 2), control first.
        trials: Trials logged under each version, likewise.
        expected: Planned shares under each version, shape (n_versions, 2).
        in_both: Units that saw both arms; they are left out.
        excluded: Trials left out, by reason (`override`, `no unit`, `outside`, `holdout`, `denied`, `stopped`, `in both arms`).
        failed: Trials that failed, by arm.
        erased: Trials erased on request, by arm.
        new_units: Units first seen on each day (UTC) of the experiment.
    """

    state_versions: tuple[int, ...]
    units: NDArray[np.int64]
    trials: NDArray[np.int64]
    expected: Sums
    in_both: int
    excluded: Mapping[str, int]
    failed: Mapping[str, int]
    erased: Mapping[str, int]
    new_units: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class VotesByUnit:
    """Thumbs of one arm by unit: users who come back vote more than once, and often alike. All of shape (n_units,).

    Attributes:
        asked: Served answers.
        up: Of them, those whose last vote is up.
        down: Of them, those whose last vote is down.
        asked_solicited: Those of `asked` that asked for a rating.
        up_solicited: Of these, those whose last vote is up.
        down_solicited: Likewise down.
    """

    asked: Sums
    up: Sums
    down: Sums
    asked_solicited: Sums
    up_solicited: Sums
    down_solicited: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCounts:
    """Thumbs on the answers of one arm, last vote of each; late ones apart.

    Attributes:
        arm: Control, treatment, or interleaved.
        solicited: Whether these answers asked for a rating.
        trials: Served trials.
        up: Whose last vote is up.
        down: Whose last vote is down.
        withdrawn: Whose last vote was taken back.
        late: Votes that came too late to count.
    """

    arm: str
    solicited: bool
    trials: int
    up: int
    down: int
    withdrawn: int
    late: int
