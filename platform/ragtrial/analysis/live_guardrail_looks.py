"""How the guardrails of a live experiment came about: where each stood at the end of every step of time."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.analysis.live_guardrails import guardrail_of
from ragtrial.analysis.live_looks import until, without_history
from ragtrial.analysis.live_setting import Table
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_looks import TimedSums
from ragtrial.domain.live_scores import Sums, WithinScores
from ragtrial.domain.planned import Guardrail
from ragtrial.errors import NotEnoughDataError

MOST_LOOKS = 25
"""That are computed at once, and kept when there are twice as many: bounds of rare events take 20 ms each, and a chart needs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailLook:
    """Where a guardrail stood at a moment. All three are None before it could be tested.

    Attributes:
        at: Seconds since 1970.
        estimate: How much worse the treatment was, as in `LiveGuardrail`: in the margin's unit.
        low: One-sided lower bound; above the margin the guardrail was broken.
        high: One-sided upper bound; below the margin it held.
    """

    at: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


def guardrail_looks(
    timed: TimedSums | None, planned: Guardrail, experiment: Experiment, *, twins: Sums | None = None
) -> tuple[GuardrailLook, ...]:
    """Where a guardrail stood at the ends of at most `MOST_LOOKS` steps of time, by the same rule as in the analysis.

    CUPED is left out of all looks, as in `live_looks.looks_of`: one line has one estimator.

    Args:
        timed: The guardrail's metric by unit and time; None where no trial counts.
        planned: The guardrail.
        experiment: The plan, with a section `live`.
        twins: Mode shadow: sums of both arms over the queries that both have a value for, and their number, until the end of each step,
            shape (n_steps, 3).

    Returns:
        Oldest first; empty where no trial counts.

    Raises:
        InputError: The experiment has no section `live`.
    """
    if timed is None or not timed.ends.size:
        return ()
    split = experiment.live is not None and experiment.live.mode == "split"
    looks = []
    for step in _steps(timed.ends.size):
        table = until(timed, step, split=split)
        looks.append(_look(float(timed.ends[step]), _with_means(table, twins, step), planned, experiment))
    return tuple(looks)


def with_look(
    looks: Sequence[GuardrailLook], at: float, table: Table, planned: Guardrail, experiment: Experiment
) -> tuple[GuardrailLook, ...]:
    """The looks so far with one more: what was seen at a moment stays as it was seen. Nothing is read for it.

    Args:
        looks: Oldest first; of twice `MOST_LOOKS` or more every other one is left out.
        at: When the last trial arrived; a look that is not older is replaced.
        table: The guardrail's metric as it is now.
        planned: The guardrail.
        experiment: The plan, with a section `live`.
    """
    before = [look for look in looks if look.at < at]
    while len(before) >= 2 * MOST_LOOKS:
        before = before[1 - len(before) % 2 :: 2]
    return (*before, _look(at, without_history(table), planned, experiment))


def _steps(n: int) -> list[int]:
    """At most `MOST_LOOKS` with the last one, evenly taken from the end."""
    every = -(-n // MOST_LOOKS)
    return list(range((n - 1) % every, n, every))


def _with_means(table: Table, twins: Sums | None, step: int) -> Table:
    """Within queries a relative margin, and a rate, need both arms' means."""
    if not isinstance(table, WithinScores) or twins is None or not twins[step, 2]:
        return table
    control, treatment = (float(total) for total in twins[step, :2] / twins[step, 2])
    return WithinScores(metric=table.metric, differences=table.differences, control_mean=control, treatment_mean=treatment)


def _look(at: float, table: Table, planned: Guardrail, experiment: Experiment) -> GuardrailLook:
    try:
        found = guardrail_of(table, planned, experiment)
    except NotEnoughDataError:
        return GuardrailLook(at=at)
    return GuardrailLook(at=at, estimate=found.estimate, low=found.low, high=found.high)
