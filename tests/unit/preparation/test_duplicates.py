"""Near-duplicates against a comparison of all pairs."""

import itertools

import numpy as np
import pytest

from ragtrial.preparation.duplicates import Signatures, bands_for, find_duplicates, jaccard, shingles
from ragtrial.preparation.splits import Groups, near_links, near_pairs


def texts(n: int, *, seed: int) -> list[str]:
    """Documents of which each shares a random part of its words with the one before."""
    rng = np.random.default_rng(seed)
    made = [[f"w{word}" for word in rng.integers(0, 5000, 80)]]
    for _ in range(n - 1):
        kept = int(rng.integers(0, 81))
        made.append(made[-1][:kept] + [f"w{word}" for word in rng.integers(0, 5000, 80 - kept)])
    return [" ".join(words) for words in made]


def test_runs_of_five_words_by_hand() -> None:
    a, b = shingles("One two THREE four five six"), shingles("one two, three four five seven")
    assert (len(a), len(b)) == (2, 2)
    assert jaccard(a, b) == 1 / 3  # one two three four five; of three runs in all
    assert len(shingles("two words")) == 1
    assert shingles("...") == frozenset()
    assert jaccard(frozenset(), frozenset()) == 0


@pytest.mark.parametrize("near", [0.3, 0.5, 0.8, 0.95])
def test_near_pairs_are_those_that_a_comparison_of_all_pairs_finds(near: float) -> None:
    runs = [shingles(text) for text in texts(150, seed=7)]
    found, missed = near_pairs(Signatures(runs), range(len(runs)), near)
    true = {(a, b) for a, b in itertools.combinations(range(len(runs)), 2) if jaccard(runs[a], runs[b]) >= near}
    assert len(true) > 5
    assert {(pair.a, pair.b) for pair in found} == true
    assert missed <= 0.001
    links, _ = near_links(Signatures(runs), range(len(runs)), near)
    all_pairs, by_links = Groups(range(len(runs))), Groups(range(len(runs)))
    for groups, pairs in ((all_pairs, found), (by_links, links)):
        for pair in pairs:
            groups.join(pair.a, pair.b)
    assert all_pairs.members() == by_links.members()
    assert {n for pair in links for n in (pair.a, pair.b)} == {n for pair in true for n in pair}


def test_the_chance_of_missing_a_pair_is_that_of_the_bands() -> None:
    chosen = bands_for(0.5)
    assert chosen.missed(0.5) == pytest.approx((1 - 0.5**chosen.rows) ** chosen.bands)
    assert chosen.missed(0.5) <= 0.001 < (1 - 0.5 ** (chosen.rows + 1)) ** (256 // (chosen.rows + 1))


def test_every_dropped_document_is_near_the_kept_one_that_it_names_and_no_two_kept_ones_are_near() -> None:
    runs = [shingles(text) for text in texts(200, seed=3)]
    dropped = find_duplicates(Signatures(runs), range(len(runs)), 0.6)
    gone = {each.number for each in dropped}
    kept = [number for number in range(len(runs)) if number not in gone]
    assert 10 < len(gone) < 150
    for each in dropped:
        assert each.of not in gone
        assert jaccard(runs[each.number], runs[each.of]) == each.similarity >= 0.6
    assert not [(a, b) for a, b in itertools.combinations(kept, 2) if jaccard(runs[a], runs[b]) >= 0.6]


def test_a_chain_of_small_changes_is_not_one_document() -> None:
    words = [f"w{number}" for number in range(100)]
    chain = [" ".join([f"x{place}" for place in range(step)] + words[step:]) for step in range(0, 60, 5)]
    dropped = find_duplicates(Signatures([shingles(text) for text in chain]), range(len(chain)), 0.8)
    assert 0 < len(dropped) < len(chain) - 1


def test_the_same_words_are_a_duplicate_and_texts_without_words_are_not() -> None:
    runs = [shingles(text) for text in ("Tide tables!", "tide, TABLES", "...", "---")]
    assert [(each.number, each.of, each.similarity) for each in find_duplicates(Signatures(runs), range(4), 0.8)] == [(1, 0, 1.0)]
