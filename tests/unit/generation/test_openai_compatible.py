"""Answers by an LLM: what is asked, what is read out of its words, and what becomes of failures."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer, Usage
from ragtrial.errors import CallError
from ragtrial.generation.openai_compatible import OpenAICompatibleGenerator
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prompt import Prompt, bundled_prompt
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import COST, MODEL, about, quick

PASSAGES = [
    Passage(passage_id=key, document_id=key, title="Rules", text=text, start=0, end=len(text))
    for key, text in {"gate": "A truck may pass 15 minutes early.", "rack": "A rack holds {{query}} forty boxes."}.items()
]
QUERY = Query(query_id="q", text="How early may a truck pass?")
PROMPT = bundled_prompt("ragtrial.generation", "answer-1")


@pytest.fixture
def gate() -> Iterator[Gate]:
    with quick(attempts=2) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm() as running:
        yield running


def generator_of(gate: Gate, server: ScriptedLlm, **more: Any) -> OpenAICompatibleGenerator:
    settings: dict[str, Any] = {"sampling": Sampling(), "prompt": PROMPT, **more}
    return OpenAICompatibleGenerator(gate=gate, endpoint=Endpoint(base_url=server.url, model=MODEL), **settings)


def said(answer: str, citations: object = (1,), abstained: object = False) -> str:
    return json.dumps({"answer": answer, "citations": citations, "abstained": abstained})


def test_the_model_sees_numbered_passages_and_the_question_as_they_are(gate: Gate, server: ScriptedLlm):
    generator_of(gate, server).generate(QUERY, PASSAGES)
    (asked,) = server.requests
    material = user_text(asked)
    first, second = (f"[{number}] {passage.content}" for number, passage in enumerate(PASSAGES, 1))
    assert material.index(first) < material.index(second) < material.index("Question: How early may a truck pass?")
    assert asked["messages"][0]["content"] == PROMPT.system
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["answer", "citations", "abstained"]


READINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "structured": (said("15 minutes.", [1]), "15 minutes.", ("gate",)),
    "fenced": (f"```json\n{said('15 minutes.', [1])}\n```", "15 minutes.", ("gate",)),
    "with words": (f"Here: {said('15 minutes.', [1])}", "15 minutes.", ("gate",)),
    "behind thoughts": (f"<think>{said('forty', [2])}?</think>{said('15 minutes.', [1])}", "15 minutes.", ("gate",)),
    "numbers as text": (said("15 minutes.", ["[2]", "1", 1.0, None, True, "x", 1.5]), "15 minutes.", ("rack", "gate")),
    "no citations": ('{"answer": "15 minutes.", "citations": null}', "15 minutes.", ()),
    "marks in the answer": (said("15 minutes [1], or so [2].", []), "15 minutes, or so.", ("gate", "rack")),
    "numbers that are not there": (said("15 minutes.", [0, 3, 99, -1, 1]), "15 minutes.", ("gate",)),
    "cited twice": (said("15 minutes.", [2, 1, 2]), "15 minutes.", ("rack", "gate")),
    "plain": ("15 minutes [1][2].", "15 minutes.", ("gate", "rack")),
    "plain, several in one": ("15 minutes [2, 1].", "15 minutes.", ("rack", "gate")),
    "plain with an object of its own": ('Send {"early": 15} [1].', 'Send {"early": 15}.', ("gate",)),
    "plain that is code": ("```\npass(15)\n``` [1]", "```\npass(15)\n```", ("gate",)),
    "half a surrogate pair": ('{"answer": "15 \\ud83d minutes", "citations": [1], "abstained": false}', "15 \ufffd minutes", ("gate",)),
    "a control character": ('{"answer": "15\\u0000minutes", "citations": [1], "abstained": false}', "15 minutes", ("gate",)),
    "abstained": (said("", [], True), "", ()),
    "abstained with null": ('{"answer": null, "citations": [], "abstained": true}', "", ()),
    "abstained in spite of words": (said("I do not know", [1], True), "", ()),
    "no answer as the answer": (said("NO ANSWER", [1]), "", ()),
    "no answer": ("NO ANSWER", "", ()),
    "no answer, adorned": ("**No answer.**", "", ()),
}


@pytest.mark.parametrize("name", READINGS)
def test_answers_are_read_as_models_write_them(gate: Gate, server: ScriptedLlm, name: str):
    text, answer, cited = READINGS[name]
    server.script = lambda _asked, _number: Reply(text=text)
    found = generator_of(gate, server).generate(QUERY, PASSAGES)
    assert (found.text, found.cited) == (answer, cited)
    assert found.finish_reason == ("stop" if answer else "abstained")
    assert found.usage == Usage(prompt_tokens=100, cached_tokens=None, completion_tokens=10, cost_usd=pytest.approx(COST))


UNREADABLE = [
    said("", [1]),
    said("\0", [1]),
    said(" [1] ", []),
    '{"answer": "cut',
    '```json\n{"answer": "cut',
    '{"answer": 5, "citations": [], "abstained": false}',
    '{"answer": "x", "citations": "1", "abstained": false}',
    '{"reply": "15 minutes"}',
    "<think>and so on",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_can_not_be_read_is_malformed_and_no_answer(server: ScriptedLlm, tmp_path: Any, text: str):
    server.script = lambda _asked, _number: Reply(text=text)
    with CallCache(tmp_path) as cache, quick(cache) as gate:
        with pytest.raises(CallError) as failure:
            generator_of(gate, server).generate(QUERY, PASSAGES)
        assert failure.value.kind == "malformed"
        assert gate.spending.failed == {"malformed": 1}
        assert gate.spending.cost_usd == pytest.approx(COST)
        assert list(cache.entries()) == []


def test_without_passages_it_abstains_and_asks_nobody(gate: Gate, server: ScriptedLlm):
    answer = generator_of(gate, server).generate(QUERY, [])
    assert (answer.finish_reason, answer.text, answer.usage) == ("abstained", "", Usage())
    assert server.requests == []


def test_of_many_each_has_its_answer_or_its_failure_in_its_place(gate: Gate, server: ScriptedLlm):
    server.script = lambda asked, _number: (
        Reply(status=400) if "query 2" in user_text(asked) else Reply(text=said(user_text(asked).split("Question: ")[1], [2]))
    )
    readings = [(Query(query_id=f"q{n}", text=f"query {n}"), [] if n == 1 else PASSAGES) for n in range(5)]
    answers = generator_of(gate, server).generate_many(readings)
    assert [answer.text if isinstance(answer, Answer) else answer.kind for answer in answers] == [
        "query 0",
        "",
        "bad_request",
        "query 3",
        "query 4",
    ]


def test_arms_that_retrieved_the_same_passages_in_the_same_order_pay_once(gate: Gate, server: ScriptedLlm):
    generator = generator_of(gate, server)
    both = generator.generate_many([(QUERY, PASSAGES), (QUERY, list(PASSAGES)), (QUERY, PASSAGES[::-1])])
    assert len(server.requests) == 2
    assert both[0] == both[1]


def test_repetitions_are_asked_anew(gate: Gate, server: ScriptedLlm):
    server.script = lambda _asked, number: Reply(text=f"try {number} [1]")
    generator = generator_of(gate, server)
    texts = {generator.generate_many([(QUERY, PASSAGES)], repetition=n)[0].text for n in range(3)}  # type: ignore[union-attr]
    assert texts == {"try 0", "try 1", "try 2"}


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"sampling": Sampling(temperature=0.7)}, "temperature"),
        ({"sampling": Sampling(seed=3)}, "seed"),
        ({"sampling": Sampling(max_tokens=9)}, "max_tokens"),
        ({"sampling": Sampling(stop=("END",))}, "stop"),
        ({"prompt": Prompt(name="answer-1", system="Other.", template=PROMPT.template)}, "prompt"),
    ],
)
def test_whatever_shapes_the_answer_is_in_its_settings(gate: Gate, server: ScriptedLlm, change: dict[str, Any], setting: str):
    before, after = generator_of(gate, server).settings, generator_of(gate, server, **change).settings
    assert {name for name in before if before[name] != after[name]} == {setting}


def test_a_refusal_and_a_cut_answer_are_failures_with_their_class(gate: Gate, server: ScriptedLlm):
    for reply, kind in ((Reply(refusal="no"), "refused"), (Reply(finish_reason="length"), "truncated")):
        server.script = about("never", Reply(), reply)
        (failure,) = generator_of(gate, server).generate_many([(QUERY, PASSAGES)])
        assert isinstance(failure, CallError)
        assert failure.kind == kind
