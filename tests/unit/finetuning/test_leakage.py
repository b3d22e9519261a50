"""What a model is tested on never gets into its training."""

import random

import pytest

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import (
    GOLD_DOCUMENT,
    GOLD_PASSAGE,
    GOLD_QUERY,
    NEAR_GOLD_QUERY,
    find_leaks,
    near_duplicates,
    normalise,
    text_digest,
)


def passage(passage_id: str, text: str, *, title: str = "", document_id: str | None = None) -> Passage:
    return Passage(passage_id=passage_id, document_id=document_id or passage_id, title=title, text=text, start=0, end=len(text))


CORPUS = Corpus(
    name="test",
    passages=(
        passage("p1", "Reefers need power within two hours.", title="Reefers", document_id="d1"),
        passage("p2", "A rack holds forty boxes.", title="Reefers", document_id="d1"),
        passage("p3", "The gate opens at six.", document_id="d2"),
        passage("p4", "Cranes stop at wind force nine.", document_id="d3"),
    ),
)
GOLD = GoldSet(
    name="test",
    queries=(
        Query(query_id="q1", text="How soon does a reefer need power?", cluster="d1"),
        Query(query_id="q2", text="What are the outward signs, effects and usual treatments of a block type 1 stack collapse?"),
    ),
    judgments=(Judgment(query_id="q1", target_id="p1", grade=2), Judgment(query_id="q1", target_id="p3", grade=0)),
)


def pair(query: str, text: str = "Something else.", *, passage_id: str = "x", document_id: str = "x", source: str | None = None) -> Pair:
    return Pair(query=query, passage=text, passage_id=passage_id, document_id=document_id, source=source)


def reason(found: Pair) -> str | None:
    return find_leaks([found], gold=GOLD, corpus=CORPUS).reasons.get(0)


@pytest.mark.parametrize(
    "query", ["How soon does a reefer need power?", "how soon does a REEFER need power", "  How soon -- does a\nreefer need power ?!"]
)
def test_a_gold_query_is_refused_however_it_is_written(query: str) -> None:
    assert reason(pair(query)) == GOLD_QUERY


@pytest.mark.parametrize(
    "query",
    [
        "Need a reefer power? How soon does",
        "of a block type 1 stack collapse, what are the outward signs, effects and usual treatments?",
        "What are the outward signs, effects and usual treatments of block type 1 stack collapse?",
    ],
)
def test_a_gold_query_in_another_order_or_with_one_word_of_many_left_out_is_refused(query: str) -> None:
    assert reason(pair(query)) == NEAR_GOLD_QUERY


@pytest.mark.parametrize(
    "query",
    [
        "How late does a reefer need power?",
        "What are the outward signs, effects and usual treatments of a block type 2 stack collapse?",
        "How soon does a reefer need?",
        "?",
    ],
)
def test_a_question_from_the_same_template_is_not_a_gold_query(query: str) -> None:
    assert reason(pair(query)) is None


@pytest.mark.parametrize(
    "text",
    ["Reefers Reefers need power within two hours.", "reefers need POWER -- within two hours", "Reefers need power within two hours."],
)
def test_a_relevant_passage_is_refused_by_its_text_with_or_without_its_title(text: str) -> None:
    assert reason(pair("another question", text)) == GOLD_PASSAGE


def test_a_passage_judged_not_relevant_may_be_trained_on() -> None:
    assert reason(pair("when does the gate open", "The gate opens at six.", passage_id="p3", document_id="d2")) is None


def test_another_passage_of_a_document_that_answers_a_gold_query_is_refused() -> None:
    assert reason(pair("boxes in a rack", "Reefers A rack holds forty boxes.", passage_id="p2", document_id="d1")) == GOLD_DOCUMENT


def test_a_query_made_from_the_source_of_a_gold_query_is_refused() -> None:
    found = pair("which wind stops cranes", "Cranes stop at wind force nine.", passage_id="p4", document_id="d3", source="d1")
    assert reason(found) == GOLD_DOCUMENT


def test_ids_of_another_corpus_mean_nothing() -> None:
    assert reason(pair("boxes in a rack", "Other words under the same id.", passage_id="p2", document_id="d1", source="d1")) is None


def test_the_document_of_a_passage_is_the_one_it_has_in_the_corpus() -> None:
    assert reason(pair("boxes in a rack", "A rack holds forty boxes.", passage_id="p2", document_id="page-3.pdf")) == GOLD_DOCUMENT
    assert reason(pair("wind and cranes", "Cranes stop at wind force nine.", passage_id="p4", document_id="d1")) is None


def test_refused_pairs_are_counted_by_reason() -> None:
    pairs = [pair("How soon does a reefer need power?"), pair("fine"), pair("HOW SOON does a reefer need power")]
    leaks = find_leaks(pairs, gold=GOLD, corpus=CORPUS)
    assert list(leaks.reasons) == [0, 2]
    assert leaks.counts() == {GOLD_QUERY: 2}
    assert find_leaks([], gold=GOLD, corpus=CORPUS).counts() == {}


def test_normalised_text_is_words_without_case_form_and_punctuation() -> None:
    assert normalise("  Ｆull-width  ﬁt, STRASSE & Straße!") == "full width fit strasse strasse"  # noqa: RUF001 - full-width on purpose
    assert text_digest("Slot 12?") == text_digest("slot 12") != text_digest("slot 13")
    assert text_digest("???") != text_digest("!!!")


def test_the_index_of_near_duplicates_misses_none() -> None:
    """Against comparing each with each: multiset Jaccard of at least 0.9 and the same numbers, on random bags of few words."""
    from collections import Counter

    rng = random.Random(1)
    words = [*"abcdefgh", "1", "2"]
    gold = [" ".join(rng.choices(words, k=rng.randint(1, 24))) for _ in range(150)]
    train = [" ".join(rng.sample(text.split(), len(text.split())) + rng.choices(words, k=rng.randint(0, 2))) for text in gold * 4]

    def near(one: str, other: str) -> bool:
        a, b = Counter(one.split()), Counter(other.split())
        same_numbers = {w for w in a if w in "12"} == {w for w in b if w in "12"}
        return same_numbers and sum((a & b).values()) / sum((a | b).values()) >= 0.9

    expected = {i for i, query in enumerate(train) if query in gold or any(near(query, other) for other in gold)}
    gold_set = GoldSet(name="g", queries=tuple(Query(query_id=str(i), text=text) for i, text in enumerate(gold)), judgments=())
    found = find_leaks([pair(query) for query in train], gold=gold_set, corpus=CORPUS)
    assert set(found.reasons) == expected
    assert 100 < len(expected) < len(train)


def test_a_part_of_a_passage_counts_as_the_passage_for_its_document() -> None:
    part = Pair(query="how many boxes hang there", passage="holds forty boxes.\n", passage_id="p2", document_id="d1")
    elsewhere = Pair(query="how many boxes hang there", passage="of another corpus", passage_id="p2", document_id="d1")
    assert find_leaks([part, elsewhere], gold=GOLD, corpus=CORPUS).reasons == {0: GOLD_DOCUMENT}


def test_of_texts_that_are_nearly_alike_the_first_stays() -> None:
    long = "what are the outward signs and the usual treatments of a stack collapse in block"
    texts = [f"{long} 1", "something else", f"{long.upper()} 1?", f"{long} 2", "Something  else"]
    assert near_duplicates(texts) == {2, 4}, "another number is another query"
