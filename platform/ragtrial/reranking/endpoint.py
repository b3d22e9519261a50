"""Rerankers behind HTTP: the shape that Cohere brought and Jina, vLLM, llama.cpp, Infinity and LiteLLM follow, and that of TEI.

Over the `openai` SDK's `post`, which brings connections, time-outs, and retries that heed `Retry-After`.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import openai

from ragtrial.contracts import Scores
from ragtrial.domain.addresses import why_refused
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import ModelError, RerankError
from ragtrial.reranking.reordering import checked

Shape = Literal["cohere-compatible", "tei"]

_TEI_BATCH = 32
"""`--max-client-batch-size` of Text Embeddings Inference, if nobody changed it."""
_AT_A_TIME = 8


class EndpointReranker:
    """Asks `POST BASE_URL/rerank`, several queries side by side.

    Args:
        model: The endpoint's model name.
        shape: Of requests and answers.
        base_url: What stands before `/rerank`.
        api_key: Local servers take any.
        batch_size: Passages per request; None: all of a query, or TEI's 32.
        timeout_s: Per attempt.
        max_retries: Attempts after the first one, with the endpoint's own waiting time where it names one.
        hold_off_s: After a request that got no answer, further ones fail at once for so long: whoever waits for a pass of queries should
            not wait for one time-out after the other.

    Raises:
        ModelError: The endpoint does not answer a first request.
    """

    def __init__(
        self,
        model: str,
        *,
        shape: Shape,
        base_url: str,
        api_key: str | None,
        batch_size: int | None = None,
        timeout_s: float = 5.0,
        max_retries: int = 5,
        hold_off_s: float = 0.0,
    ) -> None:
        self._hold_off_s, self._silent_until = hold_off_s, 0.0
        self._model, self._shape, self._where = model, shape, base_url.rstrip("/")
        self._batch_size = batch_size or (_TEI_BATCH if shape == "tei" else None)
        refused = why_refused(self._where)
        if refused is not None:
            raise ModelError(f"reranker at {self._where!r}: {refused}")
        client = openai.DefaultHttpxClient(timeout=timeout_s, follow_redirects=False)  # passages go where base_url says, and nowhere else
        self._client = openai.OpenAI(
            base_url=self._where, api_key=api_key or "none", max_retries=max_retries, timeout=timeout_s, http_client=client
        )
        self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="ragtrial-rerank")
        try:
            self.score([("ready?", ["ready"])])
        except RerankError as error:
            self.close()
            raise ModelError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    @property
    def identity(self) -> ModelIdentity:
        """Model and address; what the endpoint really serves can't be verified, so a change of it there goes unseen."""
        return ModelIdentity(
            name=self._model,
            revision=digest([self._where, self._model]),
            settings=(f"endpoint={self._where}", f"shape={self._shape}"),
            dimension=1,
        )

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[Scores, ...]:
        """See `contracts.Reranker`; one request for each query, or for each `batch_size` of its passages."""
        parts = []
        for place, (query, passages) in enumerate(asked):
            size = self._batch_size or max(1, len(passages))
            parts += [(place, query, list(passages[start : start + size])) for start in range(0, len(passages), size)]
        rows: list[list[Scores]] = [[] for _ in asked]
        for (place, _, _), scores in zip(parts, self._threads.map(lambda part: self._request(part[1], part[2]), parts), strict=True):
            rows[place].append(scores)
        whole = [np.concatenate(row) if row else np.empty(0, dtype=np.float32) for row in rows]
        return checked(whole, asked, name=str(self.identity))

    def _request(self, query: str, passages: list[str]) -> Scores:
        if time.monotonic() < self._silent_until:
            raise RerankError(f"{self._said()}: not asked, because it gave no answer a moment ago")
        body: dict[str, Any] = {"query": query}
        if self._shape == "tei":  # one model a server; raw scores tell good passages apart where squeezed ones tie
            body |= {"texts": passages, "raw_scores": True, "truncate": True}
        else:
            body |= {"model": self._model, "documents": passages, "top_n": len(passages)}
        try:
            answer: object = self._client.post("/rerank", body=body, cast_to=object)
        except openai.APIStatusError as error:
            raise RerankError(f"{self._said()}: status {error.status_code}: look at base_url, model and key") from error
        except openai.APIConnectionError as error:
            self._silent_until = time.monotonic() + self._hold_off_s
            late = isinstance(error, openai.APITimeoutError)
            raise RerankError(f"{self._said()}: {'no answer in time (rerank.timeout_s)' if late else 'no connection'}") from error
        except (openai.OpenAIError, ValueError) as error:
            raise RerankError(f"{self._said()}: its answer can't be read ({type(error).__name__})") from error
        return self._scores(answer, len(passages))

    def _scores(self, answer: object, n: int) -> Scores:
        """One score for each passage, whatever the order of the answer."""
        rows = answer.get("results") if isinstance(answer, Mapping) else answer
        name = "score" if self._shape == "tei" else "relevance_score"
        found: dict[int, float] = {}
        try:
            for row in rows:  # type: ignore[union-attr]  # anything that is no list of rows ends below
                found[int(row["index"])] = float(row[name])
        except (TypeError, KeyError, ValueError) as error:
            raise RerankError(f"{self._said()}: its answer is not that of a {self._shape} endpoint: look at rerank.provider") from error
        if sorted(found) != list(range(n)):
            raise RerankError(f"{self._said()}: of the passages 0 to {n - 1} it scored {', '.join(map(str, sorted(found)[:5])) or 'none'}")
        return np.array([found[place] for place in range(n)], dtype=np.float32)

    def _said(self) -> str:
        return f"reranker {self._model!r} at {self._where!r}"
