"""What is said of a curve, and what the training queries are searched in, by hand."""

import dataclasses

import pytest

import tiny_model
from ragtrial.finetuning.dev import dev_set_of_pairs, train_check
from ragtrial.finetuning.watching import Watch, overfitting

EASY, HARD = [1.0, 0.5, 1.0, 0.5], [0.5, 0.25, 0.5, 0.25]


def watched(*evaluations: tuple[list[float], list[float]]) -> Watch:
    watch = Watch()
    for step, (dev, train) in enumerate(evaluations):
        watch.see(step, dev, train)
    return watch


def test_dev_that_falls_while_training_queries_rise_is_overfitting() -> None:
    """Dev means 0.375, 0.75, 0.375; training 0.375, 0.75, 1: after step 1 they go apart, by more than the error of 0 (all deficits 0.5 or 0.25)."""
    watch = watched((HARD, HARD), (EASY, EASY), (HARD, [1.0] * 4))
    assert watch.kept_step == 1
    said = overfitting(watch)
    assert (
        "overfitting after step 1: nDCG@10 of training queries rose from 0.750 to 1.000 while that of dev queries fell from 0.750" in said
    )
    assert "kept is step 1" in said


def test_a_gap_beyond_its_interval_is_said() -> None:
    """Training queries gain 0.5 each and dev queries 0.01 each, so the gap is 0.49 with no error."""
    watch = watched((HARD, [0.5] * 4), ([value + 0.01 for value in HARD], [1.0] * 4))
    assert "(difference 0.490, 95 % interval 0.490 to 0.490): part of what was learnt doesn't carry over" in overfitting(watch)


def test_a_gap_within_noise_is_no_sign() -> None:
    """Gains of training queries 0.4, 0, 0.4, 0 (mean 0.2, variance 0.16 / 3) and of dev queries 0.3, 0, 0, 0.3 (mean 0.15, variance 0.03):

    gap 0.05, standard error sqrt((0.0533 + 0.03) / 4) = 0.144, interval 0.05 +- 0.283.
    """
    watch = watched(([0.5] * 4, [0.5] * 4), ([0.8, 0.5, 0.5, 0.8], [0.9, 0.5, 0.9, 0.5]))
    assert watch.gaps[0]["error"] == pytest.approx(0.1443, abs=1e-4)
    assert "(difference 0.050, 95 % interval -0.233 to 0.333): no sign of overfitting" in overfitting(watch)


def test_a_kept_base_overfits_nothing() -> None:
    assert overfitting(watched((EASY, EASY), (HARD, HARD))) == "the base was kept, so nothing is overfitted"


def test_the_training_queries_are_as_many_and_searched_in_as_many_passages_as_the_dev_queries() -> None:
    dev = tiny_model.examination(40, seed=2)
    pairs = tiny_model.lesson(200, seed=1)
    more = dataclasses.replace(dev, passages=(*dev.passages, *tiny_model.examination(300, seed=4).passages[60:]))
    check = train_check(pairs, more, seed=7)
    assert (check.n_judged, len(check.passages)) == (40, len(more.passages))
    asked = {query.text for query in check.gold.queries}
    assert asked <= {pair.query for pair in pairs}
    assert check == train_check(pairs, more, seed=7) != train_check(pairs, more, seed=8)


def test_dev_pairs_of_a_file_are_searched_among_other_passages_without_copies_of_their_answers() -> None:
    pairs = tiny_model.lesson(30, seed=3)
    others = tiny_model.examination(100, seed=4).passages
    copy = dataclasses.replace(others[0], passage_id="copy", text=pairs[0].passage)
    found = dev_set_of_pairs(pairs, others=[*others, copy], seed=1)
    assert found is not None
    assert found.n_judged == len({pair.query for pair in pairs})
    assert "copy" not in {passage.passage_id for passage in found.passages}
    assert len(found.passages) > 100
    assert dev_set_of_pairs([], others=others, seed=1) is None
