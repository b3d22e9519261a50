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


def gated(primary: float | None, secondary: Sequence[float | None], method: Method) -> list[float | None]:
    """The p-values of secondary metrics behind the one primary metric, adjusted, in their order, to be compared with alpha itself.

    Serial gatekeeping (Westfall and Krishen 2001; Dmitrienko and D'Agostino 2013, "Traditional multiplicity adjustment methods in clinical
    trials"): the primary hypothesis is tested first and at alpha in full, so that its own p is its adjusted one. Only where it
    is rejected are the secondary ones tested, adjusted among themselves; each one's p is therefore the larger of that and the primary's.
    With Holm's correction the chance of any false finding among all of them is at most alpha, whatever they have to do with each other.

    Args:
        primary: Of the primary metric; None where it has none: the gate can't open, and no secondary metric has an adjusted p.
        secondary: One a test; None where a test has none, which stays None and is not counted in the family. May be empty.
        method: As in `adjust`; `none` leaves them as they are, with no gate before them.

    Raises:
        ValueError: A p-value is outside of [0, 1], or the method is another one.
    """
    adjusted, gate = adjust(secondary, method), adjust([primary], "none")[0]
    if method == "none":
        return adjusted
    return [None if p is None or gate is None else max(gate, p) for p in adjusted]


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
