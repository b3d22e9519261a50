"""p-values of several metrics or slices, corrected for their number."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control

from ragtrial.stats.sample import Values

Method = Literal["holm", "bh", "none"]


def adjust(p_values: Sequence[float | None], method: Method) -> list[float | None]:
    """The p-values adjusted, in their order, to be compared with alpha itself.

    Args:
        p_values: One a test; None where a test has none, which stays None and is not counted in the family. May be empty.
        method: `holm` bounds the chance of any false finding (Holm 1979), `bh` the expected share of false ones among the
            findings (Benjamini and Hochberg 1995), `none` leaves them as they are.

    Raises:
        ValueError: A p-value is outside of [0, 1], or the method is another one.
    """
    if method not in ("holm", "bh", "none"):
        raise ValueError(f"'method' must be 'holm', 'bh' or 'none'; found {method!r}")
    family = [p for p in p_values if p is not None]
    for p in family:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value must lie in [0, 1]; found {p!r}")
    if method == "none" or not family:
        return list(p_values)
    adjusted = iter((_holm(family) if method == "holm" else false_discovery_control(family)).tolist())
    return [None if p is None else float(next(adjusted)) for p in p_values]


def _holm(p_values: Sequence[float]) -> Values:
    """The i-th smallest of m times m - i + 1, never below a smaller one's, at most 1.

    Five lines in the place of `statsmodels.stats.multitest.multipletests`, which collects garbage at every call: a fifth of a second in
    which a live service answers nobody.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(stepped, 1.0)
    return result
