"""Error rates of the statistics of live experiments: false alarms under continuous looks, coverage, power; and what the naive ways would do.

Bounds are four binomial standard errors beside a nominal rate, as in `test_offline_statistics.py`; seeds are fixed. The rates are shown by
`pytest tests/simulation/test_live_statistics.py --log-cli-level=INFO`.
"""

import logging
import math

import numpy as np
import pytest
from scipy import special, stats

from ragtrial.drafting import team_draft
from ragtrial.stats.cluster_quantiles import quantile_difference
from ragtrial.stats.confidence_sequence import MINIMUM_UNITS, confidence_sequence, half_width
from ragtrial.stats.duration import duration
from ragtrial.stats.interleaving import credit, interleaved_preference
from ragtrial.stats.ratio import UnitSums, ratio_difference
from ragtrial.stats.sequential_guardrail import rate_log_e_value, sequential_guardrail
from ragtrial.stats.srm import queries_per_unit, sample_ratio
from ragtrial.stats.votes import VoteSums, vote_difference

pytestmark = pytest.mark.slow

ALPHA = 0.05


def bounds(nominal, repetitions):
    """Four binomial standard errors to either side."""
    error = np.sqrt(nominal * (1 - nominal) / repetitions)
    return nominal - 4 * error, nominal + 4 * error


def rates(counts, repetitions, *names):
    """Each count as a share of the repetitions, logged under its name."""
    shares = np.atleast_1d(counts) / repetitions
    for name, share in zip(names, shares, strict=True):
        logging.getLogger(__name__).info("%s: %.2f %%", name, 100 * share)
    return [float(share) for share in shares]


def tell(text, *values):
    logging.getLogger(__name__).info(text, *values)


def heavy_users(rng, n_users, n_queries):
    """The user of each query: a few users ask very often (log-normal activity), and all come back at any time."""
    return drawn(rng, rng.lognormal(0.0, 1.2, n_users), n_queries)


def drawn(rng, activity, n_queries):
    return rng.choice(activity.size, size=n_queries, p=activity / activity.sum())


def metric(rng, users, quality):
    """A query's quality: three tenths of its variance belong to the user."""
    return quality[users] + rng.normal(0.0, 0.26, users.size)


def qualities(rng, n_users):
    return 0.6 + rng.normal(0.0, 0.17, n_users)


class Log:
    """A live experiment's queries in their order, and the sums by unit at any look."""

    def __init__(self, rng, n_users, n_queries):
        self.activity, self.quality = rng.lognormal(0.0, 1.2, n_users), qualities(rng, n_users)
        self.users = drawn(rng, self.activity, n_queries)
        self.arm = rng.integers(0, 2, n_users)
        self.values = metric(rng, self.users, self.quality)
        self.n_users = n_users

    def history(self, rng, n_queries):
        """Sums and counts by unit of as many queries from before the experiment."""
        users = drawn(rng, self.activity, n_queries)
        return [np.bincount(users, weights=w, minlength=self.n_users) for w in (metric(rng, users, self.quality), np.ones(users.size))]

    def looks(self, every, effect=0.0):
        """After each `every` queries: both arms' sums, and the values of each arm's queries."""
        values = self.values + effect * self.arm[self.users]
        sums, counts = np.zeros(self.n_users), np.zeros(self.n_users)
        for stop in range(every, self.users.size + 1, every):
            new = slice(stop - every, stop)
            sums += np.bincount(self.users[new], weights=values[new], minlength=self.n_users)
            counts += np.bincount(self.users[new], minlength=self.n_users)
            seen = counts > 0
            if min(np.count_nonzero(seen & (self.arm == arm)) for arm in (0, 1)) >= MINIMUM_UNITS:
                arms = [UnitSums(numerator=sums[self.arm == arm], denominator=counts[self.arm == arm]) for arm in (0, 1)]
                yield ratio_difference(*arms, alpha=ALPHA), stop, values[:stop]

    def by_query(self, values, stop):
        """As if each query were a user: p of Welch's t test, and of a sequence on its error."""
        treated = self.arm[self.users[:stop]] == 1
        arms = [values[~treated], values[treated]]
        difference, error = arms[1].mean() - arms[0].mean(), math.sqrt(sum(arm.var(ddof=1) / arm.size for arm in arms))
        sequence = confidence_sequence(difference, error, units=[arm.size for arm in arms], alpha=ALPHA, planned_units=1_000)
        return 2 * special.ndtr(-abs(difference) / error), sequence.p_value


