"""How probable an effect is, for those who want a probability and not an interval."""

import math

from scipy import special


def chance_above(threshold: float, *, estimate: float, standard_error: float, df: float) -> float:
    """The posterior probability that a mean difference is above `threshold`, with a flat prior.

    With the prior p(mean, variance) proportional to 1 / variance the mean's posterior is a t distribution around the estimate, with the
    estimate's standard error as its scale and the same degrees of freedom (Gelman et al. 2013, "Bayesian Data Analysis", 3rd edition,
    section 3.2). So it says what the t interval says in other words: for a threshold of 0 it is 1 minus the one-sided p-value. With
    clusters the reference distribution of the cluster-robust error stands in its place. "Flat" means that any effect, however large, was
    as probable as none before the data: whoever has seen many experiments fail should believe somewhat less.

    It holds at a planned size. Computed again and again while data come in, it crosses any bound by chance.

    Args:
        threshold: In the unit of the estimate.
        estimate: Of the mean difference.
        standard_error: Of the estimate; above 0.
        df: Degrees of freedom of that error; above 0.

    Raises:
        ValueError: A number is not finite, or the error or the degrees of freedom are not above 0.
    """
    if not (math.isfinite(threshold) and math.isfinite(estimate)):
        raise ValueError(f"'threshold' and 'estimate' must be finite; found {threshold!r} and {estimate!r}")
    for name, value in (("standard_error", standard_error), ("df", df)):
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name!r} must be a finite number above 0; found {value!r}")
    return float(special.stdtr(df, (estimate - threshold) / standard_error))
