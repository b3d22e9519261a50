import pytest
from scipy import stats

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.power import mde, mde_planned, queries_for, queries_to_decide


def test_queries_for_and_the_planned_mde_are_each_others_inverse():
    for effect in (0.02, 0.05, 0.1):
        n = queries_for(effect, 0.2, alpha=0.05, power=0.8)
        assert mde_planned(0.2, n, alpha=0.05, power=0.8) <= effect < mde_planned(0.2, n - 1, alpha=0.05, power=0.8)


def test_the_sign_of_the_effect_does_not_matter():
    assert queries_for(-0.05, 0.2, alpha=0.05, power=0.8) == queries_for(0.05, 0.2, alpha=0.05, power=0.8)


def test_a_huge_effect_still_needs_two_queries():
    assert queries_for(50.0, 0.1, alpha=0.05, power=0.8) == 2


def test_a_tiny_effect_is_answered_at_once():
    # (1.959964 + 0.841621)^2 * (0.2 / 0.00001)^2 = 3,139,551,893.8, and 1.96^2 / 2 = 1.9 more for the t distribution.
    assert queries_for(1e-5, 0.2, alpha=0.05, power=0.8) == pytest.approx(3_139_551_896, abs=2)


def test_an_effect_of_next_to_nothing_names_no_number():
    with pytest.raises(NotEnoughDataError, match="too small beside a deviation"):
        queries_for(1e-200, 0.2, alpha=0.05, power=0.8)


def test_more_clusters_see_smaller_effects():
    sizes = [mde(0.01, df, alpha=0.05, power=0.8) for df in (1, 2, 5, 10, 100, 10_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == pytest.approx(0.01 * (1.959964 + 0.841621), rel=1e-3)


def test_queries_to_decide_is_the_written_formula():
    # z(0.975) = 1.959964, z(0.8) = 0.841621: 200 * (0.02 / 0.01 * 2.801585 / 1.959964)^2 = 200 * 8.1727... = 1634.6
    assert queries_to_decide(200, 0.02, 0.01, alpha=0.05, power=0.8) == 1635


def test_that_many_queries_give_the_interval_the_planned_power():
    n, sd, effect = 150, 0.2, 0.02
    z = stats.norm.isf(0.025)
    total = queries_to_decide(n, z * sd / n**0.5, effect, alpha=0.05, power=0.8)
    assert stats.norm.sf(z - effect / (sd / total**0.5)) == pytest.approx(0.8, abs=1e-3)


def test_an_estimate_on_the_bound_names_no_number():
    for needed in (0.0, -0.01, 1e-200):
        with pytest.raises(NotEnoughDataError, match="no number of queries"):
            queries_to_decide(150, 0.02, needed, alpha=0.05, power=0.8)


def test_two_queries_are_needed_to_plan():
    with pytest.raises(NotEnoughDataError, match="at least 2 queries"):
        mde_planned(0.2, 1, alpha=0.05, power=0.8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mde(0.0, 10, alpha=0.05, power=0.8), "'standard_error' must be a finite number above 0"),
        (lambda: mde(0.1, 0, alpha=0.05, power=0.8), "'df' must be at least 1"),
        (lambda: mde(0.1, 10, alpha=0.05, power=0.04), "'power' must be above 'alpha'"),
        (lambda: mde(0.1, 10, alpha=0.05, power=1.0), "'power' must lie between 0 and 1"),
        (lambda: queries_for(0.0, 0.2, alpha=0.05, power=0.8), "'effect' must be a finite number above 0"),
        (lambda: queries_for(0.1, float("inf"), alpha=0.05, power=0.8), "'sd' must be a finite number above 0"),
        (lambda: queries_to_decide(0, 0.1, 0.1, alpha=0.05, power=0.8), "'n' must be at least 1"),
        (lambda: queries_to_decide(10, 0.0, 0.1, alpha=0.05, power=0.8), "'half_width_now' must be a finite number above 0"),
    ],
)
def test_an_impossible_plan_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
