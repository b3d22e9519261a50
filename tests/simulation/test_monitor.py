"""Many looks of the drift monitor: how often a deployment in which nothing drifts ever alarms, and when one comes where something does.

Seeds are fixed. The rates are shown by `pytest tests/simulation/test_monitor.py --log-cli-level=INFO`, each with what so few deployments
leave open (Clopper and Pearson 1934, 95 %). A first look spends half of the error rate and a hundred looks spend 90 % of it, so more looks
at the same queries would show little more.
"""

import logging

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from ragtrial.domain.monitor import MonitorSpec
from ragtrial.monitoring import comparing
from ragtrial.monitoring.alerting import judged
from ragtrial.monitoring.comparing import Level, Series, compared, embeddings_compared
from ragtrial.stats.alpha_spending import spent_at

pytestmark = pytest.mark.slow

LOOKS, STEP = 100, 50
FAMILY = 4  # so many share the error rate here
NUMBERS = ("query_length", "similarity")
SHARES = (("abstained", 0.1), ("unanswered", 0.02))


@pytest.fixture(autouse=True)
def without_p_values(monkeypatch):
    """They are of one look alone, and decide nothing."""
    monkeypatch.setattr(comparing, "PERMUTATIONS", 0)


class Deployment:
    """Users with habits and a heavy tail of activity ask; from a query on, what they ask about changes for a share of the queries."""

    def __init__(self, rng, *, n_users, n, dimension=24, since=None, share=0.0, longer=0.0):
        activity = rng.pareto(1.6, n_users) + 0.2
        self.unit = rng.choice(n_users, size=n, p=activity / activity.sum())
        drifted = np.arange(n) >= (n if since is None else since)
        habit = rng.normal(size=(n_users, dimension))
        rows = 0.5 * habit[self.unit] + rng.normal(size=(n, dimension)) * np.linspace(1.0, 0.3, dimension)
        rows[:, 0] += 1.5
        rows[drifted & (rng.random(n) < share), 1] += 4.0
        self.vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        level = rng.normal(size=n_users)
        self.numbers = {name: 0.5 * level[self.unit] + rng.normal(size=n) + longer * 1.118 * drifted for name in NUMBERS}
        lean = rng.normal(size=n_users)
        self.shares = {name: (0.4 * lean[self.unit] + 0.917 * rng.normal(size=n) < _quantile(rate)).astype(float) for name, rate in SHARES}

    def of(self, values, where):
        return Series(values[where], self.unit[where])


def told(count, n):
    """A rate with its binomial uncertainty."""
    low, high = proportion_confint(count, n, alpha=0.05, method="beta")
    return f"{count} of {n} [{low:.0%}, {high:.0%}]"


def _quantile(rate):
    from scipy.stats import norm

    return norm.ppf(rate)


def alarms(deployment, specs, *, looks, step, embeddings):
    """For each plan, whose windows are the same, the look at which each signal was first raised."""
    spec = specs[0]
    first = slice(0, spec.reference_queries)
    states, raised = [{} for _ in specs], [{} for _ in specs]
    for look in range(1, looks + 1):
        end = spec.reference_queries + spec.window + (look - 1) * step
        window = slice(end - spec.window, end)
        level = Level(spec=spec, alpha=spent_at(look, alpha=spec.alpha), family=FAMILY)
        if embeddings:
            sides = [(deployment.vectors[w], deployment.unit[w]) for w in (first, window)]
            found = [embeddings_compared("query_embedding", *sides, level)]
        else:
            known = {**deployment.numbers, **deployment.shares}
            found = [compared(name, *(deployment.of(values, w) for w in (first, window)), level) for name, values in known.items()]
        for signal in found:
            for each, before, ever in zip(specs, states, raised, strict=True):
                before[signal.kind], change = judged(signal, before.get(signal.kind), each, at=float(look))
                if change == "raised":
                    ever.setdefault(signal.kind, look)
    return raised


def unadjusted(deployment, spec, *, looks, step):
    """What a test at 5 % for each signal and look, with every query for itself, would say at least once."""
    from scipy.stats import ttest_ind

    first = slice(0, spec.reference_queries)
    for look in range(looks):
        end = spec.reference_queries + spec.window + look * step
        if any(ttest_ind(v[first], v[end - spec.window : end]).pvalue < 0.05 for v in deployment.numbers.values()):
            return True
    return False


