"""McNemar, Wilson, power, multiplicity and margins against papers, statsmodels and the exact normal or binomial sums."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from ragtrial.stats.binary import mcnemar_midp, wilson
from ragtrial.stats.equivalence import tost
from ragtrial.stats.multiplicity import adjust
from ragtrial.stats.noninferiority import non_inferiority, non_inferiority_ratio
from ragtrial.stats.power import mde, mde_planned, queries_for


def pairs(both, wins, losses, neither):
    """Control and treatment of a 2 x 2 table."""
    control = [1] * both + [0] * wins + [1] * losses + [0] * neither
    treatment = [1] * both + [1] * wins + [0] * losses + [0] * neither
    return np.array(control), np.array(treatment)


@pytest.mark.parametrize(("table", "exact", "midp"), [((1, 7, 1, 12), 0.0703, 0.0391), ((59, 16, 6, 80), 0.0525, 0.0347)])
def test_mcnemars_midp_agrees_with_the_examples_of_fagerland_lydersen_and_laake(table, exact, midp):
    # Their table 1 (airway hyper-responsiveness of 21 children before and after a transplantation: 1, 7, 1, 12)
    # and the complete response of 161 patients before and after a consolidation: 59, 16, 6, 80).
    # First: 8 changed, 1 of them a loss: exact 2 * (1 + 8) / 2^8 = 0.0703, less C(8, 1) / 2^8 = 0.03125.
    control, treatment = pairs(*table)
    both, wins, losses, neither = table
    assert mcnemar([[both, losses], [wins, neither]], exact=True).pvalue == pytest.approx(exact, abs=5e-5)
    assert mcnemar_midp(control, treatment).p_value == pytest.approx(midp, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_midp_agrees_with_integer_binomials(wins, losses):
    changed = wins + losses
    if not changed:
        return
    # The definition of a mid-p: tables further from balance count fully, tables as far as the observed one by half.
    weights = {k: math.comb(changed, k) * (1.0 if abs(2 * k - changed) > abs(wins - losses) else 0.5) for k in range(changed + 1)}
    further = sum(weight for k, weight in weights.items() if abs(2 * k - changed) >= abs(wins - losses))
    control, treatment = pairs(3, wins, losses, 2)
    assert mcnemar_midp(control, treatment).p_value == pytest.approx(further / 2**changed)


def test_wilsons_interval_agrees_with_its_formula():
    # 15 of 148 with z = 1.96 (Newcombe 1998, table I): 0.0624 to 0.1605.
    share = wilson(15, 148, alpha=0.05)
    assert (share.low, share.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)


# Up to 5 queries the oracle itself may be NaN: scipy's nctdtr gives up on the tail of the wrong sign.
@given(st.integers(6, 3_000), st.sampled_from([0.01, 0.05, 0.1]), st.sampled_from([0.5, 0.8, 0.95]))
def test_the_mde_is_the_effect_that_statsmodels_gives_the_planned_power(n, alpha, power):
    effect = mde_planned(0.2, n, alpha=alpha, power=power)
    assert TTestPower().power(effect / 0.2, n, alpha, alternative="two-sided") == pytest.approx(power, abs=1e-3)


def test_the_mde_under_clusters_uses_their_degrees_of_freedom():
    # nct.sf(t(0.975, 19), 19, delta / se) is the power to find delta with the right sign.
    delta = mde(0.03, 19, alpha=0.05, power=0.8)
    assert stats.nct.sf(stats.t.isf(0.025, 19), 19, delta / 0.03) == pytest.approx(0.8, abs=1e-6)


@given(st.floats(0.01, 0.5))
def test_queries_for_is_statsmodels_sample_size_rounded_up(effect):
    expected = TTestPower().solve_power(effect_size=effect / 0.2, alpha=0.05, power=0.8)
    assert abs(queries_for(effect, 0.2, alpha=0.05, power=0.8) - max(2, np.ceil(expected))) <= 1


@settings(max_examples=25)  # statsmodels collects garbage at every Holm, 0.07 s each
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_agrees_with_scipy_and_holm_with_its_definition(values):
    assert adjust(values, "bh") == pytest.approx(stats.false_discovery_control(values, method="bh").tolist())
    ordered, largest, expected = sorted(values), 0.0, {}
    for i, p in enumerate(ordered):
        largest = max(largest, min(1.0, (len(values) - i) * p))
        expected.setdefault(p, largest)
    holm = adjust(values, "holm")
    assert [holm[values.index(p)] for p in values] == pytest.approx([expected[p] for p in values], abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.2))
def test_tost_agrees_with_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    control, treatment = rng.normal(0.5, 0.2, (2, 40))
    p_value, above, below = ttost_paired(treatment, control, -margin, margin)
    assert tost(treatment - control, margin=margin) == pytest.approx((p_value, above[1], below[1]))


@given(st.integers(0, 2**32 - 1))
def test_one_sided_bounds_agree_with_statsmodels(seed):
    rng = np.random.default_rng(seed)
    worse_by = rng.normal(0.02, 0.2, 60)
    result = non_inferiority(worse_by, margin=0.05, alpha=0.05)
    assert result.lower_bound == pytest.approx(DescrStatsW(worse_by).tconfint_mean(0.05, alternative="larger")[0])
    assert result.bound == pytest.approx(DescrStatsW(worse_by).tconfint_mean(0.05, alternative="smaller")[1])


def test_the_ratio_of_latencies_by_hand():
    # Ratios 1.1, 1.2, 1.32: geometric mean 1.1 * 1.2 = (1.1 * 1.2 * 1.32)^(1/3) = 1.7424^(1/3) = 1.20334.
    # Logs 0.0953102, 0.1823216, 0.2776317: mean 0.1850878, deviation 0.0911923, error 0.0526499; t(0.95, 2) = 2.919986.
    result = non_inferiority_ratio([100.0, 10.0, 1.0], [110.0, 12.0, 1.32], margin=0.25, alpha=0.05)
    assert result.estimate == pytest.approx(1.7424 ** (1 / 3) - 1)
    assert result.bound == pytest.approx(math.exp(0.1850878 + 2.919986 * 0.0526499) - 1, abs=1e-5)
    assert result.lower_bound == pytest.approx(math.exp(0.1850878 - 2.919986 * 0.0526499) - 1, abs=1e-5)
    assert (result.holds, result.broken) == (False, False)