def sequence_of(fit, planned):
    units = (fit.control.n_units, fit.treatment.n_units)
    return confidence_sequence(fit.difference, fit.standard_error, units=units, alpha=ALPHA, planned_units=planned)


@pytest.mark.parametrize(
    ("n_users", "n_queries", "name"),
    [
        pytest.param(2_500, 2_500, "users keep coming", marks=pytest.mark.long),
        (260, 2_500, "the same users come back"),
    ],
)
def test_looking_after_every_hundred_queries_alarms_on_equal_arms_at_most_at_alpha(n_users, n_queries, name):
    rng, repetitions = np.random.default_rng(1), 1_000
    found = np.zeros(4)
    for _ in range(repetitions):
        log = Log(rng, n_users, n_queries)
        looks = [(sequence_of(fit, 1_000).p_value, fit.p_value, *log.by_query(values, stop)) for fit, stop, values in log.looks(100)]
        found += (np.array(looks).reshape(-1, 4) < ALPHA).any(axis=0)
    names = ("sequence", "t by user", "t by query", "sequence on the error by query")
    always_valid, clustered, naive, by_query = rates(found, repetitions, *(f"{test}, {name}" for test in names))
    assert always_valid <= bounds(ALPHA, repetitions)[1]
    assert naive > 0.25
    assert naive > clustered > always_valid
    assert by_query > 2 * always_valid


@pytest.mark.parametrize("shift", [pytest.param(0.0, marks=pytest.mark.long), 0.1])
def test_intervals_by_user_cover_and_intervals_by_query_do_not(shift):
    rng, repetitions = np.random.default_rng(2), 1_000
    covered, relative, reductions = np.zeros(3), 0, []
    for _ in range(repetitions):
        log = Log(rng, 1_600, 6_000)
        before = log.history(rng, 6_000)
        values = log.values + shift * log.arm[log.users]
        sums, counts = (np.bincount(log.users, weights=w, minlength=log.n_users) for w in (values, None))
        plain, adjusted = (
            ratio_difference(*(arm_sums(sums, counts, past, log.arm == a) for a in (0, 1)), alpha=ALPHA) for past in (None, before)
        )
        treated = log.arm[log.users] == 1
        naive = stats.ttest_ind(values[treated], values[~treated], equal_var=False).confidence_interval(1 - ALPHA)
        covered += [plain.low <= shift <= plain.high, adjusted.low <= shift <= adjusted.high, naive.low <= shift <= naive.high]
        relative += plain.relative.low <= shift / 0.6 <= plain.relative.high
        reductions.append(adjusted.variance_reduction)
    tell("CUPED takes away %.0f %% of the variance", 100 * np.mean(reductions))
    delta, cuped, query = rates(covered, repetitions, "delta method covers", "with CUPED", "interval by query")
    (share,) = rates(relative, repetitions, "relative interval covers")
    assert min(delta, cuped, share) > bounds(0.935, repetitions)[0]
    assert max(delta, cuped, share) < bounds(0.95, repetitions)[1]
    assert delta > 0.92
    assert query < 0.85


def arm_sums(sums, counts, before, mask):
    covariate, below = (None, None) if before is None else (before[0][mask], before[1][mask])
    return UnitSums(numerator=sums[mask], denominator=counts[mask], covariate=covariate, covariate_denominator=below)


