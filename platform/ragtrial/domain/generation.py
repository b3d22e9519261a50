"""How answers are made and judged: what an experiment file says of LLMs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.addresses import why_refused
from ragtrial.domain.described import STRICT, described
from ragtrial.domain.metric import metric_named

ResponseFormat = Literal["auto", "json_schema", "json_object", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpec:
    """How the answer is made from the passages."""

    __pydantic_config__ = STRICT

    provider: str = described(
        "extractive (no LLM: BM25 over the whole corpus picks a sentence of the passages), openai-compatible (an LLM behind any server "
        "that speaks OpenAI's protocol), none (retrieval only), pipeline (the arm's own retrieval.retriever is a chain or query engine that "
        "answers), or the import path 'package.module:Class' of your own generator.",
        default="extractive",
    )
    context_passages: int = described("How many of the retrieved passages the generator reads.", default=5)
    min_score: float = described("extractive: abstain where the best sentence's BM25 score is below this.", default=1.0)
    model: str | None = described("openai-compatible: the server's name of the model, e.g. gpt-4o-mini.", default=None)
    base_url: str | None = described(
        "openai-compatible: the endpoint with its /v1, e.g. http://localhost:11434/v1; default: OpenAI's own.", default=None
    )
    api_key_env: str = described("openai-compatible: the environment variable that holds the key.", default="OPENAI_API_KEY")
    prompt: str = described(
        "openai-compatible: a built-in prompt by name and version, or a .md file of your own, relative to the experiment file.",
        default="answer-1",
    )
    temperature: float | None = described("openai-compatible: null leaves it to the server (some models refuse any).", default=0.0)
    seed: int | None = described("openai-compatible: null sends none; repetition r is asked with seed + r.", default=7)
    max_tokens: int = described("openai-compatible: longest answer; a longer one is a failure, never a cut text.", default=512)
    stop: tuple[str, ...] = described("openai-compatible: texts at which the answer ends.", default=())
    response_format: ResponseFormat = described(
        "openai-compatible: how citations are asked for; auto begins with a JSON schema and steps down where the server refuses it.",
        default="auto",
    )
    references: Literal["retrieve", "answer"] = described(
        "openai-compatible: whether the reference lines only retrieve, or answer too, which takes as many calls as an arm for each.",
        default="retrieve",
    )

    def __post_init__(self) -> None:
        if self.context_passages < 1:
            raise ValueError(f"context_passages is {self.context_passages}: the generator reads at least 1 passage")
        if self.provider == "openai-compatible":
            _check_llm("generation", self.model, self.base_url, self.temperature, self.max_tokens)


def _check_llm(where: str, model: str | None, base_url: str | None, temperature: float | None, max_tokens: int) -> None:
    if not model:
        raise ValueError(f"{where}.model is missing: give the server's name of the model, e.g. gpt-4o-mini")
    if (
        "@" in (base_url or "").partition("://")[2].partition("/")[0]
    ):  # the plan is stored and shown, and so is every address; the message must not show it
        raise ValueError(f"{where}.base_url holds a user name or password: give them as the key, in the environment (api_key_env)")
    if base_url is not None and not base_url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{where}.base_url is {base_url!r}: begin it with http:// or https://, and end it with the server's /v1")
    if base_url is not None and (refused := why_refused(base_url)) is not None:
        raise ValueError(f"{where}.base_url is {base_url!r}: {refused}")
    if temperature is not None and not 0 <= temperature <= 2:
        raise ValueError(f"{where}.temperature is {temperature}: give a number from 0 to 2, or null")
    if max_tokens < 1:
        raise ValueError(f"{where}.max_tokens is {max_tokens}: give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec:
    """The LLM that judges answers: ours (judge_...) and RAGAS' metrics ask it."""

    __pydantic_config__ = STRICT

    model: str = described("The server's name of the model; better another one than the generator's, which likes its own style.")
    base_url: str | None = described("The endpoint with its /v1; default: OpenAI's own.", default=None)
    api_key_env: str = described("The environment variable that holds the key.", default="OPENAI_API_KEY")
    temperature: float | None = described("null leaves it to the server.", default=0.0)
    seed: int | None = described("null sends none; repetition r is asked with seed + r.", default=7)
    max_tokens: int = described("Longest judgment; a longer one is a failure.", default=2048)
    response_format: ResponseFormat = described(
        "auto begins with a JSON schema and steps down where the server refuses it.", default="auto"
    )
    repetitions: Mapping[str, int] = described(
        "Judgments of each answer by metric name, averaged before the test; default: 3 for metrics that decide, 1 for others.",
        default_factory=dict,
    )

    def __post_init__(self) -> None:
        _check_llm("metrics.judge", self.model, self.base_url, self.temperature, self.max_tokens)
        for name, times in self.repetitions.items():
            if metric_named(name).judge is None:
                raise ValueError(f"metrics.judge.repetitions: {name!r} asks no LLM")
            if times < 1:
                raise ValueError(f"metrics.judge.repetitions: {name} is {times}: give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSpec:
    """What the calls to LLMs may take; no part of the plan, because it changes no answer."""

    __pydantic_config__ = STRICT

    concurrency: int = described("Most calls in flight to one endpoint; fewer where it answers 429.", default=16)
    timeout_s: float = described("Seconds for one attempt.", default=60.0)
    attempts: int = described("Tries of one call in all; only what is transient is tried again.", default=8)
    max_wait_s: float = described("Longest waiting time that a server may ask for; beyond it the run stops, to be resumed.", default=120.0)
    patience_s: float = described("Seconds without any answer until the run stops, to be resumed.", default=120.0)
    run_timeout_s: float | None = described("Seconds for all calls of a run; then it stops, to be resumed.", default=None)
    max_cost_usd: float | None = described("Spending cap of one invocation; the run stops before it, to be resumed.", default=None)
    prices: str | None = described("Your own price table (YAML), relative to the experiment file; see docs/judging.md.", default=None)

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("attempts", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"llm.{name} is {getattr(self, name)}: give at least {least}")
        for name in ("timeout_s", "max_wait_s", "patience_s", "run_timeout_s", "max_cost_usd"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"llm.{name} is {value}: give a number above 0")
