import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.interleaving import credit, interleaved_preference
from ragtrial.stats.votes import VoteSums, vote_difference

SHOWN = (("a", "control"), ("b", "treatment"), ("c", "both"), ("d", "treatment"))


def test_a_cited_passage_and_a_vote_on_it_are_credits_of_its_team():
    given = credit(SHOWN, cited={"a", "b", "d"}, votes={"b": 1, "a": -1})
    assert (given.control, given.treatment, given.preference) == (0.0, 3.0, 1)


def test_what_both_arms_put_there_counts_for_neither():
    assert credit(SHOWN, cited=["c"], votes={"c": 2}).preference == 0


def test_a_citation_counts_once():
    assert credit(SHOWN, cited=["a", "a"], votes={}) == (1.0, 0.0, -1)


def test_no_reaction_is_a_tie_and_a_stranger_is_refused():
    assert credit(SHOWN, cited=(), votes={}).preference == 0
    with pytest.raises(ValueError, match="passage 'z' was cited or voted on, and was not shown"):
        credit(SHOWN, cited=["z"], votes={})


def test_ties_count_in_the_mean_and_not_in_the_sign_test():
    preferences = np.tile([1.0, 1.0, -1.0, 0.0, 0.0], 100)
    fit = interleaved_preference(preferences, units=np.arange(500), alpha=0.05)
    assert fit.fit.estimate == pytest.approx(0.2)
    assert (fit.n_for_treatment, fit.n_for_control, fit.n_ties) == (200, 100, 200)
    assert fit.sign_p_value < 0.001
    swapped = interleaved_preference(-preferences, units=np.arange(500), alpha=0.05)
    assert (swapped.fit.low, swapped.fit.high) == pytest.approx((-fit.fit.high, -fit.fit.low))


def test_a_user_with_many_queries_is_one_user():
    preferences, units = np.append(np.ones(500), np.tile([1.0, -1.0], 50)), np.append(np.zeros(500), np.arange(1, 101))
    fit = interleaved_preference(preferences, units=units, alpha=0.05)
    assert fit.fit.n_units == 101
    assert fit.fit.low < 0
    assert fit.sign_p_value > 0.5


def test_ties_alone_have_no_preference():
    with pytest.raises(NotEnoughDataError, match="without variance"):
        interleaved_preference(np.zeros(300), units=np.arange(300), alpha=0.05)


def votes(seed, up, down, n=2_000):
    rng = np.random.default_rng(seed)
    asked = rng.integers(1, 8, n)
    rated = rng.binomial(asked, up + down)
    return VoteSums(up=rng.binomial(rated, up / (up + down)), rated=rated, asked=asked)


def test_the_rating_rate_is_tested_before_the_share():
    same = vote_difference(votes(1, 0.10, 0.05), votes(2, 0.10, 0.05), alpha=0.01)
    assert not same.who_rates_differs
    more = vote_difference(votes(1, 0.10, 0.05), votes(2, 0.10, 0.15), alpha=0.01)
    assert more.who_rates_differs
    assert more.share.high < 0
    assert more.bounds.low < 0 < more.bounds.high


def test_the_bounds_by_hand():
    # Per query, control 0.10 up and 0.85 silent: between 0.10 and 0.95. Treatment 0.20 and 0.75: between 0.20 and 0.95.
    fit = vote_difference(votes(1, 0.10, 0.05, 40_000), votes(2, 0.20, 0.05, 40_000), alpha=0.05)
    assert (fit.bounds.lower, fit.bounds.upper) == pytest.approx((0.20 - 0.95, 0.95 - 0.10), abs=0.01)
    assert fit.bounds.low < fit.bounds.lower < fit.bounds.upper < fit.bounds.high


def test_where_nearly_everybody_answers_the_bounds_decide():
    fit = vote_difference(votes(1, 0.50, 0.48), votes(2, 0.70, 0.28), alpha=0.05)
    assert fit.bounds.low > 0.1


def test_votes_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match="0 <= up <= rated <= asked"):
        VoteSums(up=[2], rated=[1], asked=[3])
    with pytest.raises(ValueError, match="one number for each unit"):
        VoteSums(up=[1, 1], rated=[1], asked=[3])
