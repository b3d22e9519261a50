"""Latency quantiles."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.sample import finite_values


class Quantiles(NamedTuple):
    """Quantiles of one sample, in its unit.

    Attributes:
        p50: The median.
        p95: 95 % are at or below it.
        p99: 99 % are at or below it; below about 100 values hardly more than the largest one.
        n: How many values.
    """

    p50: float
    p95: float
    p99: float
    n: int


def latency_quantiles(values: ArrayLike) -> Quantiles:
    """p50, p95 and p99 by linear interpolation (Hyndman and Fan 1996, type 7; numpy's default).

    Args:
        values: Latencies, shape (n,).

    Raises:
        NotEnoughDataError: There are none.
        ValueError: One is not finite.
    """
    sample = finite_values(values, name="values")
    if not sample.size:
        raise NotEnoughDataError("there are no latencies: no query was timed alone")
    p50, p95, p99 = np.quantile(sample, [0.5, 0.95, 0.99], method="linear")
    return Quantiles(p50=float(p50), p95=float(p95), p99=float(p99), n=sample.size)
