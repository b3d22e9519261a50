"""What must not be trained on: told by ids in the gold set's own corpus, by wording everywhere else."""

import dataclasses

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.pair import Pair
from ragtrial.suite.gold_leaks import GOLD_DOCUMENT_WORDING, GOLD_WORDING, Gold

RELEVANT = "A lost token is replaced at the gate desk against a deposit of twenty EUR, which comes back when the old one is found."
BESIDE = "The gate desk is open from six in the morning until ten at night, and on Sundays a guard at the pedestrian door takes over."
OTHER = "Cranes stop when gusts reach twenty metres a second for one minute, and the pin is put in before anybody leaves the cabin."
TEMPLATE = "A lost badge is replaced at the gate desk against a deposit of twenty EUR, which comes back when the old one is found."


def passage(name: str, document: str, text: str) -> Passage:
    return Passage(passage_id=name, document_id=document, text=text, start=0, end=len(text))


def gold(groups: dict[str, str] | None = None) -> Gold:
    """One query, answered by one of the two passages of the document `tokens`."""
    passages = (
        passage("tokens-0", "tokens", RELEVANT),
        passage("tokens-1", "tokens", BESIDE),
        passage("wind-0", "wind", OTHER),
        passage("badges-0", "badges", TEMPLATE),
    )
    judged = GoldSet(
        name="g",
        queries=(Query(query_id="q1", text="what does the driver pay for a token that he lost", cluster="tokens"),),
        judgments=(Judgment(query_id="q1", target_id="tokens-0", grade=1),),
    )
    return Gold(gold=judged, corpus=Corpus(name="c", passages=passages), groups=groups or {})


def pair(text: str, passage_id: str = "elsewhere", document_id: str = "elsewhere") -> Pair:
    return Pair(query="of what is this", passage=text, passage_id=passage_id, document_id=document_id)


def test_a_near_duplicate_of_a_relevant_passage_is_refused_under_whatever_id_a_file_gives_it() -> None:
    near = RELEVANT.replace("twenty EUR", "25 EUR")
    assert gold().leaks([pair(near)]) == {0: GOLD_WORDING}
    assert gold().leaks([pair(near, "wind-0", "wind")]) == {0: GOLD_WORDING}, "an id of the corpus with another text is no passage of it"
    assert gold().leaks([pair(f"{OTHER} He is called first.")]) == {}


def test_so_is_another_passage_of_a_document_that_answers_a_gold_query() -> None:
    assert gold().leaks([pair(BESIDE, "tokens-1", "tokens")]) == {0: "its document answers a gold query"}
    assert gold().leaks([pair(f"It says so. {BESIDE}", "p17", "file-3")]) == {0: GOLD_DOCUMENT_WORDING}


def test_in_the_gold_sets_own_corpus_ids_tell_so_that_passages_after_one_template_stay() -> None:
    assert gold().leaks([pair(TEMPLATE, "badges-0", "badges")]) == {}
    assert gold().leaks([pair(TEMPLATE)]) == {0: GOLD_WORDING}


def test_the_corpus_says_of_what_document_and_source_a_passage_is_whatever_a_file_says() -> None:
    of_gold = {0: "its document answers a gold query"}
    part = " ".join(RELEVANT.split()[:15])
    assert gold().leaks([pair(BESIDE, "tokens-1", "page-3.pdf")]) == of_gold
    assert gold().leaks([pair(part, "tokens-0", "page-3.pdf")]) == of_gold
    of_one_article = gold({"tokens": "tokens", "wind": "tokens"})
    assert of_one_article.leaks([dataclasses.replace(pair(OTHER, "wind-0", "wind"), source="wind")]) == of_gold
    assert gold().leaks([dataclasses.replace(pair(OTHER, "wind-0", "wind"), source="tokens")]) == of_gold, "made from what a gold query was"
    assert gold().leaks([pair(OTHER, "wind-0", "tokens")]) == {}, "nor is it of a document that answers one because a file says so"


def test_a_sentence_that_many_documents_hold_makes_no_passage_one_of_gold() -> None:
    """Three documents of the corpus end with it: of its eight runs of five words none tells which document a text is of."""
    house = "Please ask the gate desk in person for more information on this."
    passages = (
        passage("tokens-0", "tokens", RELEVANT),
        passage("tokens-1", "tokens", f"{BESIDE} {house}"),
        passage("wind-0", "wind", f"{OTHER} {house}"),
        passage("badges-0", "badges", f"{TEMPLATE} {house}"),
    )
    whole = Gold(gold=gold().gold, corpus=Corpus(name="c", passages=passages))
    clean = f"Boxes leave by rail. {house}"
    assert whole.leaks([pair(clean)]) == {}
    assert whole.leaks([pair(house)]) == {}
    assert not whole.touches(clean)
    assert whole.leaks([pair(f"It says so. {BESIDE} {house}")]) == {0: GOLD_DOCUMENT_WORDING}, "its own words still tell"
    in_two = Gold(gold=gold().gold, corpus=Corpus(name="c", passages=passages[:3]))
    assert in_two.leaks([pair(clean)]) == {0: GOLD_DOCUMENT_WORDING}, "what two documents hold may well be copied from one to the other"
    of_one = dataclasses.replace(whole, groups={"wind": "yard", "badges": "yard"})
    assert of_one.leaks([pair(clean)]) == {0: GOLD_DOCUMENT_WORDING}, "passages that came cut are of one article"


def test_of_what_is_relevant_every_word_counts_also_one_that_many_documents_hold() -> None:
    house = "Please ask the gate desk in person for more information on this."
    passages = tuple(passage(f"{name}-0", name, house if name == "tokens" else f"{OTHER} {house}") for name in ("tokens", "wind", "badges"))
    assert Gold(gold=gold().gold, corpus=Corpus(name="c", passages=passages)).leaks([pair(f"Ask. {house}")]) == {0: GOLD_WORDING}


def test_what_may_be_a_negative_is_neither_relevant_nor_of_a_document_or_article_that_answers_a_query() -> None:
    assert [each.passage_id for each in gold().untouched(gold().corpus.passages)] == ["wind-0", "badges-0"]
    of_one_article = {"tokens": "tokens", "wind": "tokens"}
    assert [each.passage_id for each in gold(of_one_article).untouched(gold().corpus.passages)] == ["badges-0"]
    assert gold(of_one_article).leaks([pair(OTHER, "wind-0", "wind")]) == {0: "its document answers a gold query"}


def test_negatives_of_a_file_are_judged_by_their_text_alone() -> None:
    given = dataclasses.replace(pair("Nothing of that kind."), negatives=(RELEVANT, BESIDE.upper(), TEMPLATE, OTHER, f"Also: {BESIDE}"))
    kept, withheld = gold().without_touched_negatives([given])
    assert (kept[0].negatives, withheld) == ((TEMPLATE, OTHER), 3)