def test_the_jackknife_covers_with_few_users_where_the_delta_method_falls_short(monkeypatch):
    rng, repetitions, n_users = np.random.default_rng(3), 2_000, 80
    covered = np.zeros(2)
    for _ in range(repetitions):
        users = heavy_users(rng, n_users, 800)
        sums, counts = (
            np.bincount(users, weights=metric(rng, users, qualities(rng, n_users)), minlength=n_users),
            np.bincount(users, minlength=n_users),
        )
        arms = [UnitSums(numerator=sums[arm::2], denominator=counts[arm::2]) for arm in (0, 1)]
        for place, below in enumerate((200, 0)):
            monkeypatch.setattr("ragtrial.stats.ratio.JACKKNIFE_BELOW", below)
            fit = ratio_difference(*arms, alpha=ALPHA)
            covered[place] += fit.low <= 0 <= fit.high
    jackknife, delta = rates(covered, repetitions, "jackknife covers, 40 users an arm", "delta method covers, 40 users an arm")
    assert bounds(0.935, repetitions)[0] < jackknife < bounds(0.96, repetitions)[1]
    assert jackknife > delta


def test_the_planned_duration_is_that_of_the_sequence():
    rng, repetitions, effect, sd = np.random.default_rng(4), 400, 0.06, 0.4
    plan = duration(effect, sd**2, new_units_by_day=[100], alpha=ALPHA, power=0.8)
    n = np.arange(200, plan.units_sequence + 1, 20)
    means = np.cumsum(rng.normal(effect, sd, (repetitions, plan.units_sequence)), axis=1)[:, n - 1] / n
    bars = half_width(n, sd**2, alpha=ALPHA, planned_units=plan.units_fixed)
    excluded = means > bars
    stops = np.where(excluded.any(axis=1), n[excluded.argmax(axis=1)], np.inf)
    half, sure = rates(
        [np.sum(stops <= plan.units_half), np.sum(stops <= plan.units_sequence)],
        repetitions,
        f"effect found by units_half ({plan.units_half})",
        f"effect found by units_sequence ({plan.units_sequence})",
    )
    tell("fixed-size plan %d units, median stop of the sequence %.0f", plan.units_fixed, np.median(stops))
    assert 0.5 < half < 0.7
    assert 0.8 < sure < 0.9


def first_alarm(p_values, alpha):
    return bool((np.asarray(p_values) < alpha).any())


def test_a_split_looked_at_all_the_time_alarms_at_most_at_alpha_and_chi_square_does_not():
    rng, repetitions = np.random.default_rng(5), 1_000
    found = np.zeros(2)
    for _ in range(repetitions):
        treated = np.cumsum(rng.binomial(100, 0.5, 60))
        looks = [sample_ratio((n - k, k), (0.5, 0.5)) for n, k in zip(range(100, 6_001, 100), treated, strict=True)]
        found += [first_alarm([look.p_value for look in looks], ALPHA), first_alarm([look.chi_square_p_value for look in looks], ALPHA)]
    sequential, chi_square = rates(found, repetitions, "sequential SRM, honest split", "chi-square p < 5 %, honest split")
    assert sequential <= ALPHA
    assert chi_square > 0.25


def test_a_ramped_split_alarms_at_most_at_alpha_by_period_and_nearly_always_when_pooled_under_the_last_shares():
    rng, repetitions, shares = np.random.default_rng(6), 1_000, ((0.95, 0.05), (0.8, 0.2), (0.5, 0.5))
    found = np.zeros(2)
    for _ in range(repetitions):
        counts, by_period, pooled = np.zeros((3, 2)), [], []
        for period, (_, share) in enumerate(shares):
            for _ in range(10):
                treated = rng.binomial(100, share)
                counts[period] += (100 - treated, treated)
                by_period.append(sample_ratio(counts[: period + 1], shares[: period + 1]).p_value)
                pooled.append(sample_ratio(counts.sum(axis=0), shares[period]).p_value)
        found += [first_alarm(by_period, ALPHA), first_alarm(pooled, ALPHA)]
    split, naive = rates(found, repetitions, "SRM by period, honest ramp", "SRM pooled under the last shares")
    assert split <= ALPHA
    assert naive > 0.99


