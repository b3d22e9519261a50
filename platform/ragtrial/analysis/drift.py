"""Drift over time: has the traffic, or what the arms make of it, moved away from how it began, and by how much?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.live import Mode
from ragtrial.domain.live_drift import DriftName, DriftSample
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.standardised import Clustering, Sample, clustering_of, cohens_h, hedges_g, sample_of, worth_of

DriftSize = Literal["none", "small", "medium", "large"]

SIZES: tuple[tuple[DriftSize, float], ...] = (("none", 0.2), ("small", 0.5), ("medium", 0.8), ("large", math.inf))
"""What an effect is called, and below which one (Cohen 1988, sections 2.2 and 6.2)."""

LEVEL = 0.95
MOST_WINDOWS = 30
MOST_CUTS = 32
"""Widths of windows, and halvings of the sample, that a log can pass through as it grows: 11 widths of less than a day, and 21 doublings."""
FEWEST_IN_REFERENCE = 50
FEWEST_IN_WINDOW = 20
SHARES: tuple[DriftName, ...] = ("in_gold", "abstained")
"""Signals that are 0 or 1 for every trial."""

_OF_QUERIES: tuple[DriftName, ...] = ("query_length", "in_gold")
_FEWEST_USERS = 5.0  # equally active ones that would be worth as much
_DAY_S = 86_400.0
_DAYS_FROM = 3
_FEW_WINDOWS = 14
_WIDTHS_S = (1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 3 * 3_600.0, 6 * 3_600.0)


class Windows(NamedTuple):
    """Equally long stretches of time.

    Attributes:
        begin: Of the first one, seconds since 1970.
        width: Of each, in seconds.
        number: How many.
    """

    begin: float
    width: float
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftWindow:
    """One stretch of time of one signal in one arm.

    Attributes:
        begin: Seconds since 1970.
        end: Likewise.
        n: Sampled trials with a value.
        mean: Of these; of a signal that is 0 or 1, the share. None where n is 0.
        sd: Their standard deviation; None where n is below 2.
        effect: How far it is from the reference: Hedges' g, of shares Cohen's h; above 0: more.
        low: Lower end of its interval; those of all windows, signals and arms hold together.
        high: Upper end.
        reason: Why there is no effect, or None.
    """

    begin: float
    end: float
    n: int
    mean: float | None = None
    sd: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high

    @property
    def size(self) -> DriftSize:
        """What the effect is called; `none` where it is not beyond chance."""
        if self.effect is None or not self.beyond_chance:
            return "none"
        return size_of(self.effect)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSignal:
    """One signal in one arm, over time.

    Attributes:
        name: What was measured.
        arm: In whose trials.
        reference: The first windows together, of at least `FEWEST_IN_REFERENCE` trials; None where there are too few.
        windows: Those behind the reference, in the order of time.
        n_sampled: Trials of all arms that were looked at.
        n_trials: Of how many that count.
        reason: Why there is no reference, or None.
    """

    name: DriftName
    arm: str
    reference: DriftWindow | None = None
    windows: tuple[DriftWindow, ...] = ()
    n_sampled: int
    n_trials: int
    reason: str | None = None

    @property
    def judged(self) -> tuple[DriftWindow, ...]:
        """Windows with an effect."""
        return tuple(window for window in self.windows if window.effect is not None)


class Movement(NamedTuple):
    """A drift: successive windows that lie on one side of the reference.

    Attributes:
        begin: Of its first window beyond chance, seconds since 1970.
        end: Of its last window, or None where it goes on.
        effect: The mean of its windows' effects, each by its trials.
        mean: Of the signal in these windows.
    """

    begin: float
    end: float | None
    effect: float
    mean: float


def size_of(effect: float) -> DriftSize:
    """What an effect of this size is called."""
    return next(name for name, below in SIZES if abs(effect) < below)


def windows_of(first: float, last: float) -> Windows:
    """Days, or 2, 4, 8 ... where there would be more than `MOST_WINDOWS`; of less than three days, some ten shorter stretches.

    They begin at round times in UTC, so that a window that is over stays as it is until the log has outgrown its width.

    Args:
        first: First moment that counts, seconds since 1970.
        last: Last one.
    """
    span = last - first
    width = next((width for width in _WIDTHS_S if width >= span / _FEW_WINDOWS), _DAY_S) if span < _DAYS_FROM * _DAY_S else _DAY_S
    days = 1
    while (found := _aligned(first, last, width * days)).number > MOST_WINDOWS:
        days *= 2
    return found


def _aligned(first: float, last: float, width: float) -> Windows:
    begin = math.floor(first / width) * width
    return Windows(begin=begin, width=width, number=int((last - begin) // width) + 1)


def drift_signals(sample: DriftSample, windows: Windows, *, mode: Mode, n_trials: int, now: float) -> tuple[DriftSignal, ...]:
    """Every signal in every arm against how it began.

    All intervals hold together with `LEVEL`, those of later looks included: of `MOST_WINDOWS` windows of each signal and arm, in each of
    `MOST_CUTS` ways of cutting the log (Bonferroni). So looking every day is allowed, and nothing widens when other windows follow; the
    newest window is judged when it is over. Queries of one user hang together, which widens the intervals.

    Args:
        sample: Of the trials that count.
        windows: That hold all of them.
        mode: How arms are compared. In mode shadow both arms get the same queries, which are looked at once, in the first arm.
        n_trials: Out of how many trials the sample was drawn.
        now: Seconds since 1970.
    """
    wanted = [(name, arm) for name in get_args(DriftName) for arm in range(len(sample.arms)) if _is_wanted(name, arm, mode)]
    setting = _Setting(windows, mode, MOST_WINDOWS * MOST_CUTS * len(wanted), now)
    made = partial(DriftSignal, n_sampled=sample.n_sampled, n_trials=n_trials)
    return tuple(_signal(_Series.of(sample, name, arm, windows), setting, made) for name, arm in wanted)


def _is_wanted(name: DriftName, arm: int, mode: Mode) -> bool:
    return mode != "shadow" or arm == 0 or name not in _OF_QUERIES


class _Setting(NamedTuple):
    """What holds for all signals."""

    windows: Windows
    mode: Mode
    family: int
    now: float


class _Series(NamedTuple):
    """One signal in one arm: value, unit and window of each trial that has one."""

    name: DriftName
    arm: str
    values: NDArray[np.float64]
    units: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, sample: DriftSample, name: DriftName, arm: int, windows: Windows) -> "_Series":
        found = sample.signals[name]
        mine = sample.arm[found.trial] == arm
        trials = found.trial[mine]
        places = np.clip((sample.at[trials] - windows.begin) // windows.width, 0, windows.number - 1).astype(np.int64)
        return cls(name, sample.arms[arm], found.value[mine], sample.unit[trials], places)

    def within(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Values and units of some windows, both ends included."""
        mine = (self.places >= first) & (self.places <= last)
        return self.values[mine], self.units[mine]


