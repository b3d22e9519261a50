"""A sample of live trials with what can be said of each without a model: what drift is told from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.live_scores import Sums

DriftName = Literal["similarity", "query_length", "in_gold", "abstained"]
"""`similarity` of the best passage to the query; `query_length` in characters; whether the query is in the gold set; whether the answer
abstained."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One signal, where it is known.

    Attributes:
        trial: Places in the sample of those that have a value, ascending, shape (n_known,).
        value: Their values, 0 or 1 for `in_gold` and `abstained`, shape (n_known,).
    """

    trial: NDArray[np.int64]
    value: Sums

    def __post_init__(self) -> None:
        if self.trial.shape != self.value.shape:
            raise ValueError(f"each value needs its trial; found the shapes {self.trial.shape} and {self.value.shape}")


@dataclass(frozen=True, kw_only=True)
class DriftSample:
    """Trials that count, drawn evenly from all of them, in the order in which they were logged.

    Attributes:
        arms: Names of the arms.
        at: Arrival, seconds since 1970, shape (n_sampled,).
        unit: Number of the unit, from 0, shape (n_sampled,).
        arm: Place of the arm that made it in `arms`, shape (n_sampled,).
        signals: What is known of them; a signal that no trial has is empty.
    """

    arms: tuple[str, ...]
    at: Sums
    unit: NDArray[np.int64]
    arm: NDArray[np.int64]
    signals: Mapping[DriftName, Measured]

    def __post_init__(self) -> None:
        sizes = {array.shape for array in (self.at, self.unit, self.arm)}
        if len(sizes) > 1:
            raise ValueError(f"each trial needs a moment, a unit and an arm; found the shapes {sorted(sizes)}")
        for name, found in self.signals.items():
            if found.trial.size and not 0 <= found.trial.min() <= found.trial.max() < self.at.size:
                raise ValueError(f"{name!r} is of the trials {found.trial.min()} to {found.trial.max()}, and there are {self.at.size}")

    @property
    def n_sampled(self) -> int:
        """How many trials were drawn."""
        return int(self.at.size)
