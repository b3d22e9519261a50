"""Thumbs: who rates first, what they say second, and what those say who were asked at random."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.domain.live_scores import SplitScores, VoteCounts
from ragtrial.domain.live_verdict import Difference, VotesFound
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.ratio import RatioDifference
from ragtrial.stats.votes import VoteSums, vote_difference


def votes_of(setting: LiveSetting) -> tuple[VotesFound, ...]:
    """What all thumbs say, and what those say that were asked for; empty in modes where votes belong to no arm."""
    if setting.live.mode != "split":
        return ()
    found = [_found(setting, solicited=False), _found(setting, solicited=True)]
    return tuple(each for each in found if sum(each.trials))


def _found(setting: LiveSetting, *, solicited: bool) -> VotesFound:
    """Of all answers, or of those that asked for a rating."""
    kept = [count for count in setting.votes if count.solicited or not solicited]
    control, treatment = ([count for count in kept if count.arm == arm] for arm in setting.arms)
    trials, up, down = (_pair(control, treatment, name) for name in ("trials", "up", "down"))
    rated = (up[0] + down[0], up[1] + down[1])
    counted = VotesFound(
        solicited=solicited,
        trials=trials,
        rated=rated,
        up=up,
        withdrawn=_pair(control, treatment, "withdrawn"),
        late=_pair(control, treatment, "late"),
    )
    if not sum(trials):
        return counted
    sums = None if solicited else _by_unit(setting, rated)
    if sums is None:
        sums = tuple(_by_trial(*numbers) for numbers in zip(up, rated, trials, strict=True))
    try:
        test = vote_difference(sums[0], sums[1], alpha=setting.plan.alpha)
    except NotEnoughDataError as error:
        return dataclasses.replace(counted, reason=str(error))
    return dataclasses.replace(
        counted,
        rating_rate=_difference(test.rating_rate),
        share=_difference(test.share),
        bounds=Difference(estimate=(test.bounds.lower + test.bounds.upper) / 2, low=test.bounds.low, high=test.bounds.high),
        who_rates_differs=test.who_rates_differs,
    )


def _pair(control: Sequence[VoteCounts], treatment: Sequence[VoteCounts], name: str) -> tuple[int, int]:
    left, right = (sum(getattr(count, name) for count in counts) for counts in (control, treatment))
    return left, right


def _by_unit(setting: LiveSetting, rated: tuple[int, int]) -> tuple[VoteSums, ...] | None:
    """Votes summed by unit, where both tables were read and are of the same votes."""
    asked, ups = setting.tables.get("rated"), setting.tables.get("thumbs_up")
    if not isinstance(asked, SplitScores) or not isinstance(ups, SplitScores):
        return None
    pairs = ((asked.control, ups.control), (asked.treatment, ups.treatment))
    if any(not np.array_equal(left.counts, right.counts) for left, right in pairs):
        return None
    if any(round(float(left.totals.sum())) != n for (left, _), n in zip(pairs, rated, strict=True)):
        return None
    return tuple(VoteSums(up=right.totals, rated=left.totals, asked=left.counts) for left, right in pairs)


def _by_trial(up: int, rated: int, trials: int) -> VoteSums:
    """Each answer for itself: right where hardly any unit was asked twice, as with a small random share."""
    ones = np.ones(trials)
    return VoteSums(up=(np.arange(trials) < up).astype(np.float64), rated=(np.arange(trials) < rated).astype(np.float64), asked=ones)


def _difference(fit: RatioDifference) -> Difference:
    return Difference(estimate=fit.difference, low=fit.low, high=fit.high)
