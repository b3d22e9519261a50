"""What happened: one query through one arm, once."""

import math
from dataclasses import dataclass
from typing import Literal

Stage = Literal["embed", "search", "rerank", "generate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One retrieved passage.

    Attributes:
        passage_id: The passage.
        similarity: What the passages were ordered by last: the store's score, or the reranker's; higher is nearer; finite.
    """

    passage_id: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The passages retrieved for one query, best first; a hit's rank is its place, from 1.

    Attributes:
        query_id: The query that was asked.
        hits: At most top_k. Empty means that the index was searched and held nothing; a search that failed is a `Failure`.

    Raises:
        ValueError: A passage appears twice, or similarities are not finite and non-increasing.
    """

    query_id: str
    hits: tuple[Hit, ...]

    def __post_init__(self) -> None:
        last = math.inf
        for hit in self.hits:
            if not math.isfinite(hit.similarity) or hit.similarity > last:
                raise ValueError(f"ranking of {self.query_id!r}: similarity {hit.similarity} of {hit.passage_id!r} after {last}")
            last = hit.similarity
        if len({hit.passage_id for hit in self.hits}) != len(self.hits):
            raise ValueError(f"ranking of {self.query_id!r} holds a passage twice")

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """The passages' ids, best first."""
        return tuple(hit.passage_id for hit in self.hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call consumed; None is unknown, never 0. `cached_tokens` are those of the prompt that the provider had in its own cache."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the generator said.

    Attributes:
        text: Empty exactly where it abstained.
        cited: Ids of the passages that it rests on.
        finish_reason: `stop`, or `abstained` where nothing fitted.
        generator: Name and version, e.g. `extractive/1`.
        usage: Tokens and cost, where there are any.
        made_at: When it was made, in seconds since 1970, where it came from a cache; None where it was made just now.
        generate_ms: How long its making took, where the generator measured it; an answer from a cache keeps what it took when it was made.
    """

    text: str
    cited: tuple[str, ...] = ()
    finish_reason: Literal["stop", "abstained", "length"] = "stop"
    generator: str
    usage: Usage = Usage()
    generate_ms: float | None = None
    made_at: float | None = None

    def __post_init__(self) -> None:
        if (self.finish_reason == "abstained") != (not self.text.strip()):
            raise ValueError(f"an answer is empty exactly where it abstained; got {self.finish_reason!r} with {self.text!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Wall-clock milliseconds of one query asked alone; trials that ran in a batch have none.

    Attributes:
        embed_ms: From the text to its vector.
        search_ms: From there to the ranked passages, reranking included.
        generate_ms: From there to the answer.
        rerank_ms: The part of `search_ms` that reranking took; None where nothing was reranked.
    """

    embed_ms: float
    search_ms: float
    generate_ms: float
    rerank_ms: float | None = None

    @property
    def latency_ms(self) -> float:
        """From the query to the answer."""
        return self.embed_ms + self.search_ms + self.generate_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial has no result.

    Attributes:
        stage: Where it broke.
        kind: The error's class, for counting.
        message: What it said.
    """

    stage: Stage
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One query through one arm once: a ranking and an answer, or a failure.

    Attributes:
        arm: The arm's name, or a reference line's.
        query_id: The query.
        repetition: From 0.
        ranking: None where embedding, search or reranking failed.
        answer: None where generation is off or something failed.
        failure: None where all went well.
        timings: None where the query was not timed alone.
        answer_shared: The answer was made once for two arms that retrieved the same passages in the same order.
    """

    arm: str
    query_id: str
    repetition: int = 0
    ranking: Ranking | None = None
    answer: Answer | None = None
    failure: Failure | None = None
    timings: Timings | None = None
    answer_shared: bool = False

    def __post_init__(self) -> None:
        if self.ranking is None and self.failure is None:
            raise ValueError(f"trial of {self.query_id!r} in arm {self.arm!r} has neither a ranking nor a failure")
        if self.answer is not None and self.failure is not None:
            raise ValueError(f"trial of {self.query_id!r} in arm {self.arm!r} has both an answer and a failure")