def _signal(series: _Series, setting: _Setting, made: Callable[..., DriftSignal]) -> DriftSignal:
    signal = partial(made, name=series.name, arm=series.arm)
    if series.name == "similarity" and setting.mode == "interleaved":
        return signal(reason="each context holds passages of both models, whose similarities are on different scales")
    windows = setting.windows
    try:
        last, reference = _reference(series, windows)
    except NotEnoughDataError as error:
        return signal(reason=str(error))
    end = windows.begin + (last + 1) * windows.width
    first = DriftWindow(begin=windows.begin, end=end, n=reference.n, mean=reference.mean, sd=reference.sd)
    return signal(reference=first, windows=_windows(series, last, reference, setting))


def _reference(series: _Series, windows: Windows) -> tuple[int, Sample]:
    """Number of its last window, and what it holds.

    Raises:
        NotEnoughDataError: There are not enough trials, or not of enough users.
    """
    for last in range(windows.number):
        values, units = series.within(0, last)
        if values.size >= FEWEST_IN_REFERENCE and worth_of(units) >= _FEWEST_USERS:
            return last, sample_of(values)
    n = series.values.size
    if n == 0:
        raise NotEnoughDataError(_NOTHING[series.name])
    if n < FEWEST_IN_REFERENCE:
        raise NotEnoughDataError(
            f"{n} trials have a value so far, and the first {FEWEST_IN_REFERENCE} are what later ones are compared with"
        )
    raise NotEnoughDataError(f"a few users asked most of the {n} queries")


