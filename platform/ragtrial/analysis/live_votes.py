"""Thumbs: who rates first, what they say second, and what those say who were asked at random."""

import dataclasses
from collections.abc import Sequence

from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.domain.live_scores import VoteCounts, VotesByUnit
from ragtrial.domain.live_verdict import Difference, Range, VotesFound
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.ratio import RatioDifference
from ragtrial.stats.votes import VoteSums, vote_difference

NOBODY = "nobody voted"
NOT_BY_UNIT = "the votes were not read by unit, and votes of one user are not independent"


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
    units = [setting.votes_by_unit.get(arm) for arm in setting.arms]
    if units[0] is None or units[1] is None:
        return dataclasses.replace(counted, reason=NOBODY if not sum(rated) else NOT_BY_UNIT)
    sums = [_sums(each, solicited=solicited) for each in units if each is not None]
    try:
        test = vote_difference(sums[0], sums[1], alpha=setting.plan.alpha)
    except NotEnoughDataError as error:
        return dataclasses.replace(counted, reason=str(error))
    return dataclasses.replace(
        counted,
        rating_rate=_difference(test.rating_rate),
        share=_difference(test.share),
        bounds=Range(low=test.bounds.low, high=test.bounds.high),
        who_rates_differs=test.who_rates_differs,
    )


def _pair(control: Sequence[VoteCounts], treatment: Sequence[VoteCounts], name: str) -> tuple[int, int]:
    left, right = (sum(getattr(count, name) for count in counts) for counts in (control, treatment))
    return left, right


def _sums(units: VotesByUnit, *, solicited: bool) -> VoteSums:
    if solicited:
        return VoteSums(up=units.up_solicited, rated=units.up_solicited + units.down_solicited, asked=units.asked_solicited)
    return VoteSums(up=units.up, rated=units.up + units.down, asked=units.asked)


def _difference(fit: RatioDifference) -> Difference:
    return Difference(estimate=fit.difference, low=fit.low, high=fit.high)
