"""What every generator keeps. A new generator is added to `GENERATORS`."""

from collections.abc import Callable, Sequence

import pytest

from ragtrial.contracts import Generator
from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import Query
from ragtrial.generation.extractive import ExtractiveGenerator

TEXTS = {
    "gate": "A truck may pass the portal 15 minutes early. The barrier opens by itself.",
    "yard": "Reefer boxes need power within two hours.\n\n- a rack holds forty boxes\n- each plug has a number",
    "title": "# Only a heading",
    "short": "See below.",
    "odd": "\u200b\u00ad Ünïcödé — 四十箱 🙂 stands here too.",
}
PASSAGES = {key: Passage(passage_id=key, document_id=key, title=key, text=text, start=0, end=len(text)) for key, text in TEXTS.items()}

GENERATORS: dict[str, Callable[[Sequence[Passage]], Generator]] = {
    "extractive": lambda passages: ExtractiveGenerator(passages, min_score=0.1),
}

QUESTIONS = ("How early may a truck pass the portal?", "how many boxes", "nothing of the kind", "?", "is it the", "四十箱", "a" * 5000)
CONTEXTS = (("gate", "yard", "title", "short", "odd"), ("yard",), ("title",), ("short", "odd"), ())


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> Generator:
    return GENERATORS[request.param](list(PASSAGES.values()))


def query_of(text: str) -> Query:
    return Query(query_id="q", text=text)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("text", QUESTIONS)
def test_an_answer_cites_passages_that_it_was_given_or_abstains(generator: Generator, text: str, context: tuple[str, ...]):
    answer = generator.generate(query_of(text), [PASSAGES[key] for key in context])
    assert answer.generator == generator.version
    if answer.finish_reason == "abstained":
        assert (answer.text, answer.cited) == ("", ())
    else:
        assert answer.cited
        assert set(answer.cited) <= set(context)


def test_no_passages_is_an_abstention(generator: Generator):
    assert generator.generate(query_of("How early may a truck pass the portal?"), []).finish_reason == "abstained"


def test_a_plain_question_about_a_given_passage_is_answered(generator: Generator):
    answer = generator.generate(query_of("How early may a truck pass the portal?"), [PASSAGES["yard"], PASSAGES["gate"]])
    assert "15 minutes" in answer.text
    assert "gate" in answer.cited


def test_the_same_version_and_settings_give_the_same_answer(generator: Generator, request: pytest.FixtureRequest):
    twin = GENERATORS[request.node.callspec.params["generator"]](list(PASSAGES.values()))
    assert (twin.version, dict(twin.settings)) == (generator.version, dict(generator.settings))
    for text in QUESTIONS:
        for context in CONTEXTS:
            given = [PASSAGES[key] for key in context]
            assert twin.generate(query_of(text), given) == generator.generate(query_of(text), given)


def test_an_answer_depends_on_nothing_that_was_asked_before(generator: Generator):
    given = list(PASSAGES.values())
    first = generator.generate(query_of(QUESTIONS[0]), given)
    for text in QUESTIONS:
        generator.generate(query_of(text), given)
    assert generator.generate(query_of(QUESTIONS[0]), given) == first


def test_reference_answers_and_tags_of_the_query_are_not_looked_at(generator: Generator):
    plain = query_of("how many boxes")
    telling = Query(query_id="other", text=plain.text, answers=("The barrier opens by itself.",), tags={"topic": "gate"}, cluster="gate")
    given = list(PASSAGES.values())
    assert generator.generate(plain, given) == generator.generate(telling, given)


def test_it_names_its_version_and_settings_for_the_parity_certificate(generator: Generator):
    name, _, number = generator.version.partition("/")
    assert name
    assert number
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in generator.settings.items())
    digest(dict(generator.settings))
