"""p-values of several metrics or slices, corrected for their number."""

from collections.abc import Sequence
from typing import Literal

from statsmodels.stats.multitest import multipletests

Method = Literal["holm", "bh", "none"]

_STATSMODELS = {"holm": "holm", "bh": "fdr_bh"}


def adjust(p_values: Sequence[float | None], method: Method) -> list[float | None]:
    """The p-values adjusted, in their order, to be compared with alpha itself.

    Args:
        p_values: One a test; None where a test has none, which stays None and is not counted in the family. May be empty.
        method: `holm` bounds the chance of any false finding (Holm 1979), `bh` the expected share of false ones among the
            findings (Benjamini and Hochberg 1995), `none` leaves them as they are.

    Raises:
        ValueError: A p-value is outside of [0, 1], or the method is another one.
    """
    if method != "none" and method not in _STATSMODELS:
        raise ValueError(f"'method' must be 'holm', 'bh' or 'none'; found {method!r}")
    family = [p for p in p_values if p is not None]
    for p in family:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value must lie in [0, 1]; found {p!r}")
    if method == "none" or not family:
        return list(p_values)
    adjusted = iter(multipletests(family, method=_STATSMODELS[method])[1].tolist())
    return [None if p is None else float(next(adjusted)) for p in p_values]