def test_two_percent_of_the_treatments_users_lost_are_found():
    rng, repetitions, step = np.random.default_rng(7), 300, 5_000
    share = 0.98 / 1.98
    stops = np.full(repetitions, np.inf)
    for run in range(repetitions):
        treated = np.cumsum(rng.binomial(step, share, 50))
        for look, k in enumerate(treated, start=1):
            if sample_ratio((look * step - k, k), (0.5, 0.5)).p_value < ALPHA:
                stops[run] = look * step
                break
    tell("2 %% of one arm's users lost: median alarm after %.0f users", np.median(stops))
    (power,) = rates(np.sum(stops <= 250_000), repetitions, "found by 250,000 users")
    assert power > 0.85


def query_counts(rng, n, periods):
    """Queries of each user up to each look, shape (periods, n), and from before: log-normal activity that drifts a little."""
    activity = rng.lognormal(2.3, 0.8, n)
    before = rng.poisson(activity * rng.lognormal(0.0, 0.3, n))
    return np.cumsum(rng.poisson(activity * rng.lognormal(0.0, 0.3, n) / periods, (periods, n)), axis=0), before


def test_query_counts_of_returning_users_alarm_at_most_at_alpha_by_user_and_often_as_a_multinomial():
    rng, repetitions, n = np.random.default_rng(8), 1_000, 400
    found = np.zeros(2)
    for _ in range(repetitions):
        (control, before_c), (treatment, before_t) = query_counts(rng, n, 10), query_counts(rng, n, 10)
        by_user = [
            queries_per_unit(c, t, alpha=ALPHA, planned_units=2 * n, before_control=before_c, before_treatment=before_t).p_value
            for c, t in zip(control, treatment, strict=True)
        ]
        by_query = [sample_ratio((c.sum(), t.sum()), (0.5, 0.5)).p_value for c, t in zip(control, treatment, strict=True)]
        found += [first_alarm(by_user, ALPHA), first_alarm(by_query, ALPHA)]
    user, query = rates(found, repetitions, "queries per user, honest split", "multinomial SRM on queries, honest split")
    assert user <= bounds(ALPHA, repetitions)[1]
    assert query > 0.3


def test_two_percent_of_the_treatments_queries_lost_are_found():
    rng, repetitions, n = np.random.default_rng(9), 200, 45_000
    found = np.zeros(2)
    for _ in range(repetitions):
        (control, before_c), (treatment, before_t) = query_counts(rng, n, 2), query_counts(rng, n, 2)
        kept = rng.binomial(treatment, 0.98)
        with_history = queries_per_unit(
            control[-1], kept[-1], alpha=ALPHA, planned_units=2 * n, before_control=before_c, before_treatment=before_t
        )
        found += [with_history.p_value < ALPHA, queries_per_unit(control[-1], kept[-1], alpha=ALPHA, planned_units=2 * n).p_value < ALPHA]
    history, plain = rates(found, repetitions, "2 % of queries lost found, 45,000 users an arm, with history", "without history")
    assert history > 0.8
    assert history > plain


def rankings_of(rng, better):
    """Both arms' ten passages for one query.

    Half of the time they agree on the rank of the one relevant passage; where they don't, the treatment puts it first `better` times as
    often. The other passages they rank alike but for some places up or down.
    """
    weights = np.array([0.30, 0.15, 0.11, 0.09, 0.08, 0.07, 0.06, 0.05, 0.05, 0.04])
    improved = weights * np.where(np.arange(10) == 0, better, 1.0)
    rank = rng.choice(10, p=weights)
    other = rank if rng.random() < 0.5 else rng.choice(10, p=improved / improved.sum())
    rankings = []
    for at in (rank, other):
        others = [f"p{i}" for i in np.argsort(np.arange(14) + rng.normal(0.0, 1.0, 14))[:9]]
        rankings.append([*others[:at], "relevant", *others[at:]])
    return rankings


