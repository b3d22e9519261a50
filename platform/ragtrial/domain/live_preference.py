"""Two answers to one query beside each other, and which one somebody preferred."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.live_trial import LiveTrial

Choice = Literal["left", "right", "both", "neither", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One query, answered by both arms and shown side by side to somebody who does not know which is which.

    Attributes:
        comparison_id: What preferences refer to, e.g. `comparison_0f3a...`.
        left: The trial whose answer stands left; which arm's that is was drawn at random.
        right: The other arm's.
        unit: Pseudonym of the unit, or None.
        caller: Name of the API key; nobody else is shown it.
        idempotency_key: The caller's; a replay gets the same comparison.
        at: Arrival, seconds since 1970.

    Raises:
        ValueError: Both trials are of one arm or of different queries, or one of them has no answer to show, or counts in the split.
    """

    comparison_id: str
    left: LiveTrial
    right: LiveTrial
    unit: str | None
    caller: str
    idempotency_key: str | None = None
    at: float

    def __post_init__(self) -> None:
        arms, what = {trial.trial.arm for trial in self.trials}, f"comparison {self.comparison_id!r}"
        if len(arms) < len(self.trials):
            raise ValueError(f"{what} holds two answers of the arm {self.left.trial.arm!r}: give one of each")
        if self.left.query.digest != self.right.query.digest:
            raise ValueError(f"{what} holds answers to different queries")
        for trial in self.trials:
            if trial.trial.failure is not None or not trial.served or trial.assignment.reason != "override":
                raise ValueError(f"{what}: trial {trial.trial_id!r} failed, was not served, or counts in the split")

    @property
    def trials(self) -> tuple[LiveTrial, LiveTrial]:
        """From left to right."""
        return self.left, self.right


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Which of two answers somebody preferred; the last one on the same comparison counts.

    Attributes:
        comparison_id: The comparison.
        caller: Name of the API key; only who was shown the comparison may judge it.
        key: Idempotency key: the same key is recorded once.
        choice: `both` are good, `neither` is; `withdrawn` takes an earlier choice back.
        comment: Free text.
        at: Arrival, seconds since 1970.
    """

    comparison_id: str
    caller: str
    key: str
    choice: Choice
    comment: str = ""
    at: float
