"""Judgments become training pairs."""

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.finetuning.pairs import pairs_digest, training_pairs

CORPUS = Corpus(
    name="train",
    passages=tuple(
        Passage(passage_id=f"d{number}#0", document_id=f"d{number}", title=title, text=f"text {number}", start=0, end=6)
        for number, title in enumerate(["Reefers", "", "Gate"])
    ),
)
GOLD = GoldSet(
    name="train",
    queries=(
        Query(query_id="q1", text="first", cluster="d0"),
        Query(query_id="q2", text="second"),
        Query(query_id="q3", text="nothing relevant"),
    ),
    judgments=(
        Judgment(query_id="q2", target_id="d2#0", grade=1),
        Judgment(query_id="q1", target_id="d1#0", grade=1),
        Judgment(query_id="q1", target_id="d0#0", grade=2),
        Judgment(query_id="q1", target_id="d2#0", grade=0),
        Judgment(query_id="q3", target_id="d2#0", grade=0),
    ),
)


def test_every_relevant_judgment_is_a_pair_with_the_title_before_the_text() -> None:
    pairs = training_pairs(CORPUS, GOLD)
    assert [(pair.query, pair.passage) for pair in pairs] == [("first", "text 1"), ("first", "Reefers text 0"), ("second", "Gate text 2")]
    assert [pair.document_id for pair in pairs] == ["d1", "d0", "d2"]
    assert [pair.source for pair in pairs] == ["d0", "d0", None]


def test_the_digest_is_of_the_texts_in_their_order() -> None:
    pairs = training_pairs(CORPUS, GOLD)
    assert pairs_digest(pairs) == pairs_digest(training_pairs(CORPUS, GOLD))
    assert pairs_digest(pairs) != pairs_digest(pairs[::-1])
    assert pairs_digest(pairs) != pairs_digest(pairs[:2])
