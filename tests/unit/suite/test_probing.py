"""The probe on pairs that a matrix can learn, and on too few of them."""

import random

import numpy as np
import pytest

from ragtrial.contracts import no_progress
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import AdapterSpec, TrainingSpec
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.suite.probing import FEWEST, FOLDS, probe_adapter

WORDS = 24
SPEC = TrainingSpec(base="anything", pairs=("pairs.jsonl",), adapter=AdapterSpec(epochs=20, learning_rate=0.01), patience=5)


def pairs(n: int, *, seed: int = 0) -> list[Pair]:
    """The passage says in `tell` words what the query says in `ask` words: no word is shared, and a matrix from one to the other answers all."""
    rng = random.Random(seed)
    made = []
    for number in range(n):
        said = rng.sample(range(WORDS), 3)
        query, passage = (" ".join(f"{kind}{chr(97 + word)}" for word in said) for kind in ("ask", "tell"))
        made.append(Pair(query=f"{query}", passage=passage, passage_id=f"p{number}", document_id=f"p{number}"))
    return made


def test_what_a_matrix_can_learn_is_gained_on_queries_that_it_has_not_seen() -> None:
    found = probe_adapter(pairs(300), SPEC, HashingEmbedder(dimension=128), alpha=0.05, seed=3, progress=no_progress)
    assert (found.folds, found.reason) == (FOLDS, None)
    assert found.difference is not None
    assert found.difference.low is not None
    assert found.difference.low > 0.1


def test_pairs_without_a_pattern_show_no_gain() -> None:
    learnable = pairs(150)
    order = np.random.default_rng(1).permutation(len(learnable))
    mixed = [
        Pair(query=pair.query, passage=learnable[other].passage, passage_id=f"p{other}", document_id=f"p{other}")
        for pair, other in zip(learnable, order.tolist(), strict=True)
    ]
    found = probe_adapter(mixed, SPEC, HashingEmbedder(dimension=128), alpha=0.05, seed=3, progress=no_progress)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.0, abs=0.06)


def test_too_few_queries_are_a_reason_and_no_number() -> None:
    found = probe_adapter(pairs(FEWEST - 1), SPEC, HashingEmbedder(), alpha=0.05, seed=3, progress=no_progress)
    assert found.difference is None
    assert found.reason is not None
    assert "at least 50" in found.reason
