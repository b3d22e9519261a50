"""Two groups of one sample against scipy and a calculation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.contrast import group_contrast


def test_without_clusters_it_is_welchs_interval() -> None:
    rng = np.random.default_rng(0)
    values, group = rng.normal(size=60), np.arange(60) < 17
    values[group] = values[group] * 3 + 1
    found = group_contrast(values, group, alpha=0.05)
    interval = stats.ttest_ind(values[group], values[~group], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.estimate == pytest.approx(values[group].mean() - values[~group].mean())
    assert (found.n_inside, found.n_outside, found.n_clusters) == (17, 43, None)


def test_one_query_a_cluster_is_the_heteroskedastic_interval() -> None:
    rng = np.random.default_rng(1)
    values, group = rng.normal(size=40), np.arange(40) % 3 == 0
    found = group_contrast(values, group, alpha=0.1, clusters=[f"c{i}" for i in range(40)])
    fit = OLS(values, np.column_stack([np.ones(40), group])).fit(cov_type="HC1")
    half = stats.t.isf(0.05, 39) * fit.bse[1]
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half), rel=0.02)
    assert found.n_clusters == 40


def test_queries_of_one_document_that_are_alike_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    document = np.repeat(np.arange(20), 6)
    values = np.repeat(rng.normal(size=20), 6) + rng.normal(size=120) * 0.1
    group = document % 2 == 0
    apart = group_contrast(values, group, alpha=0.05)
    together = group_contrast(values, group, alpha=0.05, clusters=document.astype(str))
    assert together.high - together.low > 1.7 * (apart.high - apart.low)


def test_what_can_not_be_compared_is_a_reason() -> None:
    with pytest.raises(NotEnoughDataError, match="4 and 6 members"):
        group_contrast(np.arange(10.0), np.arange(10) < 4, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="same value"):
        group_contrast(np.ones(20), np.arange(20) < 10, alpha=0.05)
    with pytest.raises(NotEnoughDataError, match="one cluster"):
        group_contrast(np.arange(20.0), np.arange(20) < 10, alpha=0.05, clusters=["a"] * 20)