def clicked(rng, passages, eagerness):
    """Clicks on sources: the user looks further with 0.8 after each, clicks the relevant one by eagerness and another one by a fifth of it."""
    seen = rng.random(len(passages)) < 0.8 ** np.arange(len(passages))
    chance = np.where(np.array(passages) == "relevant", eagerness, 0.2 * eagerness)
    return [passages[i] for i in np.flatnonzero(seen & (rng.random(len(passages)) < chance))]


def interleaved_and_split(rng, n, better):
    """Each query's preference, and what a split measures: reciprocal rank of the first click, and whether there was any; both arms."""
    length, preferences, scores = 5, np.empty(n), np.empty((2, n))
    for query in range(n):
        rankings, eagerness = rankings_of(rng, better), rng.beta(1.5, 1.5)
        merged = team_draft(*rankings, length=length, rng=rng)
        preferences[query] = credit(merged, cited=clicked(rng, [passage for passage, _ in merged], eagerness), votes={}).preference
        for arm, ranking in enumerate(rankings):
            clicks = clicked(rng, ranking[:length], eagerness)
            scores[arm, query] = 1 / (1 + ranking.index(clicks[0])) if clicks else 0.0
    return preferences, scores


def test_interleaving_needs_fewer_queries_than_a_split():
    rng, n, z = np.random.default_rng(10), 40_000, stats.norm.isf(ALPHA / 2) + stats.norm.isf(0.2)
    preferences, scores = interleaved_and_split(rng, n, 2.0)
    hits = scores > 0
    needed = {"interleaved": z**2 * preferences.var() / preferences.mean() ** 2}
    for name, values in (("split, RR of the first click", scores), ("split, any click", hits.astype(float))):
        needed[name] = z**2 * 2 * (values[0].var() + values[1].var()) / (values[1].mean() - values[0].mean()) ** 2
    for name, queries in needed.items():
        tell("%s: %.0f queries for a power of 80 %%", name, queries)
    ratio = needed["split, RR of the first click"] / needed["interleaved"]
    tell("split over interleaved: %.1f; any click: %.1f", ratio, needed["split, any click"] / needed["interleaved"])
    assert ratio > 2.0
    # The power at that number is the planned one.
    size, repetitions = math.ceil(needed["interleaved"]), 400
    found = 0
    for _ in range(repetitions):
        drawn = rng.choice(preferences, size)
        found += interleaved_preference(drawn, units=np.arange(size), alpha=ALPHA).fit.p_value < ALPHA
    (power,) = rates(found, repetitions, f"power of interleaving at {size} queries")
    assert bounds(0.78, repetitions)[0] < power < bounds(0.82, repetitions)[1]


def test_interleaving_equal_arms_prefers_neither():
    rng, repetitions = np.random.default_rng(11), 1_000
    found = np.zeros(2)
    for _ in range(repetitions):
        users = heavy_users(rng, 300, 1_500)
        # Users react with different eagerness, and each draws to one of the arms by taste; on average to neither.
        taste = rng.normal(0.0, 0.25, 300)[users]
        preferences = np.where(rng.random(1_500) < 0.4, np.where(rng.random(1_500) < 0.5 + taste, 1.0, -1.0), 0.0)
        fit = interleaved_preference(preferences, units=users, alpha=ALPHA)
        found += [fit.fit.p_value < ALPHA, stats.ttest_1samp(preferences, 0.0).pvalue < ALPHA]
    by_user, by_query = rates(found, repetitions, "interleaving by user, equal arms", "interleaving by query, equal arms")
    assert by_user < bounds(0.065, repetitions)[1]
    assert by_query > 0.10


