"""The exponent of growth: seconds = a size^k."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import linregress
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A fit.

    Attributes:
        exponent: k. 1 is linear, 0 doesn't grow.
        low: Lower end of its 95 % interval; None where there is no point more than two.
        high: Upper end.
        last: Exponent between the two largest sizes, medians: what fixed costs don't hide.
        a: Seconds at size 1.
        n_sizes: Sizes.
    """

    exponent: float
    low: float | None
    high: float | None
    last: float
    a: float
    n_sizes: int

    def at(self, size: float) -> float:
        """Seconds as fitted."""
        return self.a * size**self.exponent


def medians(points: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The median of each size's repeats, smallest size first."""
    by_size = defaultdict(list)
    for size, value in points:
        by_size[size].append(value)
    return {size: statistics.median(by_size[size]) for size in sorted(by_size)}


def fit(points: Iterable[tuple[int, float]]) -> Growth | None:
    """Least squares of log seconds on log size over the sizes' medians, with Student's interval of the slope; None for a single size.

    Medians and not all repeats: repeats of one size share what makes that size deviate from a line, so they would make the interval too narrow.
    """
    found = medians(points)
    if len(found) < 2:
        return None
    x, y = [math.log(size) for size in found], [math.log(value) for value in found.values()]
    line = linregress(x, y)
    slope, free = float(line.slope), len(found) - 2
    half = float(student.ppf((1 + LEVEL) / 2, free) * line.stderr) if free else None
    return Growth(
        exponent=slope,
        low=None if half is None else slope - half,
        high=None if half is None else slope + half,
        last=(y[-1] - y[-2]) / (x[-1] - x[-2]),
        a=math.exp(float(line.intercept)),
        n_sizes=len(found),
    )
