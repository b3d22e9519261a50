"""The planner on a page: the spread is taken from the analysis, not from the log, and is the same."""

import numpy as np
import pytest

from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_planning import days_until, spread_of, what_if
from ragtrial.errors import InputError, NotEnoughDataError
from ragtrial.suite.live_analysis import observed_spread
from unit.live_parts import experiment, exposure, setting, split, within
from unit.report.live_samples import build


@pytest.mark.parametrize("exposed", [1_000, 1_400])
def test_the_spread_is_that_of_the_log(exposed: int) -> None:
    """Also where not all exposed units have a score."""
    table = split(np.random.default_rng(1), "nDCG@10", 500, control=0.5, treatment=0.55)
    seen = exposure((exposed // 2, exposed // 2), (table.control.n_trials, table.treatment.n_trials))
    read = setting(experiment(), {"nDCG@10": table}, exposure=seen)
    logged, found = observed_spread(read), spread_of(analyse_tables(read))
    assert logged is not None
    assert found is not None
    assert found.variance == pytest.approx(logged.variance)
    assert (found.said, found.source) == (logged.said, "live data")


def test_differences_within_queries_have_a_spread_too() -> None:
    read = setting(experiment(mode="shadow"), {"nDCG@10": within(np.random.default_rng(2), "nDCG@10", 300, difference=0.02)})
    logged, found = observed_spread(read), spread_of(analyse_tables(read))
    assert logged is not None
    assert found is not None
    assert (found.variance, found.said) == (pytest.approx(logged.variance), logged.said)


def test_too_few_units_have_no_spread_and_no_plan() -> None:
    content = build(reached=False, n=60)
    assert spread_of(content.analysis) is None
    with pytest.raises(NotEnoughDataError, match="their spread is not known yet"):
        what_if(content.experiment, content.analysis, min_effect=0.01, units_per_day=100.0)


def test_another_gain_is_planned_for_and_the_experiment_keeps_its_own() -> None:
    content = build(reached=False, n=400, effect=0.02)
    plans = [what_if(content.experiment, content.analysis, min_effect=gain, units_per_day=80.0) for gain in (0.02, 0.04)]
    assert [plan.min_effect for plan in plans] == [0.02, 0.04]
    assert plans[0].units_planned == pytest.approx(4 * plans[1].units_planned, rel=0.05), "units go with the square of the gain"
    assert {plan.units_now for plan in plans} == {1_800}
    assert content.live.metrics.primary.min_effect == 0.01
    assert plans[0].weeks
    assert not what_if(content.experiment, content.analysis, min_effect=0.02, units_per_day=None).weeks


def test_no_gain_at_all_can_not_be_planned_for() -> None:
    content = build(reached=False, n=400)
    with pytest.raises(InputError, match="give one above 0"):
        what_if(content.experiment, content.analysis, min_effect=0.0, units_per_day=80.0)


def test_days_count_from_now_and_not_from_the_start() -> None:
    analysis = build(reached=False, n=400).analysis
    assert analysis.progress.n_units == 800
    assert days_until(1_800, analysis, 100.0) == 10
    assert days_until(1_801, analysis, 100.0) == 11
    assert days_until(800, analysis, None) == 0
    assert days_until(801, analysis, None) is None
