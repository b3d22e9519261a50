"""What every generator keeps, kept by the LLM generator; the model is a scripted one that quotes the passage that shares most words."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from conformance import test_generator as suite
from conformance.test_generator import (  # noqa: F401  # collected here too, with this module's generator
    test_a_plain_question_about_a_given_passage_is_answered,
    test_an_answer_cites_passages_that_it_was_given_or_abstains,
    test_an_answer_depends_on_nothing_that_was_asked_before,
    test_it_names_its_version_and_settings_for_the_parity_certificate,
    test_no_passages_is_an_abstention,
    test_reference_answers_and_tags_of_the_query_are_not_looked_at,
    test_the_same_version_and_settings_give_the_same_answer,
)
from ragtrial.contracts import Generator
from ragtrial.generation.openai_compatible import OpenAICompatibleGenerator
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.llm.prompt import bundled_prompt
from scripted_llm import Reply, ScriptedLlm, user_text


def quoting(asked: dict[str, Any], _number: int) -> Reply:
    """A model that quotes the passage that shares most words with the question, and abstains where none shares two."""
    passages, _, question = user_text(asked).partition("\n\nQuestion: ")
    texts = re.split(r"\[\d+\] ", passages)[1:]
    words = set(re.findall(r"\w+", question.lower()))
    shared = [len(words & set(re.findall(r"\w+", text.lower()))) for text in texts]
    best = max(range(len(texts)), key=shared.__getitem__)
    found = {"answer": texts[best].strip(), "citations": [best + 1], "abstained": False}
    return Reply(text=json.dumps(found if shared[best] > 1 else {"answer": "", "citations": [], "abstained": True}))


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """With a cache: the same question gives the same answer, the time that it took among it."""
    limits = Limits(attempts=2, backoff_s=0.01, timeout_s=10)
    with (
        ScriptedLlm(quoting) as server,
        CallCache(tmp_path_factory.mktemp("calls")) as cache,
        Gate(limits, prices=read_prices(), cache=cache) as gate,
    ):
        endpoint = Endpoint(base_url=server.url, model="scripted")
        yield OpenAICompatibleGenerator(
            gate=gate, endpoint=endpoint, sampling=Sampling(), prompt=bundled_prompt("ragtrial.generation", "answer-1")
        )


@pytest.fixture(params=["openai-compatible"])
def generator(request: pytest.FixtureRequest, llm: Generator, monkeypatch: pytest.MonkeyPatch) -> Generator:
    monkeypatch.setitem(suite.GENERATORS, request.param, lambda _passages: llm)
    return llm
