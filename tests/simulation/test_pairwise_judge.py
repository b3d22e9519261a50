"""Two arms that are equally good before a judge that likes a position: what both orders save, and what one order would find.

Rates are compared with bounds four binomial standard errors beside 5 %; the sign-flip test lies somewhat below, as it does where the
differences are whole numbers and many resamples give the observed sum again. Seeds are fixed; the rates are shown by
`pytest tests/simulation/test_pairwise_judge.py --log-cli-level=INFO`.
"""

import logging

import numpy as np
import pytest

from ragtrial.domain.score import Opinion
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.preference import position_bias, settled
from ragtrial.stats.paired import paired_t
from ragtrial.stats.permutation import sign_flip

pytestmark = pytest.mark.slow

ALPHA, RUNS, QUERIES = 0.05, 1_000, 120
ERROR = 4 * np.sqrt(ALPHA * (1 - ALPHA) / RUNS)
VALUES = {"left": 1.0, "right": 0.0}


def looked_at(rng, better_first, position, strength):
    """A judge's words for pairs in one order: by the position at a share of them, else by quality, wavering.

    `better_first` is 1 where the answer shown first is better, -1 where it is worse, 0 where both are alike. Shape (n,).
    """
    seen = better_first + rng.normal(0.0, 0.8, better_first.size)
    fair = np.where(seen > 0.5, "A", np.where(seen < -0.5, "B", "tie"))
    return np.where(rng.random(better_first.size) < strength, position, fair)


def judged(rng, position, strength, *, treatment_better=0.3, control_better=0.3):
    """Verdicts of one experiment: the two-order verdict of each pair, which side the treatment had, and one order with it first."""
    quality = rng.choice([1, -1, 0], size=QUERIES, p=[treatment_better, control_better, 1 - treatment_better - control_better])
    side = rng.choice([1, -1], size=QUERIES)  # 1 where the treatment is left: the hash of the texts is a coin
    forward = looked_at(rng, side * quality, position, strength)
    backward = looked_at(rng, -side * quality, position, strength)
    both = [settled(one, other) for one, other in zip(forward, backward, strict=True)]
    return both, side, looked_at(rng, quality, position, strength)


def both_orders(verdicts, side):
    """Treatment's value less control's, as the scorer gives them: v - (1 - v)."""
    left = np.array([VALUES.get(verdict, 0.5) for verdict in verdicts])
    return side * (2 * left - 1)


def one_order(words):
    return np.select([words == "A", words == "B"], [1.0, -1.0], 0.0)


def found(differences, rng):
    """Whether the paired t test and the sign-flip test see a difference; nothing can be seen where all are alike."""
    try:
        return np.array(
            [paired_t(differences, alpha=ALPHA).p_value < ALPHA, sign_flip(differences, resamples=499, rng=rng).p_value <= ALPHA],
            dtype=float,
        )
    except NotEnoughDataError:
        return np.zeros(2)


def logged(name, counts):
    rates = counts / RUNS
    logging.getLogger(__name__).info("%s: t %.1f %%, sign-flip %.1f %%", name, *(100 * rates))
    return rates


@pytest.mark.parametrize(
    ("position", "strength"),
    [
        pytest.param("A", 0.0, marks=pytest.mark.long),
        pytest.param("A", 0.2, marks=pytest.mark.long),
        ("A", 0.5),
        pytest.param("B", 0.3, marks=pytest.mark.long),
        pytest.param("tie", 0.3, marks=pytest.mark.long),
    ],
)
def test_a_judge_that_likes_a_position_prefers_no_arm_where_both_orders_are_asked(position, strength):
    rng = np.random.default_rng(31)
    both, single = np.zeros(2), np.zeros(2)
    for _ in range(RUNS):
        verdicts, side, words = judged(rng, position, strength)
        both += found(both_orders(verdicts, side), rng)
        single += found(one_order(words), rng)
    both, single = logged(f"both orders, {position} {strength}", both), logged(f"one order, {position} {strength}", single)
    assert np.all(np.abs(both - ALPHA) < ERROR)
    if position != "tie" and strength:
        assert np.all(single > 0.5)
    else:
        assert np.all(np.abs(single - ALPHA) < ERROR)


def test_a_judge_that_knows_nothing_but_the_position_never_prefers_an_arm():
    rng = np.random.default_rng(32)
    for position in ("A", "B"):
        verdicts, side, words = judged(rng, position, 1.0)
        assert not both_orders(verdicts, side).any()
        assert abs(one_order(words).mean()) == 1.0


def test_a_real_preference_is_found_through_the_bias():
    rng = np.random.default_rng(33)
    counts = np.zeros(2)
    for _ in range(RUNS):
        verdicts, side, _ = judged(rng, "A", 0.3, treatment_better=0.55, control_better=0.15)
        differences = both_orders(verdicts, side)
        counts += found(differences, rng) * (differences.mean() > 0)
    assert np.all(logged("a real preference", counts) > 0.8)  # the power that experiments are planned with


def test_the_reported_bias_is_the_planted_one():
    """Of a judge without any other leaning, the position wins by itself; a fair one splits its wins evenly."""
    rng = np.random.default_rng(34)
    shares = {}
    for strength in (0.0, 0.5):
        opinions = []
        for run in range(50):
            verdicts, side, _ = judged(rng, "A", strength)
            names = {1: {"left": "treatment", "right": "control"}, -1: {"left": "control", "right": "treatment"}}
            opinions += [
                Opinion(repetition=0, key=f"{run} {i}", value=0.5, verdict=names[s].get(verdict, verdict), n_calls=2)
                for i, (verdict, s) in enumerate(zip(verdicts, side, strict=True))
            ]
        shares[strength] = position_bias(opinions)
    assert shares[0.0].n_pairs == shares[0.5].n_pairs == 50 * QUERIES
    assert shares[0.0].share_first == pytest.approx(0.5, abs=0.02)
    # Half of the orders go to A; of the others the fair share w of wins, evenly: first / wins = (0.5 + 0.25 w) / (0.5 + 0.5 w).
    wins = shares[0.0].n_wins / (2 * shares[0.0].n_pairs)
    assert shares[0.5].share_first == pytest.approx((0.5 + 0.25 * wins) / (0.5 + 0.5 * wins), abs=0.02)
    assert shares[0.5].share_inconsistent > 0.25 + shares[0.0].share_inconsistent / 4 - 0.03
