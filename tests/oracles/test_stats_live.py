"""Live statistics against tea-tasting, scipy, statsmodels' pieces, numerical integration, enumeration and calculations by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from ragtrial.stats.cluster_quantiles import quantile_difference
from ragtrial.stats.confidence_sequence import confidence_bounds, confidence_sequence, half_width, one_sided_p, rho_squared
from ragtrial.stats.interleaving import interleaved_preference
from ragtrial.stats.paired import paired_t
from ragtrial.stats.ratio import UnitSums, ratio_difference, ratio_mean
from ragtrial.stats.sequential_guardrail import rate_log_e_value, sequential_guardrail_rate
from ragtrial.stats.srm import sample_ratio


def arms_of(seed, n, history=True):
    rng = np.random.default_rng(seed)
    arms = []
    for arm in (0, 1):
        activity = rng.lognormal(0.5, 0.8, n + 7 * arm)
        quality = 0.5 + 0.03 * arm + rng.normal(0.0, 0.2, activity.size)
        sums = []
        for _ in range(2):
            counts = rng.poisson(activity) + 1.0
            sums += [counts * quality + np.sqrt(counts) * rng.normal(0.0, 0.2, counts.size), counts]
        arms.append(UnitSums(numerator=sums[0], denominator=sums[1], **history_of(sums) if history else {}))
    return arms


def history_of(sums):
    return {"covariate": sums[2], "covariate_denominator": sums[3]}


def tea(control, treatment, alpha):
    """The same by tea-tasting."""
    tasting = pytest.importorskip("tea_tasting", reason="LIVE ORACLE SKIPPED: pip install 'tea-tasting==1.14' 'sqlglot<30.18' to compare")
    import pyarrow as pa

    columns = {"numerator": "n", "denominator": "d", "covariate": "x", "covariate_denominator": "m"}
    data = {"variant": np.repeat([0, 1], [len(control.numerator), len(treatment.numerator)])}
    for field, column in columns.items():
        if getattr(control, field) is not None:
            data[column] = np.append(getattr(control, field), getattr(treatment, field))
    extra = {"numer_covariate": "x", "denom_covariate": "m"} if "x" in data else {}
    metric = tasting.RatioOfMeans("n", "d", confidence_level=1 - alpha, equal_var=False, use_t=True, **extra)
    return tasting.Experiment(metric=metric).analyze(pa.table(data))["metric"]


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("n", [200, 1_500])
def test_the_delta_method_agrees_with_tea_tasting(n, history):
    for seed in range(5):
        control, treatment = arms_of(seed, n, history)
        ours, theirs = ratio_difference(control, treatment, alpha=0.1), tea(control, treatment, 0.1)
        assert ours.control.estimate == pytest.approx(theirs.control)
        assert ours.treatment.estimate == pytest.approx(theirs.treatment)
        assert ours.difference == pytest.approx(theirs.effect_size)
        assert (ours.low, ours.high) == pytest.approx((theirs.effect_size_ci_lower, theirs.effect_size_ci_upper))
        assert ours.p_value == pytest.approx(theirs.pvalue)
        assert ours.relative.estimate == pytest.approx(theirs.rel_effect_size)
        # Theirs is Fieller's interval or another of the first order: equal up to the second order in the error.
        near = 3 * ours.relative.standard_error**2
        assert ours.relative.low == pytest.approx(theirs.rel_effect_size_ci_lower, abs=near)
        assert ours.relative.high == pytest.approx(theirs.rel_effect_size_ci_upper, abs=near)
        assert ours.method.startswith("delta method")


def test_one_query_a_unit_is_welchs_t_test():
    rng = np.random.default_rng(1)
    control, treatment = rng.normal(1.0, 0.3, 300), rng.normal(1.1, 0.5, 400)
    ours = ratio_difference(*(UnitSums(numerator=v, denominator=np.ones(v.size)) for v in (control, treatment)), alpha=0.05)
    scipys = stats.ttest_ind(treatment, control, equal_var=False)
    assert ours.p_value == pytest.approx(scipys.pvalue)
    assert ours.df == pytest.approx(scipys.df)
    assert (ours.low, ours.high) == pytest.approx(tuple(scipys.confidence_interval(0.95)))


def test_the_jackknife_agrees_with_leaving_out_each_unit_in_a_loop():
    control, treatment = arms_of(2, 30, history=False)
    ours = ratio_difference(control, treatment, alpha=0.05)
    assert ours.method == "jackknife"
    square = 0.0
    for arm in (control, treatment):
        n = len(arm.numerator)
        without = [np.delete(arm.numerator, i).sum() / np.delete(arm.denominator, i).sum() for i in range(n)]
        square += (n - 1) / n * np.sum((without - np.mean(without)) ** 2)
    assert ours.standard_error == pytest.approx(math.sqrt(square))


def test_the_delta_method_by_hand():
    # Units (1, 2) (2, 2) (0, 1): R = 3 / 5; residuals N - R D = -0.2, 0.8, -0.6 with squares 0.04 + 0.64 + 0.36 = 1.04; mean(D) = 5 / 3.
    # Variance 1.04 / 2 / (3 * 25 / 9) = 0.0624.
    sums = UnitSums(numerator=[1.0, 2.0, 0.0], denominator=[2.0, 2.0, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragtrial.stats.ratio.JACKKNIFE_BELOW", 0)
        fit = ratio_mean(sums, alpha=0.05)
    assert fit.estimate == pytest.approx(0.6)
    assert fit.standard_error == pytest.approx(math.sqrt(0.0624))
    # Jackknife: without each 2 / 3, 1 / 3, 3 / 4, mean 0.58333; squares 0.006944 + 0.0625 + 0.027778 = 0.097222, times 2 / 3.
    assert ratio_mean(sums, alpha=0.05).standard_error == pytest.approx(math.sqrt(0.0972222 * 2 / 3), rel=1e-5)


def test_the_clustered_mean_agrees_with_the_cluster_robust_t_of_the_offline_statistics():
    rng = np.random.default_rng(3)
    users = rng.integers(0, 250, 2_000)
    preferences = rng.choice([-1.0, 0.0, 1.0], 2_000, p=[0.2, 0.5, 0.3])
    ours = interleaved_preference(preferences, units=users, alpha=0.05).fit
    robust = paired_t(preferences, alpha=0.05, clusters=users)
    assert ours.estimate == pytest.approx(robust.estimate)
    assert ours.standard_error == pytest.approx(robust.standard_error)
    assert (ours.low, ours.high, ours.p_value) == pytest.approx((robust.low, robust.high, robust.p_value))


@given(st.integers(0, 2**32 - 1), st.sampled_from([20, 300]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_swapping_the_arms_turns_the_sign_and_a_unit_of_measure_scales(seed, n, history):
    control, treatment = arms_of(seed, n, history)
    there, back = ratio_difference(control, treatment, alpha=0.05), ratio_difference(treatment, control, alpha=0.05)
    assert back.difference == pytest.approx(-there.difference, rel=1e-6, abs=1e-12)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), rel=1e-6, abs=1e-12)
    assert back.p_value == pytest.approx(there.p_value, rel=1e-6)
    if there.relative and back.relative:
        assert (1 + there.relative.low) * (1 + back.relative.high) == pytest.approx(1.0)
    scaled = [
        UnitSums(
            numerator=1_000 * np.asarray(arm.numerator),
            denominator=arm.denominator,
            covariate=arm.covariate,
            covariate_denominator=arm.covariate_denominator,
        )
        for arm in (control, treatment)
    ]
    larger = ratio_difference(*scaled, alpha=0.05)
    assert (larger.difference, larger.standard_error) == pytest.approx((1_000 * there.difference, 1_000 * there.standard_error))
    assert larger.p_value == pytest.approx(there.p_value, rel=1e-6)


@given(st.floats(-4.0, 4.0), st.integers(200, 50_000), st.sampled_from([0.01, 0.05, 0.2]), st.integers(200, 50_000))
@settings(max_examples=60, deadline=None)
def test_the_sequence_inverts_the_normal_mixture_computed_by_integration(z, n, alpha, planned):
    # S_n = z sqrt(n) for a unit variance. The mixture over means m ~ N(0, rho^2) of exp(m S - n m^2 / 2) is the evidence against 0.
    rho = math.sqrt(rho_squared(planned, alpha=alpha))
    s = z * math.sqrt(n)
    posterior_sd = rho / math.sqrt(1 + n * rho**2)
    centre = s * posterior_sd**2
    grid = centre + posterior_sd * np.linspace(-12, 12, 20_001)
    evidence = integrate.simpson(np.exp(grid * s - n * grid**2 / 2 + stats.norm.logpdf(grid, 0, rho)), x=grid)
    fit = confidence_sequence(z / math.sqrt(n), 1 / math.sqrt(n), units=(n - n // 2, n // 2), alpha=alpha, planned_units=planned)
    assert fit.p_value == pytest.approx(min(1.0, 1 / evidence), rel=1e-6)
    assert (fit.p_value < alpha) == (fit.low > 0 or fit.high < 0)


@given(st.floats(0.1, 5.0), st.integers(200, 50_000), st.sampled_from([0.01, 0.05]))
@settings(max_examples=40, deadline=None)
def test_the_one_sided_bounds_are_just_outside_of_the_half_normal_mixture(z, n, alpha):
    planned = 5_000
    rho = math.sqrt(rho_squared(planned, alpha=2 * alpha))
    units, error = (n - n // 2, n // 2), 1 / math.sqrt(n)
    p = one_sided_p(z * error, error, units=units, alpha=alpha, planned_units=planned)
    shrunk = z * math.sqrt(n) * rho / math.sqrt(1 + n * rho**2)
    exact = min(1.0, math.sqrt(1 + n * rho**2) / (2 * math.exp(shrunk**2 / 2) * stats.norm.cdf(shrunk)))
    assert exact - 1e-12 <= p
    if exact < 0.1:
        assert p <= 1.25 * exact
    lower = confidence_bounds(z * error, error, units=units, alpha=alpha, planned_units=planned).lower
    assert (lower > 0) == (p < alpha)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.1, 0.3])
def test_the_planned_units_are_where_the_interval_is_tightest(alpha):
    def width(log_rho_squared):
        x = 3_000 * math.exp(log_rho_squared)
        return math.sqrt((1 + 1 / x) * math.log((1 + x) / alpha**2))

    best = optimize.minimize_scalar(width, bounds=(-15, 5), method="bounded", options={"xatol": 1e-10})
    assert rho_squared(3_000, alpha=alpha) == pytest.approx(math.exp(best.x), rel=1e-4)
    assert float(half_width(3_000, 4.0, alpha=alpha, planned_units=3_000)) == pytest.approx(best.fun * 2.0 / math.sqrt(3_000))


def test_the_width_is_the_formula_of_the_paper():
    # Waudby-Smith et al. 2024, theorem 2.2, with a unit variance, n = 1,000, rho = 0.1, alpha = 0.05:
    # sqrt(2 * 11 / (1,000^2 * 0.01) * log(sqrt(11) / 0.05)) = sqrt(0.0022 * 4.194680) = 0.0960642
    rho2 = rho_squared(1_000, alpha=0.05)
    planned = round(1_000 * rho2 / 0.01)  # where rho comes out as nearly 0.1
    width = float(half_width(1_000, 1.0, alpha=0.05, planned_units=planned))
    assert width == pytest.approx(0.0960642, rel=1e-3)


@given(st.lists(st.integers(0, 400), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_srm_evidence_is_scipys_dirichlet_multinomial_over_its_multinomial(counts, seed):
    if sum(counts) == 0:
        counts[0] = 1
    shares = np.random.default_rng(seed).dirichlet(np.full(len(counts), 5.0))
    fit = sample_ratio(counts, shares)
    n = sum(counts)
    mixture, null = stats.dirichlet_multinomial.logpmf(counts, 100 * shares, n), stats.multinomial.logpmf(counts, n, shares)
    assert fit.log_e_value == pytest.approx(mixture - null, abs=1e-6)
    assert fit.chi_square_p_value == pytest.approx(stats.chisquare(counts, n * shares).pvalue, rel=1e-6, abs=1e-300)
    assert fit.p_value == pytest.approx(min(1.0, math.exp(-fit.log_e_value)))


def test_the_srm_evidence_is_the_product_of_lindon_and_maleks_predictive_odds():
    # Equation by equation: unit after unit, E *= (alpha_j / sum(alpha)) / share_j, and alpha_j += 1.
    arms, shares = [0, 1, 1, 0, 1, 1, 1, 0, 1, 1], (0.3, 0.7)
    prior, evidence = [30.0, 70.0], 1.0
    for arm in arms:
        evidence *= prior[arm] / sum(prior) / shares[arm]
        prior[arm] += 1
    fit = sample_ratio((arms.count(0), arms.count(1)), shares)
    assert fit.e_value == pytest.approx(evidence)
    assert fit.posterior == pytest.approx(evidence / (1 + evidence))


def test_the_srm_evidence_has_the_mean_1_under_the_plan():
    # Every outcome of 60 units in two arms.
    k = np.arange(61)
    values = [sample_ratio((60 - i, i), (0.4, 0.6), concentration=20.0).e_value for i in k]
    assert np.sum(values * stats.binom.pmf(k, 60, 0.6)) == pytest.approx(1.0)


def test_the_rate_evidence_is_never_more_than_1_on_average_whatever_the_rates():
    # Every outcome of 40 and 40 trials, for rates that are worse by at most the difference tested.
    k = np.arange(41)
    failed_c, failed_t = np.meshgrid(k, k, indexing="ij")
    n = np.full(failed_c.shape, 40)
    for difference, rate_c, rate_t in ((0.0, 0.02, 0.02), (0.0, 0.3, 0.3), (0.1, 0.05, 0.15), (0.1, 0.4, 0.45)):
        evidence = np.exp(rate_log_e_value((failed_c, failed_t), (n, n), difference=difference))
        evidence = np.where(failed_t / 40 - failed_c / 40 > difference, evidence, 0.0)
        chance = np.outer(stats.binom.pmf(k, 40, rate_c), stats.binom.pmf(k, 40, rate_t))
        assert np.sum(chance * evidence) < 1.0


@pytest.mark.parametrize(("failures", "trials"), [((3, 30), (1_000, 1_100)), ((0, 9), (400, 380)), ((5, 5), (5, 9)), ((0, 0), (50, 50))])
def test_the_rate_bounds_agree_with_a_general_maximiser(failures, trials):
    def log_likelihood(control, difference):
        rates = (control, control + difference)
        return sum(special.xlogy(f, p) + special.xlog1py(n - f, -p) for f, n, p in zip(failures, trials, rates, strict=True))

    def evidence(difference):
        low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
        grid = low + (high - low) * np.append(np.linspace(0, 1, 2_001), np.geomspace(1e-9, 1e-2, 2_001))
        best = np.nanmax([log_likelihood(p, difference) for p in grid])
        mixture = 0.0
        for f, n in zip(failures, trials, strict=True):
            # Three quarters Beta(1, 49), a quarter uniform.
            likely = special.beta(1 + f, 49 + n - f) / special.beta(1, 49)
            mixture += math.log(0.75 * likely + 0.25 * special.beta(1 + f, 1 + n - f))
        return mixture - best

    fit = sequential_guardrail_rate(failures, trials, margin=0.01, alpha=0.05)
    for bound in (fit.lower_bound, fit.bound):
        if abs(bound) < 1.0:
            assert evidence(bound) == pytest.approx(math.log(20), abs=0.02)


def test_the_p95_bootstrap_agrees_with_a_loop_over_whole_users():
    rng = np.random.default_rng(7)
    arms = []
    for _ in range(2):
        users = rng.integers(0, 60, 500)
        arms.append((np.exp(rng.normal(0, 0.4, 60)[users] + rng.normal(0, 0.4, 500)), users))
    loop = []
    members = [[values[users == u] for u in np.unique(users)] for values, users in arms]
    for _ in range(4_000):
        control, treatment = (np.quantile(np.concatenate([arm[i] for i in rng.integers(0, len(arm), len(arm))]), 0.95) for arm in members)
        loop.append(treatment - control)
    fit = quantile_difference(
        arms[0][0],
        arms[1][0],
        control_units=arms[0][1],
        treatment_units=arms[1][1],
        quantile=0.95,
        alpha=0.05,
        resamples=4_000,
        rng=rng,
    )
    # A quantile of 4,000 draws: sqrt(0.025 * 0.975 / 4,000) / 0.0584 = 0.042 deviations; four of a difference.
    assert (fit.low, fit.high) == pytest.approx(tuple(np.quantile(loop, [0.025, 0.975])), abs=4 * math.sqrt(2) * 0.042 * np.std(loop))
    assert fit.standard_error == pytest.approx(np.std(loop), rel=4 * math.sqrt(2) / math.sqrt(2 * 4_000))


def test_the_sign_test_over_units_is_the_binomial_test():
    preferences = np.array([1, 1, 1, -1, 1, 0, 1, 1, 1, 1, -1, 1])
    fit = interleaved_preference(preferences, units=list("aabbcdefghij"), alpha=0.05)
    # a +2, b 0, c +1, d 0, e to h +1, i -1, j +1: seven for treatment, one for control.
    assert (fit.units_for_treatment, fit.units_for_control) == (7, 1)
    signs = itertools.product((0, 1), repeat=8)
    assert fit.sign_p_value == pytest.approx(sum(abs(sum(s) - 4) >= 3 for s in signs) / 2**8)
