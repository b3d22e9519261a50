import math

import pytest

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.errors import InputError
from ragtrial.generation.extractive import ExtractiveGenerator

TEXTS = {
    "gate": "# Early trucks\n\nA truck may pass the portal 15 minutes early. The barrier opens by itself.",
    "yard": "Reefer boxes need power within two hours. A reefer rack holds forty boxes.",
    "crane": "The crane driver stops in strong wind. A reefer rack holds forty boxes.",
    "stub": "See below.",
    "glue": "It is what it is and that was all of it.",
}


def passages_of(texts: dict[str, str]) -> dict[str, Passage]:
    return {key: Passage(passage_id=key, document_id=key, text=text, start=0, end=len(text)) for key, text in texts.items()}


PASSAGES = passages_of(TEXTS)


@pytest.fixture(scope="module")
def generator() -> ExtractiveGenerator:
    return ExtractiveGenerator(list(PASSAGES.values()), min_score=0.1)


def ask(generator: ExtractiveGenerator, text: str, *keys: str):
    return generator.generate(Query(query_id="q", text=text), [PASSAGES[key] for key in keys])


def test_the_best_sentence_is_quoted_and_its_passage_cited(generator):
    answer = ask(generator, "How early may a truck pass the portal?", "yard", "gate", "crane")
    assert (answer.text, answer.cited, answer.finish_reason) == ("A truck may pass the portal 15 minutes early.", ("gate",), "stop")
    assert answer.generator == "extractive/1"


def test_only_the_passages_given_are_quoted(generator):
    assert ask(generator, "How early may a truck pass the portal?", "yard", "crane").finish_reason == "abstained"


def test_a_heading_is_never_the_answer(generator):
    assert ask(generator, "early trucks", "gate").text == "A truck may pass the portal 15 minutes early."


@pytest.mark.parametrize(("order", "cited"), [(("yard", "crane"), "yard"), (("crane", "yard"), "crane")])
def test_of_equal_sentences_the_one_of_the_earlier_passage_wins(generator, order, cited):
    answer = ask(generator, "how many boxes does a rack hold, forty?", *order)
    assert (answer.text, answer.cited) == ("A reefer rack holds forty boxes.", (cited,))


def test_of_equal_sentences_in_one_passage_the_earlier_wins():
    twice = passages_of({"p": "The red lamp is broken. The red flag is broken. Blue is another colour."})
    generator = ExtractiveGenerator(list(twice.values()), min_score=0)
    assert generator.generate(Query(query_id="q", text="red"), list(twice.values())).text == "The red lamp is broken."


@pytest.mark.parametrize("text", ["unheard-of vocabulary", "what is it and the", "?", "x"])
def test_no_term_of_the_query_in_any_sentence_is_an_abstention(generator, text):
    answer = ask(generator, text, "gate", "yard")
    assert (answer.text, answer.cited, answer.finish_reason) == ("", (), "abstained")


def test_no_passages_and_passages_without_sentences_are_abstentions(generator):
    assert ask(generator, "truck").finish_reason == "abstained"
    assert ask(generator, "see below", "stub").finish_reason == "abstained"


def test_a_score_is_lucenes_bm25_over_all_sentences_of_the_corpus():
    # Two sentences of 4 and 2 terms ("the" is a stop word): N = 2, average length 3. "crane" stands in one of them, once:
    # idf = ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) = ln 2; tf part = 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * 4 / 3)).
    two = passages_of({"a": "The crane lifts heavy boxes.", "b": "The wind blows."})
    score = math.log(2) / (1 + 1.2 * (0.25 + 0.75 * 4 / 3))
    query = Query(query_id="q", text="crane")
    below, above = (ExtractiveGenerator(list(two.values()), min_score=score + step) for step in (-1e-6, 1e-6))
    assert below.generate(query, list(two.values())).text == "The crane lifts heavy boxes."
    assert above.generate(query, list(two.values())).finish_reason == "abstained"


def test_what_else_is_retrieved_never_changes_a_sentences_score():
    # The scorer is fitted on the corpus: a sentence that clears the threshold alone clears it in any company.
    generator = ExtractiveGenerator(list(PASSAGES.values()), min_score=0.5)
    alone = ask(generator, "reefer power", "yard")
    assert ask(generator, "reefer power", "gate", "yard", "crane", "glue") == alone
    assert alone.text == "Reefer boxes need power within two hours."


def test_a_corpus_without_a_single_term_only_ever_abstains():
    empty = passages_of({"a": "See below.", "b": "It is at the."})
    generator = ExtractiveGenerator(list(empty.values()), min_score=0)
    assert generator.generate(Query(query_id="q", text="see it"), list(empty.values())).finish_reason == "abstained"
    assert ExtractiveGenerator([], min_score=0).generate(Query(query_id="q", text="see it"), []).finish_reason == "abstained"


def test_a_passage_of_another_corpus_is_an_error_that_names_it(generator):
    foreign = Passage(passage_id="foreign", document_id="foreign", text="A truck may pass.", start=0, end=17)
    with pytest.raises(InputError, match="'foreign' is not of the 5 passages"):
        generator.generate(Query(query_id="q", text="truck"), [foreign])


@pytest.mark.parametrize("min_score", [-0.1, math.nan, math.inf])
def test_a_threshold_that_is_no_threshold_is_refused(min_score):
    with pytest.raises(ValueError, match="min_score"):
        ExtractiveGenerator([], min_score=min_score)


def test_the_settings_change_with_whatever_changes_the_answers():
    base = dict(ExtractiveGenerator(list(PASSAGES.values()), min_score=1).settings)
    assert base == dict(ExtractiveGenerator(list(PASSAGES.values()), min_score=1.0).settings)
    assert base != dict(ExtractiveGenerator(list(PASSAGES.values()), min_score=2.0).settings)
    assert base != dict(ExtractiveGenerator(list(PASSAGES.values())[:-1], min_score=1.0).settings)
    changed = [*list(PASSAGES.values())[:-1], *passages_of({"glue": "Something else stands here."}).values()]
    assert base != dict(ExtractiveGenerator(changed, min_score=1.0).settings)


def test_it_is_deterministic(generator):
    answers = {ask(generator, "how many boxes need power", "yard", "crane", "gate").text for _ in range(5)}
    assert len(answers) == 1
