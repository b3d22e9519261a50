"""One metric of a live experiment by unit and time: what shows how an effect came about."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.live_scores import Sums
from ragtrial.domain.metric import Metric


@dataclass(frozen=True, kw_only=True)
class TimedSums:
    """Sums of one metric, a row for each unit and step of time in which it has a value, in no order.

    Attributes:
        metric: What was measured.
        ends: When each step ends, seconds since 1970, ascending; shape (n_steps,).
        unit: Number of the unit, from 0, shape (n_rows,).
        arm: 0 control, 1 treatment; 0 throughout in modes shadow and interleaved, where `total` sums differences.
        step: Number of the step, from 0, shape (n_rows,).
        total: Sum of the metric over the unit's scored trials of that step, shape (n_rows,).
        count: Their number, above 0.
    """

    metric: Metric
    ends: Sums
    unit: NDArray[np.int64]
    arm: NDArray[np.int64]
    step: NDArray[np.int64]
    total: Sums
    count: Sums

    def __post_init__(self) -> None:
        sizes = {array.shape for array in (self.unit, self.arm, self.step, self.total, self.count)}
        if len(sizes) > 1:
            raise ValueError(f"each row needs a unit, an arm, a step, a total and a count; found the shapes {sorted(sizes)}")
        if self.step.size and not 0 <= self.step.min() <= self.step.max() < self.ends.size:
            raise ValueError(f"steps run from {self.step.min()} to {self.step.max()}, and there are {self.ends.size}")
