"""Documents that a gold set was made from are found by what they say."""

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.preparation.documents import Kept
from ragtrial.suite.data_gold import ASKS_QUERY, HOLDS_PASSAGE, HOLDS_QUERY, GoldTexts

RELEVANT = "A lost token is replaced at the gate desk against a deposit of twenty EUR, which comes back when the old one is found."
OTHER = "Cranes stop when gusts reach twenty metres a second for one minute, and the pin is put in before anybody leaves the cabin."


def gold_texts() -> GoldTexts:
    passages = [
        Passage(passage_id=name, document_id=name, text=text, start=0, end=len(text)) for name, text in (("r", RELEVANT), ("o", OTHER))
    ]
    queries = (Query(query_id="q1", text="Lost tokens?"), Query(query_id="q2", text="what does the driver pay for a token that he lost"))
    judgments = tuple(Judgment(query_id=query.query_id, target_id="r", grade=1) for query in queries)
    corpus = Corpus(name="c", passages=tuple(passages))
    return GoldTexts(gold=GoldSet(name="g", queries=queries, judgments=judgments), corpus=corpus)


def found(text: str, title: str = "") -> str | None:
    document = Kept(document_id="d", source="d", title=title, text=text, format="text", language="en", encoding="utf-8")
    return gold_texts().found_in([document]).get(0)


def test_a_document_that_holds_half_of_a_relevant_passage_or_is_a_part_of_one_is_found() -> None:
    filler = " ".join(f"word{number}" for number in range(300))
    assert found(f"{filler} {RELEVANT} {filler}") == HOLDS_PASSAGE
    assert found(" ".join(RELEVANT.split()[:12])) == HOLDS_PASSAGE
    assert found(f"{filler} {' '.join(RELEVANT.split()[:8])} {filler}") is None  # 4 of its 20 runs
    assert found(OTHER) is None, "a passage that answers no gold query may be trained on"


def test_a_long_query_is_found_within_a_text_and_a_short_one_as_title_heading_or_question_only() -> None:
    assert found("He asked what does the driver pay for a token that he lost and went.") == HOLDS_QUERY
    assert found("Some text of the yard that says little.", title="Lost tokens") == ASKS_QUERY
    assert found("Some text.\n## Lost tokens\nOf the yard.") == ASKS_QUERY
    assert found("Some text. Lost tokens? They are gone.") == ASKS_QUERY
    assert found("There are lost tokens in many yards.") is None
    assert gold_texts().unchecked == 1
