"""Answers side by side: which arm people prefer when they see both."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ragtrial.analysis.live_guardrails import design_effect
from ragtrial.domain.live_scores import Sums, UnitSums
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.binary import wilson
from ragtrial.stats.sign_test import sign_test

_MIN_PEOPLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesFound:
    """What comparisons side by side say. Exploratory, and at a planned size: not valid at any look.

    Attributes:
        preferred: Comparisons in which control, and treatment, was preferred.
        both: In which both answers are good.
        neither: In which neither is.
        withdrawn: Whose choice was taken back.
        open: In which nobody has chosen yet.
        people: Who preferred an arm at least once; those who are not told apart count as one.
        share: Share of `preferred` that is the treatment's; None where nothing was preferred.
        low: Lower end of its interval, which counts a person's choices as alike as they are; None where there is one person.
        high: Upper end, likewise.
        p_value: Two-sided exact sign test over people: do more of them prefer the treatment than the control? None where nobody does.
        reason: Why something is None, or None.
    """

    preferred: tuple[int, int] = (0, 0)
    both: int = 0
    neither: int = 0
    withdrawn: int = 0
    open: int = 0
    people: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    reason: str | None = None

    @property
    def comparisons(self) -> int:
        """All that were shown."""
        return sum(self.preferred) + self.both + self.neither + self.withdrawn + self.open


def preferences_found(by_person: Sums, *, alpha: float, both: int, neither: int, withdrawn: int, open_: int) -> PreferencesFound:
    """Which arm people prefer.

    Args:
        by_person: How often each person preferred control, and treatment; shape (n_people, 2).
        alpha: 1 minus the coverage of the interval.
        both: Comparisons in which both are good.
        neither: In which neither is.
        withdrawn: Whose choice was taken back.
        open_: In which nobody has chosen yet.
    """
    decided = by_person[by_person.sum(axis=1) > 0]
    control, treatment = (int(n) for n in decided.sum(axis=0))
    counts: dict[str, Any] = {"both": both, "neither": neither, "withdrawn": withdrawn, "open": open_, "people": len(decided)}
    if not len(decided):
        return PreferencesFound(**counts, reason="no answer was preferred to another so far")
    share = treatment / (control + treatment)
    if len(decided) < _MIN_PEOPLE:
        reason = "one person has chosen so far: how much people differ can't be told"
        return PreferencesFound(**counts, preferred=(control, treatment), share=share, reason=reason)
    effect = _likeness(decided)
    found = wilson(
        min(round((control + treatment) / effect), round(treatment / effect)), round((control + treatment) / effect), alpha=alpha
    )
    p_value, why = None, None
    try:
        p_value = sign_test(int((decided[:, 1] > decided[:, 0]).sum()), int((decided[:, 1] < decided[:, 0]).sum()))
    except NotEnoughDataError:
        why = "everybody preferred both arms equally often"
    return PreferencesFound(
        **counts, preferred=(control, treatment), share=share, low=found.low, high=found.high, p_value=p_value, reason=why
    )


def _likeness(decided: Sums) -> float:
    """How many choices of a person count as one. Where all but one think alike it can't be estimated, and a person counts once."""
    whole = decided.sum(axis=1)
    if whole.max() == 1:
        return 1.0
    rarer = decided[:, int(np.argmin(decided.sum(axis=0)))]
    if np.count_nonzero(rarer) < _MIN_PEOPLE:
        return float(whole.mean())
    return design_effect(UnitSums(totals=decided[:, 1], counts=whole, n_trials=int(whole.sum())))