@pytest.mark.parametrize(
    ("n_users", "window", "name"),
    [
        pytest.param(100_000, 500, "users who come once", marks=pytest.mark.long),
        pytest.param(400, 500, "users who come back", marks=pytest.mark.long),
        pytest.param(60, 500, "sixty users", marks=pytest.mark.long),
        (2_000, 100, "small windows"),
    ],
)
def test_without_drift_hardly_any_deployment_ever_alarms_in_a_hundred_looks(n_users, window, name):
    """Levels of almost nothing take away what they add to the interval: what is left is the error rate of the intervals themselves."""
    plain = MonitorSpec(window=window, reference_queries=window)
    bare = MonitorSpec(window=window, reference_queries=window, raise_above=1e-6, clear_below=1e-7, raise_looks=1)
    rng, repetitions = np.random.default_rng(11), 40
    ever = ever_bare = naive = 0
    for _ in range(repetitions):
        deployment = Deployment(rng, n_users=n_users, n=2 * window + LOOKS * STEP, dimension=3)
        found = alarms(deployment, (plain, bare), looks=LOOKS, step=STEP, embeddings=False)
        ever, ever_bare = ever + bool(found[0]), ever_bare + bool(found[1])
        naive += unadjusted(deployment, plain, looks=LOOKS, step=STEP)
    logging.getLogger(__name__).info(
        "%s: %s deployments ever alarm in %d looks; %s where any difference counts; %s naively",
        name,
        told(ever, repetitions),
        LOOKS,
        told(ever_bare, repetitions),
        told(naive, repetitions),
    )
    assert ever == 0
    assert ever_bare <= 5  # P(Binomial(40, 0.05) > 5) = 0.014; seeds are fixed
    assert naive / repetitions > 0.4


@pytest.mark.parametrize(
    ("n_users", "window"),
    [
        pytest.param(100_000, 300, marks=pytest.mark.long),
        (200, 300),
        pytest.param(2_000, 100, marks=pytest.mark.long),
    ],
)
def test_embeddings_that_do_not_drift_never_alarm(n_users, window):
    plain = MonitorSpec(window=window, reference_queries=window)
    bare = MonitorSpec(window=window, reference_queries=window, embedding_raise_above=1e-6, embedding_clear_below=1e-7, raise_looks=1)
    rng, repetitions, looks = np.random.default_rng(12), 20, 20
    ever = ever_bare = 0
    for _ in range(repetitions):
        deployment = Deployment(rng, n_users=n_users, n=2 * window + looks * window // 2)
        found = alarms(deployment, (plain, bare), looks=looks, step=window // 2, embeddings=True)
        ever, ever_bare = ever + bool(found[0]), ever_bare + bool(found[1])
    logging.getLogger(__name__).info(
        "%d users, windows of %d: %s alarm; %s at any distance", n_users, window, told(ever, repetitions), told(ever_bare, repetitions)
    )
    assert ever == 0
    assert ever_bare <= 3  # P(Binomial(20, 0.05) > 3) = 0.016; seeds are fixed


def test_a_drift_that_begins_after_a_hundred_looks_is_found_and_how_soon():
    """With windows of 500 queries: a shift by 0.8 standard deviations, and half of the queries about another subject."""
    spec = MonitorSpec()
    rng, repetitions = np.random.default_rng(13), 12
    since = 1_000 + 100 * 100
    found, soon = {"query_length": 0, "query_embedding": 0}, []
    for _ in range(repetitions):
        deployment = Deployment(rng, n_users=3_000, n=since + 2_000, since=since, share=0.5, longer=0.8)
        first = {}
        states = {}
        for look in range(101, 112):  # the hundred looks before have spent their part, and found nothing
            end = 1_000 + (look - 1) * 100
            window, reference = slice(end - 500, end), slice(0, 500)
            level = Level(spec=spec, alpha=spent_at(look, alpha=spec.alpha), family=FAMILY)
            sides = [(deployment.vectors[w], deployment.unit[w]) for w in (reference, window)]
            lengths = (deployment.of(deployment.numbers["query_length"], w) for w in (reference, window))
            for signal in (embeddings_compared("query_embedding", *sides, level), compared("query_length", *lengths, level)):
                states[signal.kind], change = judged(signal, states.get(signal.kind), spec, at=float(look))
                if change == "raised":
                    first.setdefault(signal.kind, end - since)
        for kind in found:
            found[kind] += kind in first
        soon += [first[kind] for kind in found if kind in first]
    logging.getLogger(__name__).info("found %s of %d, after %.0f queries in the middle", found, repetitions, np.median(soon))
    assert min(found.values()) >= 0.9 * repetitions
    assert np.median(soon) <= 700