def test_a_guardrail_stops_falsely_at_most_at_alpha_and_a_regression_in_time():
    rng, repetitions, margin, planned = np.random.default_rng(12), 1_000, 0.02, 600
    stopped, naive, stops, z = 0, 0, [], stats.norm.isf(ALPHA)
    for run in range(repetitions):
        log = Log(rng, 2_000, 2_000)
        for effect in (margin, 0.12) if run < 250 else (margin,):
            broken, fixed = np.inf, False
            for fit, stop, _ in log.looks(100, effect):
                units = (fit.control.n_units, fit.treatment.n_units)
                rail = sequential_guardrail(
                    fit.difference, fit.standard_error, units=units, margin=margin, alpha=ALPHA, planned_units=planned
                )
                fixed |= (fit.difference - margin) / fit.standard_error > z
                if rail.broken:
                    broken = min(broken, stop)
            if effect == margin:
                stopped, naive = stopped + np.isfinite(broken), naive + fixed
            else:
                stops.append(broken)
    rate, looked = rates([stopped, naive], repetitions, "guardrail stops at the margin", "one-sided z at every look, at the margin")
    (power,) = rates(np.sum(np.array(stops) <= 2_000), len(stops), "regression of five margins stopped by 2,000 queries")
    tell("median stop after %.0f queries", np.median(stops))
    assert rate <= bounds(ALPHA, repetitions)[1]
    assert looked > 2 * ALPHA
    assert power > 0.8


def failures_by_look(rng, rate_c, rate_t, repetitions, looks, every=100, outage=None):
    """Failures and trials of both arms up to each look, each of shape (repetitions, looks); arms by coin flip."""
    trials_t = rng.binomial(every, 0.5, (repetitions, looks))
    trials_c = every - trials_t
    extra = np.zeros(looks) if outage is None else outage
    failed_c = rng.binomial(trials_c, np.minimum(rate_c + extra, 1.0))
    failed_t = rng.binomial(trials_t, np.minimum(rate_t + extra, 1.0))
    return tuple(np.cumsum(counts, axis=1) for counts in (failed_c, failed_t, trials_c, trials_t))


def broken(failed_c, failed_t, n_c, n_t, margin):
    above = failed_t / n_t - failed_c / n_c > margin
    return above & (rate_log_e_value((failed_c, failed_t), (n_c, n_t), difference=margin) > -math.log(ALPHA))


def test_a_failure_guardrail_is_honest_from_the_first_hundred_queries():
    rng, repetitions, looks = np.random.default_rng(13), 3_000, 100
    outage = np.where((np.arange(looks) >= 20) & (np.arange(looks) < 25), 0.4, 0.0)
    cases = {"at the margin": (0.01, 0.02, 0.01, None), "equal, margin 0": (0.02, 0.02, 0.0, None), "rare": (0.001, 0.002, 0.001, None)}
    cases["an outage hits both, margin 0"] = (0.01, 0.01, 0.0, outage)
    for name, (rate_c, rate_t, margin, extra) in cases.items():
        failed_c, failed_t, n_c, n_t = failures_by_look(rng, rate_c, rate_t, repetitions, looks, outage=extra)
        p_c, p_t = failed_c / n_c, failed_t / n_t
        wald = p_t - p_c - margin > stats.norm.isf(ALPHA) * np.sqrt(p_c * (1 - p_c) / n_c + p_t * (1 - p_t) / n_t)
        found = [broken(failed_c, failed_t, n_c, n_t, margin).any(axis=1).sum(), wald.any(axis=1).sum()]
        honest, naive = rates(found, repetitions, f"failures {name}: e-value stops", f"failures {name}: Wald stops")
        assert honest <= ALPHA
        assert naive > 2 * ALPHA


def test_a_failure_guardrail_stops_a_regression_in_time():
    rng, repetitions, looks = np.random.default_rng(14), 1_000, 40
    for rate_t, queries in ((0.05, 3_000), (0.10, 800), (0.30, 300), (1.0, 100)):
        stopped = broken(*failures_by_look(rng, 0.01, rate_t, repetitions, looks), 0.01)
        first = np.where(stopped.any(axis=1), (stopped.argmax(axis=1) + 1) * 100.0, np.inf)
        (power,) = rates(np.sum(first <= queries), repetitions, f"failures 1 % to {100 * rate_t:.0f} % stopped by {queries} queries")
        tell("median stop after %.0f queries", np.median(first))
        assert power > 0.8


