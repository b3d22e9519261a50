"""The sign test."""

from scipy import stats

from ragtrial.errors import NotEnoughDataError


def sign_test(ahead: int, behind: int) -> float:
    """The two-sided exact p-value of "as many are ahead as behind" (Dixon and Mood 1946); those that are tied are left out.

    Args:
        ahead: Independent ones for one side.
        behind: Those for the other side.

    Raises:
        NotEnoughDataError: There are none.
        ValueError: A count is below 0.
    """
    if min(ahead, behind) < 0:
        raise ValueError(f"counts are 0 or more; found {ahead!r} and {behind!r}")
    if not ahead + behind:
        raise NotEnoughDataError("nobody is ahead and nobody behind: there is nothing to test")
    return float(stats.binomtest(ahead, ahead + behind).pvalue)
