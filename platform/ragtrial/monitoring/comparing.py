"""A window beside its reference: the effect of each signal with its interval, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragtrial.db.monitored import MonitoredTrials
from ragtrial.domain.monitor import MonitorSpec, Signal, SignalKind
from ragtrial.errors import NotEnoughDataError
from ragtrial.monitoring.terms import Vocabulary
from ragtrial.stats.standardised import clustering_of, cohens_h, hedges_g, sample_of, worth_of
from ragtrial.stats.two_sample import kernel_distance

FEWEST_USERS = 5.0
"""Equally active ones that each side must be worth: of fewer, no interval is to be trusted."""

PERMUTATIONS = 199
_SHARES: tuple[SignalKind, ...] = ("new_terms", "in_gold", "abstained", "unanswered", "thumbs_up")
_Values = NDArray[np.float64]


class Series(NamedTuple):
    """Values with the unit that each is of, shape (n,)."""

    values: _Values
    units: NDArray[np.str_]

    @classmethod
    def of(cls, values: Sequence[float | None], units: Sequence[str]) -> "Series":
        """Those that are known."""
        known = [place for place, value in enumerate(values) if value is not None]
        return cls(
            np.array([values[place] for place in known], dtype=np.float64), np.array([units[place] for place in known], dtype=np.str_)
        )


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts of one side.

    Attributes:
        texts: In full or redacted.
        units: Whose each is: a user's pseudonym, or the document of a passage.
        hashed: How many more there were whose text is not kept.
    """

    texts: tuple[str, ...]
    units: tuple[str, ...]
    hashed: int = 0

    def sampled(self, most: int, *, seed: int) -> "Texts":
        """At most so many, drawn at random by the seed."""
        if len(self.texts) <= most:
            return self
        places = np.sort(np.random.default_rng(seed).choice(len(self.texts), most, replace=False))
        return Texts(texts=tuple(self.texts[p] for p in places), units=tuple(self.units[p] for p in places), hashed=self.hashed)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What holds for all signals of a look.

    Attributes:
        spec: The plan.
        alpha: That this look may spend.
        family: Signals among which it is divided.
    """

    spec: MonitorSpec
    alpha: float
    family: int


def texts_of(trials: MonitoredTrials) -> Texts:
    """The queries of users in a stretch of the log."""
    asked = np.flatnonzero(trials.asked)
    kept = [(text, trials.unit[place]) for place in asked if (text := trials.text[place]) is not None]
    return Texts(texts=tuple(text for text, _ in kept), units=tuple(unit for _, unit in kept), hashed=len(asked) - len(kept))


def of_users(trials: MonitoredTrials, name: str) -> Series:
    """A signal of the queries of users."""
    return _series(trials, name, trials.asked)


def of_arm(trials: MonitoredTrials, name: str, arm: str) -> Series:
    """A signal of the trials of an arm, those that were split at random."""
    return _series(trials, name, trials.counts & np.array([each == arm for each in trials.arm], dtype=np.bool_))


def _series(trials: MonitoredTrials, name: str, mine: NDArray[np.bool_]) -> Series:
    found = trials.values[name]
    kept = mine[found.trial] if found.trial.size else np.zeros(0, dtype=np.bool_)
    units = np.array([trials.unit[place] for place in found.trial[kept]], dtype=np.str_)
    return Series(np.asarray(found.value[kept], dtype=np.float64), units)


def terms(corpus: Sequence[str], reference: Texts, window: Texts) -> tuple[Series, Series]:
    """Of each word of each query whether it was never seen before, in the reference and in the window; words of a user hang together."""
    vocabulary = Vocabulary(corpus, reference.texts, reference.units)

    def of(side: Texts) -> Series:
        found = [(new, unit) for text, unit in zip(side.texts, side.units, strict=True) for new in vocabulary.new_in(text, unit)]
        return Series.of([float(new) for new, _ in found], [unit for _, unit in found])

    return of(reference), of(window)


def compared(
    kind: SignalKind, reference: Series, window: Series, level: Level, *, arm: str | None = None, metric: str | None = None
) -> Signal:
    """A signal that is a number for each query: Hedges' g, of shares Cohen's h; queries of one user hang together."""
    n, n_reference = int(window.values.size), int(reference.values.size)
    mean, before = float(window.values.mean()) if n else None, float(reference.values.mean()) if n_reference else None
    signal = partial(Signal, kind=kind, arm=arm, metric=metric, n=n, n_reference=n_reference, mean=mean, reference_mean=before)
    reason = too_few(n, n_reference, level.spec.fewest) or _few_users(reference.units, window.units)
    if reason is not None:
        return signal(reason=reason)
    effect = cohens_h if kind in _SHARES else hedges_g
    try:
        clustering = clustering_of(reference.values, reference.units, window.values, window.units)
        found = effect(sample_of(reference.values), sample_of(window.values), alpha=level.alpha, family=level.family, clustering=clustering)
    except NotEnoughDataError as error:
        return signal(reason=str(error))
    return signal(effect=found.estimate, low=found.low, high=found.high)


def embeddings_compared(
    kind: SignalKind,
    reference: tuple[NDArray[np.float32], Sequence[str]],
    window: tuple[NDArray[np.float32], Sequence[str]],
    level: Level,
) -> Signal:
    """The distance of two sets of vectors, each with the units that its rows are of."""
    n, n_reference = len(window[1]), len(reference[1])
    signal = partial(Signal, kind=kind, n=n, n_reference=n_reference)
    reason = too_few(n, n_reference, level.spec.fewest) or _few_users(np.array(reference[1]), np.array(window[1]))
    if reason is not None:
        return signal(reason=reason)
    try:
        found = kernel_distance(
            reference[0],
            window[0],
            reference_clusters=np.array(reference[1]),
            later_clusters=np.array(window[1]),
            alpha=level.alpha,
            family=level.family,
            resamples=PERMUTATIONS,
            rng=np.random.default_rng(level.spec.seed),
        )
    except NotEnoughDataError as error:
        return signal(reason=str(error))
    return signal(effect=found.estimate, low=found.low, high=found.high, centroid_cosine=found.centroid_cosine, p_value=found.p_value)


def too_few(n: int, n_reference: int, fewest: int) -> str | None:
    """Why so few values are not judged; None where they are enough."""
    for many, where in ((n_reference, "the reference"), (n, "the window")):
        if many < fewest:
            return f"too few: {many:,} of the {fewest:,} needed in {where}"
    return None


def _few_users(*sides: NDArray[np.str_]) -> str | None:
    return None if min(worth_of(units) for units in sides) >= FEWEST_USERS else "a few users or documents make up most of it"