def votes_of(rng, n_users, *, satisfied, up_rate, down_rate, ask=0.0):
    """Spontaneous votes of one arm, and those of queries asked about at random; the asked answer in 60 of 100 cases, whatever they think."""
    users = heavy_users(rng, n_users, 6 * n_users)
    good = rng.random(users.size) < satisfied + rng.normal(0.0, 0.1, n_users)[users]
    votes = rng.random(users.size) < np.where(good, up_rate, down_rate)
    asked = rng.random(users.size) < ask
    answered = asked & (rng.random(users.size) < 0.6)
    sums = [np.bincount(users, weights=w, minlength=n_users) for w in (votes & good, votes, np.ones(users.size))]
    solicited = [np.bincount(users, weights=w, minlength=n_users) for w in (answered & good, answered, asked)]
    return [VoteSums(up=up, rated=rated, asked=total) for up, rated, total in (sums, solicited)]


def test_a_change_in_who_votes_turns_the_vote_share_around_and_solicited_votes_stay_right():
    # The treatment satisfies more (65 against 60 %), and its layout moves unhappy users to vote: down-votes come three times as often.
    rng, repetitions, truth = np.random.default_rng(15), 300, 0.05
    found = np.zeros(6)
    for _ in range(repetitions):
        control = votes_of(rng, 1_500, satisfied=0.60, up_rate=0.05, down_rate=0.05, ask=0.2)
        treatment = votes_of(rng, 1_500, satisfied=0.65, up_rate=0.05, down_rate=0.15, ask=0.2)
        naive, asked = (vote_difference(c, t, alpha=ALPHA) for c, t in zip(control, treatment, strict=True))
        found += [
            naive.share.high < 0,
            naive.who_rates_differs,
            naive.bounds.low <= truth <= naive.bounds.high,
            asked.share.low <= truth <= asked.share.high,
            asked.share.difference > 0,
            asked.who_rates_differs,
        ]
    wrong, flagged, bounded, covered, right_sign, asked_flagged = rates(
        found,
        repetitions,
        "naive vote share significantly wrong",
        "rating rates found to differ",
        "Manski's bounds hold",
        "solicited interval covers",
        "solicited sign right",
        "rating rates of the solicited found to differ",
    )
    assert wrong > 0.95
    assert flagged > 0.95
    assert bounded > 0.95
    assert bounds(0.93, repetitions)[0] < covered
    assert right_sign > 0.95
    assert asked_flagged < bounds(ALPHA, repetitions)[1]


def test_the_p95_interval_by_user_covers_and_that_by_query_does_not():
    rng, repetitions, naive, n_users = np.random.default_rng(16), 300, 100, 300
    covered = np.zeros(3)
    for run in range(repetitions):
        arms, units = [], []
        for _ in range(2):
            users = heavy_users(rng, n_users, 2_400)
            # Half of the variance of log latency belongs to the user: networks, languages, long questions.
            arms.append(np.exp(6.0 + rng.normal(0.0, 0.35, n_users)[users] + rng.normal(0.0, 0.35, users.size)))
            units.append(users)
        rows = [np.arange(2_400), np.arange(2_400)]
        for place, (left, right) in enumerate((units, rows) if run < naive else (units,)):
            fit = quantile_difference(*arms, control_units=left, treatment_units=right, quantile=0.95, alpha=ALPHA, resamples=400, rng=rng)
            covered[place] += fit.low <= 0 <= fit.high
            covered[2] += place == 0 and fit.ratio_low <= 1 <= fit.ratio_high
    by_user, ratio = rates(covered[[0, 2]], repetitions, "p95 bootstrap by user covers", "p95 ratio by user covers")
    (by_query,) = rates(covered[1], naive, "p95 bootstrap by query covers")
    assert min(by_user, ratio) > bounds(0.94, repetitions)[0]
    assert by_query < 0.85
