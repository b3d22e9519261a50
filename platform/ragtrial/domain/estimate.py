"""A number with what is not known of it."""

from dataclasses import dataclass


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
