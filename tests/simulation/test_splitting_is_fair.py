"""Buckets are uniform and independent between experiments, and interleaving favours nobody whose credit does not depend on the passages.

Seeds and units are fixed, so that a test passes always or never. Each test of uniformity or independence would fail an honest hash once
in 1,000 (alpha = 0.001, over all its pairs).
"""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ragtrial.domain.live import N_BUCKETS
from ragtrial.drafting import team_draft
from ragtrial.splitting import bucket_of, drawn

pytestmark = pytest.mark.slow

ALPHA = 0.001
N_EXPERIMENTS = 40
UNITS = [f"user-{number:06d}" for number in range(25_000)]


def buckets(salt, units=UNITS):
    return np.array([bucket_of(salt, unit) for unit in units])


def deciles_depend(one, other):
    """p value of a chi-square test of independence between the tenths in which each unit lies."""
    table = np.bincount(one // 1000 * 10 + other // 1000, minlength=100).reshape(10, 10)
    return float(stats.chi2_contingency(table).pvalue)


def dependent_pairs(columns):
    """How many pairs of experiments are found to depend on each other, by Holm over all pairs."""
    n = len(columns)
    values = [deciles_depend(columns[i], columns[j]) for i in range(n) for j in range(i)]
    return int(multipletests(values, alpha=ALPHA, method="holm")[0].sum()), len(values)


def first_hash_of_growthbook(salt):
    """FNV-1a (32 bits) of unit and salt modulo 1000, for all units at once; times 10, to compare it in the same tenths."""
    letters = np.array([list(f"{unit}{salt}".encode()) for unit in UNITS], dtype=np.uint32)
    hashed = np.full(len(UNITS), 2166136261, dtype=np.uint32)
    for column in letters.T:
        hashed = (hashed ^ column) * np.uint32(16777619)
    return (hashed % 1000).astype(np.int64) * 10


@pytest.mark.parametrize(
    "units",
    [[str(n) for n in range(200_000)], [f"{n:032x}" for n in range(0, 2_000_000, 10)], [f"user-{n}@example.com" for n in range(100_000)]],
    ids=["numbers", "hexadecimal", "addresses"],
)
def test_units_of_any_kind_fall_into_all_buckets_alike(units):
    found = np.bincount(buckets("tariffs", units), minlength=N_BUCKETS)
    cells = found.reshape(-1, N_BUCKETS // min(N_BUCKETS, len(units) // 20)).sum(axis=1)
    assert stats.chisquare(cells).pvalue > ALPHA


def test_forty_experiments_split_the_same_units_independently():
    columns = [buckets(f"experiment-{number}") for number in range(N_EXPERIMENTS)]
    assert dependent_pairs(columns) == (0, 780)


def test_the_same_check_finds_a_hash_that_correlates_between_experiments():
    columns = [first_hash_of_growthbook(f"experiment-{number:02d}") for number in range(N_EXPERIMENTS)]
    assert dependent_pairs(columns) == (780, 780)


def test_holdout_layer_and_samples_are_independent_of_the_split():
    split = buckets("tariffs")
    for salt in ("holdout", "layer.answers", "tariffs2", "Tariffs"):
        assert deciles_depend(split, buckets(salt)) > ALPHA
    sampled = np.array([drawn("tariffs", unit, 0.5) for unit in UNITS])
    assert abs(sampled.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(UNITS))
    assert stats.chi2_contingency(np.histogram2d(split, sampled, bins=(10, 2))[0]).pvalue > ALPHA


LISTS = {
    "nothing in common": (list("abcde"), list("vwxyz"), 6),
    "an odd place at the end": (list("abcde"), list("vwxyz"), 5),
    "a common beginning": (list("abcde"), list("abvwx"), 6),
    "the same passages in another order": (list("abcde"), list("baedc"), 5),
    "met on the way": (list("abcde"), list("xbycz"), 6),
    "one ends early": (list("a"), list("vwxyz"), 5),
    "one ends early, overlapping": (list("ab"), list("cbdef"), 6),
    "nothing found by one": ([], list("vwxyz"), 3),
}
VALUE = {"control": -1, "treatment": 1, "both": 0}


def credit_of(control, treatment, length, *, n, clicks):
    """Credit of the treatment minus that of the control in each of `n` lists, clicked as `clicks(rng, passages)` says."""
    rng = np.random.default_rng(11)
    found = np.zeros(n)
    for number in range(n):
        drafted = team_draft(control, treatment, length=length, rng=rng)
        found[number] = np.sum(np.array([VALUE[team] for _, team in drafted]) * clicks(rng, [passage for passage, _ in drafted]))
    return found


def at_random(rng, passages):
    return rng.random(len(passages)) < 0.4


def by_place(rng, passages):
    return rng.random(len(passages)) < 0.9 / np.arange(1, len(passages) + 1) ** 1.5


def the_second_place(rng, passages):
    return np.arange(len(passages)) == 1


@pytest.mark.parametrize("clicks", [at_random, by_place, the_second_place])
@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS.keys())
def test_credit_that_does_not_depend_on_the_passages_falls_on_both_alike(lists, clicks):
    found = credit_of(*lists, n=4000, clicks=clicks)
    assert abs(found.mean()) <= 4 * found.std() / np.sqrt(len(found))


def published_draft(control, treatment, *, length, rng):
    """Algorithm 2 of Radlinski, Kurup and Joachims 2008 as printed: it ends as soon as one ranking is used up."""
    drafted = []

    def left(ranking):
        return [passage for passage in ranking if passage not in dict(drafted)]

    while left(control) and left(treatment) and len(drafted) < length:
        teams = [team for _, team in drafted]
        behind = teams.count("control") - teams.count("treatment")
        team = "control" if behind < 0 or (behind == 0 and rng.random() < 0.5) else "treatment"
        drafted.append((left(control if team == "control" else treatment)[0], team))
    return drafted


def test_the_published_loop_favours_the_shorter_ranking():
    rng = np.random.default_rng(5)
    drafts = [published_draft(["a"], ["v", "w"], length=4, rng=rng) for _ in range(1000)]
    second = [draft[1][1] for draft in drafts if len(draft) > 1]
    assert set(second) == {"control"}
    assert 400 < len(second) < 600


def test_a_reader_who_cites_relevant_passages_prefers_the_ranking_that_has_them_earlier():
    def relevant(rng, passages):
        return np.isin(passages, ["a", "b", "c"])

    found = credit_of(list("xaybzcvw"), list("abcxyzvw"), 4, n=4000, clicks=relevant)
    assert found.mean() > 4 * found.std() / np.sqrt(len(found))


def test_leaving_agreement_out_makes_the_preference_less_noisy_and_moves_it_nowhere():
    rng, n = np.random.default_rng(3), 4000
    control, treatment = list("abcdx"), list("abcdy")
    ours = credit_of(control, treatment, 5, n=n, clicks=at_random)
    coins = rng.choice((-1, 1), size=(n, 5)) * (rng.random((n, 5)) < 0.4)  # every place credited by a coin, as without the rule
    assert ours.std() < 0.6 * coins.sum(axis=1).std()
