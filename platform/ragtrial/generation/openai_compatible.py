"""Answers by an LLM behind any server that speaks OpenAI's protocol: OpenAI, Azure, vLLM, Ollama, llama.cpp."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ragtrial.contracts import Reading
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer, Usage
from ragtrial.errors import CallError
from ragtrial.llm.chat import CallFailure, ChatRequest, Completion, Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prompt import Prompt
from ragtrial.llm.structured import json_object, keepable, without_thoughts

PLACES = ("passages", "query")

_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "description": "The answer; empty where it abstains."},
        "citations": {"type": "array", "items": {"type": "integer"}, "description": "Numbers of the passages that the answer rests on."},
        "abstained": {"type": "boolean", "description": "True where the passages do not hold the answer."},
    },
    "required": ["answer", "citations", "abstained"],
    "additionalProperties": False,
}
_CITATION = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
_BEGINS_AS_JSON = re.compile(r"(?:```\w*\s*)?\{")
_NO_ANSWER = re.compile(r"\W*no answer\W*", re.IGNORECASE)


class OpenAICompatibleGenerator:
    """Reads numbered passages, answers with citations, or abstains.

    Args:
        gate: What every call goes through.
        endpoint: Server and model.
        sampling: Temperature, seed, length.
        prompt: With the places `passages` and `query`.
    """

    def __init__(self, *, gate: Gate, endpoint: Endpoint, sampling: Sampling, prompt: Prompt) -> None:
        self._gate, self._endpoint, self._sampling, self._prompt = gate, endpoint, sampling, prompt
        self.version = f"openai-compatible/1 {endpoint.model} {prompt.version}"

    @property
    def settings(self) -> Mapping[str, str]:
        """Everything that changes its answers."""
        sampling = self._sampling
        return {
            "model": self._endpoint.model,
            "base_url": self._endpoint.base_url,
            "prompt": self._prompt.version,
            "temperature": str(sampling.temperature),
            "seed": str(sampling.seed),
            "max_tokens": str(sampling.max_tokens),
            "stop": repr(list(sampling.stop)),
            "response_format": self._endpoint.response_format,
        }

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """See `contracts.Generator`.

        Raises:
            CallError: The call failed for good.
        """
        answer = self.generate_many([(query, passages)])[0]
        if isinstance(answer, CallError):
            raise answer
        return answer

    def generate_many(self, readings: Sequence[Reading], *, repetition: int = 0) -> tuple[Answer | CallError, ...]:
        """See `contracts.ManyAtOnce`; without passages there is nothing to ask, and it abstains."""
        asked = [self.request(query, passages, repetition=repetition) if passages else None for query, passages in readings]
        outcomes = iter(self._gate.complete([request for request in asked if request is not None], accept=_parsed))
        return tuple(
            Answer(text="", finish_reason="abstained", generator=self.version)
            if request is None
            else self._answer(next(outcomes), reading[1])
            for request, reading in zip(asked, readings, strict=True)
        )

    def request(self, query: Query, passages: Sequence[Passage], *, repetition: int = 0) -> ChatRequest:
        """What is asked."""
        numbered = "\n\n".join(f"[{number}] {passage.content}" for number, passage in enumerate(passages, 1))
        return ChatRequest(
            endpoint=self._endpoint,
            system=self._prompt.system,
            user=self._prompt.fill({"passages": numbered, "query": query.text}),
            prompt=self._prompt.version,
            sampling=self._sampling,
            schema=_SCHEMA,
            repetition=repetition,
        )

    def _answer(self, outcome: Completion | CallFailure, passages: Sequence[Passage]) -> Answer | CallError:
        if isinstance(outcome, CallFailure):
            return CallError(outcome.kind, outcome.message)
        text, numbers = _parsed(outcome.text)
        cited = tuple(dict.fromkeys(passages[number - 1].passage_id for number in numbers if 1 <= number <= len(passages)))
        usage = Usage(
            prompt_tokens=outcome.prompt_tokens,
            cached_tokens=outcome.cached_tokens,
            completion_tokens=outcome.completion_tokens,
            cost_usd=outcome.cost_usd,
        )
        return Answer(
            text=text,
            cited=cited if text else (),
            finish_reason="stop" if text else "abstained",
            generator=self.version,
            usage=usage,
            generate_ms=outcome.elapsed_ms,
            made_at=outcome.made_at,
        )


def _parsed(text: str) -> tuple[str, tuple[int, ...]]:
    """Answer and cited numbers; an empty answer is an abstention.

    Raises:
        ValueError: It looks like JSON and isn't what was asked for, or it is empty without abstaining.
    """
    found, text = json_object(text), without_thoughts(text).strip()
    if found is None or "answer" not in found:
        if _BEGINS_AS_JSON.match(text):
            raise ValueError(f"an answer that begins as JSON and is not what was asked for: {text[:80]!r}")
        if not text:
            raise ValueError("thoughts without an answer")
        return _plain(text)
    answer, citations = found["answer"], found.get("citations") or []
    if found.get("abstained") is True:
        return "", ()
    if not isinstance(answer, str) or not isinstance(citations, list):
        raise ValueError(f"JSON without an answer and its citations: {text[:80]!r}")  # noqa: TRY004  # of the text, not of our types
    plain, marks = _plain(answer)
    if not plain and not _NO_ANSWER.fullmatch(answer):
        raise ValueError("an empty answer that does not abstain")
    numbers = tuple(_number(each) for each in citations) if plain else ()
    return plain, (*(number for number in numbers if number is not None), *marks)


def _number(citation: object) -> int | None:
    """The number of a passage, be it written `2`, `2.0`, `"2"` or `"[2]"`."""
    if isinstance(citation, float):
        return int(citation) if citation.is_integer() else None
    bare = str(citation).strip("[] ")
    return int(bare) if bare.isdecimal() else None


def _plain(text: str) -> tuple[str, tuple[int, ...]]:
    """The answer without its citation marks and what no database takes, and their numbers."""
    text = keepable(text)
    if _NO_ANSWER.fullmatch(text):
        return "", ()
    numbers = tuple(int(number) for marks in _CITATION.findall(text) for number in marks.split(","))
    return _CITATION.sub("", text).strip(), numbers