def _windows(series: _Series, last: int, reference: Sample, setting: _Setting) -> tuple[DriftWindow, ...]:
    """Those behind the reference. What users have in common is taken to be as much in each as in half of them at least."""
    shown = [_window(series, place, setting) for place in range(last + 1, setting.windows.number)]
    before = series.within(0, last)
    found = {
        place: clustering_of(*before, *series.within(place, place)) for place, window in enumerate(shown, last + 1) if window.reason is None
    }
    if not found:
        return tuple(shown)
    usual = float(np.median([each.design_effect for each in found.values()]))
    for place, clustering in found.items():
        held = clustering._replace(design_effect=max(usual, clustering.design_effect))
        shown[place - last - 1] = _compared(shown[place - last - 1], series, place, reference, held, setting)
    return tuple(shown)


def _window(series: _Series, place: int, setting: _Setting) -> DriftWindow:
    """A window before it is compared, with the reason where it can't be."""
    begin = setting.windows.begin + place * setting.windows.width
    end = begin + setting.windows.width
    values, units = series.within(place, place)
    n = int(values.size)
    reason = "it is not over yet" if end > setting.now else _too_few(n)
    if reason is None and worth_of(units) < _FEWEST_USERS:
        reason = f"a few users asked most of the {n} queries"
    mean, sd = float(values.mean()) if n else None, float(values.std(ddof=1)) if n > 1 else None
    return DriftWindow(begin=begin, end=end, n=n, mean=mean, sd=sd, reason=reason)


def _compared(
    window: DriftWindow, series: _Series, place: int, reference: Sample, clustering: Clustering, setting: _Setting
) -> DriftWindow:
    compare = cohens_h if series.name in SHARES else hedges_g
    try:
        found = compare(
            reference, sample_of(series.within(place, place)[0]), alpha=1.0 - LEVEL, family=setting.family, clustering=clustering
        )
    except NotEnoughDataError as error:
        return replace(window, reason=str(error))
    return replace(window, effect=found.estimate, low=found.low, high=found.high)


def _too_few(n: int) -> str | None:
    """Why so few trials are not judged; None where they are enough."""
    if n >= FEWEST_IN_WINDOW:
        return None
    return f"only {n} of the {FEWEST_IN_WINDOW} trials that are needed have a value" if n else "no trial has a value"


def movement_of(signal: DriftSignal) -> Movement | None:
    """The drift that goes on now, or else the largest one that is over; None where no window shows any that is worth a name.

    A drift begins with a window beyond chance. It goes on in windows that are beyond chance on the same side, or lie there by half as much
    as the drift so far: single windows miss a true drift now and then.
    """
    judged = signal.judged
    runs = [run for run in _runs(judged) if any(window.size != "none" for window in run)]
    if not runs:
        return None
    if runs[-1][-1] is judged[-1]:
        return _movement(runs[-1], end=None)
    largest = max(runs, key=lambda run: max(abs(window.effect or 0.0) for window in run))
    last = max(place for place, window in enumerate(largest) if window.beyond_chance)
    return _movement(largest[: last + 1], end=largest[last].end)


def _movement(run: Sequence[DriftWindow], *, end: float | None) -> Movement:
    effects, means = ([value or 0.0 for value in values] for values in zip(*((each.effect, each.mean) for each in run), strict=True))
    weights = [window.n for window in run]
    effect, mean = (float(np.average(values, weights=weights)) for values in (effects, means))
    return Movement(begin=run[0].begin, end=end, effect=effect, mean=mean)


def _runs(judged: Sequence[DriftWindow]) -> list[list[DriftWindow]]:
    """Successive windows of one drift each."""
    runs: list[list[DriftWindow]] = []
    run: list[DriftWindow] = []
    for window in judged:
        if run and not _goes_on(run, window):
            run = []
        if run:
            run.append(window)
        elif window.beyond_chance:
            run = [window]
            runs.append(run)
    return runs


def _goes_on(run: Sequence[DriftWindow], window: DriftWindow) -> bool:
    so_far = sum(each.effect or 0.0 for each in run) / len(run)
    effect = math.copysign(1.0, so_far) * (window.effect or 0.0)
    return effect > 0 and (window.beyond_chance or (size_of(effect) != "none" and effect >= abs(so_far) / 2))


_NOTHING: dict[DriftName, str] = {
    "similarity": "no trial found a passage",
    "query_length": "no query is kept in full, and redacted ones have another length",
    "in_gold": "there is no trial",
    "abstained": "no trial has an answer",
}
