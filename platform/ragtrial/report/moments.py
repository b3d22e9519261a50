"""Moments and how long ago they were, as pages and reports say them."""

import time
from datetime import UTC, datetime

from ragtrial.report import words

_SAME_DAY_S = 43_200


def clock(at: float, *, now: float | None = None) -> str:
    """A moment in UTC, to the second; with its day where that is another one than today.

    Args:
        at: Seconds since 1970.
        now: Likewise; default: the present.
    """
    moment = datetime.fromtimestamp(at, UTC)
    near = abs((time.time() if now is None else now) - at) < _SAME_DAY_S
    return moment.strftime("%H:%M:%S UTC" if near else "%Y-%m-%d %H:%M:%S UTC")


def ago(seconds: float) -> str:
    """How long ago, in one unit."""
    passed = max(0, int(seconds))
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if passed >= 2 * size:
            return f"{words.count(passed // size, name)} ago"
    return f"{passed} s ago"


def as_of(made_at: float, *, now: float, n_units: int, n_trials: int) -> str:
    """Of when the numbers are, and of how much: what stands below every number that was summed up before it is shown."""
    of = f"{words.count(n_units, 'unit')}, {words.count(n_trials, 'trial')}"
    return f"as of {clock(made_at, now=now)}, {ago(now - made_at)}, from {of}"
