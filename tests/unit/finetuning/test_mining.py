"""Hard negatives: near, not nearly an answer, and never one that is known to be one."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import MiningSpec
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.finetuning.mining import mine


class Angles:
    """An embedder on the unit circle: a text is a word and its angle in degrees, so that similarities are cosines of differences."""

    def __init__(self) -> None:
        self.identity = ModelIdentity(name="angles", revision="1", dimension=2)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        del kind, progress
        degrees = [math.radians(float(text.split()[-1])) for text in texts]
        return np.array([[math.cos(x), math.sin(x)] for x in degrees], dtype=np.float32).reshape(-1, 2)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        del texts
        return None


def passage(text: str, *, passage_id: str | None = None) -> Passage:
    return Passage(passage_id=passage_id or text, document_id=passage_id or text, text=text, start=0, end=len(text))


def pair(query: str, answer: str, **more: object) -> Pair:
    return Pair(query=query, passage=answer, passage_id=answer, document_id=answer, **more)  # type: ignore[arg-type]


NEAR = [passage(f"p {degrees}") for degrees in (20, 30, 38, 42, 60, 80)]


def test_candidates_nearer_than_the_margin_allows_are_taken_for_answers_and_counted() -> None:
    # The pair's passage is at 30 degrees: cos 30 = 0.8660, of which 95 % are 0.8227 = cos 34.64. So 20 is too near, and 38 is the first negative.
    mined = mine([pair("q 0", "p 30")], NEAR, embedder=Angles(), spec=MiningSpec(per_pair=2), seed=1)
    assert mined.pairs[0].negatives == ("p 38", "p 42")
    assert (mined.n_too_near, mined.n_without) == (1, 0)


def test_a_margin_of_one_leaves_out_only_what_is_nearer_than_the_answer() -> None:
    mined = mine([pair("q 0", "p 38")], NEAR, embedder=Angles(), spec=MiningSpec(per_pair=9, margin=1.0), seed=1)
    assert mined.pairs[0].negatives == ("p 42", "p 60", "p 80")
    assert mined.n_too_near == 2


def test_a_positive_that_points_away_from_its_query_still_has_a_limit_below_it() -> None:
    # cos 120 = -0.5; 5 % of its size below it is -0.525 = cos 121.7. Multiplying -0.5 by 0.95 would raise the limit above the answer.
    places = [passage(f"p {degrees}") for degrees in (110, 120, 121, 130)]
    mined = mine([pair("q 0", "p 120")], places, embedder=Angles(), spec=MiningSpec(per_pair=3), seed=1)
    assert mined.pairs[0].negatives == ("p 130",)


def test_ranks_are_counted_among_what_is_not_known_to_answer() -> None:
    spec = MiningSpec(per_pair=9, margin=1.0, range_min=1, range_max=3)
    mined = mine([pair("q 0", "p 20")], NEAR, embedder=Angles(), spec=spec, seed=1)
    assert mined.pairs[0].negatives == ("p 38", "p 42"), "of 30, 38, 42 and so on, those at ranks 1 and 2"


def test_a_passage_that_reads_like_the_answer_or_was_judged_relevant_is_no_negative() -> None:
    places = [*NEAR, passage("P  38", passage_id="copy"), passage("p 44", passage_id="judged")]
    known = {"Q 0?": ["judged"]}
    mined = mine([pair("q 0", "p 38")], places, embedder=Angles(), spec=MiningSpec(per_pair=2, margin=1.0), seed=1, relevant=known)
    assert mined.pairs[0].negatives == ("p 42", "p 60")
    without = mine([pair("q 0", "p 38")], places, embedder=Angles(), spec=MiningSpec(per_pair=2, margin=1.0), seed=1)
    assert without.pairs[0].negatives == ("p 42", "p 44"), "the judgment is what kept it out"


def test_what_answers_the_same_query_in_another_pair_is_no_negative() -> None:
    both = [pair("q 0", "p 30"), pair("Q 0", "p 42")]
    mined = mine(both, NEAR, embedder=Angles(), spec=MiningSpec(per_pair=1, margin=1.0), seed=1)
    assert [each.negatives for each in mined.pairs] == [("p 38",), ("p 60",)]


def test_negatives_that_a_pair_has_stay_in_front_and_are_not_taken_twice() -> None:
    had = pair("q 0", "p 20", negatives=("P 38",))
    mined = mine([had], NEAR, embedder=Angles(), spec=MiningSpec(per_pair=2), seed=1)
    assert mined.pairs[0].negatives == ("P 38", "p 30")


def test_a_pair_that_finds_nothing_is_kept_and_counted() -> None:
    mined = mine([pair("q 0", "p 80")], NEAR, embedder=Angles(), spec=MiningSpec(per_pair=1), seed=1)
    assert mined.pairs == (pair("q 0", "p 80"),)
    assert (mined.n_without, mined.n_too_near) == (1, 5)


def test_a_random_draw_keeps_to_the_candidates_and_follows_from_its_seed() -> None:
    spec = MiningSpec(per_pair=2, margin=1.0, sampling="random")
    drawn = {mine([pair("q 0", "p 20")], NEAR, embedder=Angles(), spec=spec, seed=seed).pairs[0].negatives for seed in range(30)}
    assert {text for texts in drawn for text in texts} == {"p 30", "p 38", "p 42", "p 60", "p 80"}
    assert len(drawn) > 5
    again = [mine([pair("q 0", "p 20")], NEAR, embedder=Angles(), spec=spec, seed=3) for _ in range(2)]
    assert again[0] == again[1]


def test_asked_for_none_nothing_is_embedded() -> None:
    mined = mine([pair("no angle", "here")], NEAR, embedder=Angles(), spec=MiningSpec(per_pair=0), seed=1)
    assert (mined.pairs[0].negatives, mined.n_without) == ((), 1)


@pytest.mark.parametrize("n_passages", [50, 700])
def test_many_pairs_get_what_a_sort_of_all_similarities_gives(n_passages: int) -> None:
    rng = np.random.default_rng(n_passages)
    words = [f"w{number}" for number in range(60)]
    texts = [f"{' '.join(rng.choice(words, 8))} n{number}" for number in range(n_passages)]
    places, embedder = [passage(text) for text in texts], HashingEmbedder(model="m", dimension=64)
    pairs = [
        pair(" ".join(rng.choice(texts[number % n_passages].split(), 4)) + f" {number}", texts[number % n_passages])
        for number in range(600)
    ]
    spec = MiningSpec(per_pair=3, margin=0.9, range_max=20)
    mined = mine(pairs, places, embedder=embedder, spec=spec, seed=1)
    matrix = embedder.embed(texts, kind="passage").astype(np.float64)
    asked = embedder.embed([each.query for each in pairs], kind="query").astype(np.float64)
    for place in range(0, 600, 7):
        scores = matrix @ asked[place]
        own = place % n_passages
        order = [number for number in np.argsort(-scores, kind="stable") if number != own][:20]
        allowed = [number for number in order if scores[number] <= scores[own] - abs(scores[own]) * 0.1 + 1e-9]
        expected = sorted((round(float(scores[number]), 5) for number in allowed), reverse=True)[:3]
        found = [round(float(scores[texts.index(text)]), 5) for text in mined.pairs[place].negatives]
        assert found == pytest.approx(expected, abs=2e-5), "equal similarities may come in either order"
