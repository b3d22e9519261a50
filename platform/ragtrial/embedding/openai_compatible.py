"""Any endpoint that speaks OpenAI's `/v1/embeddings`: OpenAI, Azure, vLLM, Ollama, llama.cpp, text-embeddings-inference."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import openai

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.addresses import why_refused
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.vectors import unit_rows
from ragtrial.errors import ModelError


class OpenAICompatibleEmbedder:
    """Embeds over HTTP, in batches; the SDK's own retries cover rate limits and lost connections.

    Args:
        model: The endpoint's model name.
        base_url: E.g. `http://localhost:8000/v1`; None is OpenAI's own.
        api_key: Local servers take any non-empty string.
        dimensions: Ask for vectors of this length; None is the model's own.
        query_prompt: Put before each query.
        passage_prompt: Put before each passage.
        batch_size: Texts per request.
        timeout_s: Per attempt.
        max_retries: Attempts after the first one, with the endpoint's own waiting time where it names one.

    Raises:
        ModelError: The endpoint does not answer a first request.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        dimensions: int | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        batch_size: int = 32,
        timeout_s: float = 60.0,
        max_retries: int = 5,
    ) -> None:
        self._model, self._batch_size = model, batch_size
        self._dimensions: int | openai.Omit = openai.omit if dimensions is None else dimensions
        self._prompts: dict[Kind, str] = {"query": query_prompt or "", "passage": passage_prompt or ""}
        self._where = base_url or "https://api.openai.com/v1"
        refused = why_refused(self._where)
        if refused is not None:
            raise ModelError(f"embedding endpoint {self._where!r}, model {model!r}: {refused}")
        client = openai.DefaultHttpxClient(timeout=timeout_s, follow_redirects=False)  # texts go where base_url says, and nowhere else
        self._client = openai.OpenAI(
            base_url=self._where, api_key=api_key or "none", max_retries=max_retries, timeout=timeout_s, http_client=client
        )
        self._dimension: int | None = dimensions
        try:
            self._dimension = self._request(["dimension"]).shape[1]
        except ModelError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def identity(self) -> ModelIdentity:
        """Model and address; what the endpoint really serves can't be verified, so a change of it there goes unseen."""
        settings = tuple(f"{kind}_prompt={prompt}" for kind, prompt in self._prompts.items() if prompt)
        revision = digest([self._where, self._model])
        return ModelIdentity(name=self._model, revision=revision, settings=settings, dimension=self._dimension or 0)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """See `contracts.Embedder`."""
        rows = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        for start in range(0, len(texts), self._batch_size):
            part = [self._prompts[kind] + text for text in texts[start : start + self._batch_size]]
            rows[start : start + len(part)] = self._request(part)
            if progress is not None:
                progress(len(part))
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Unknown: the endpoint's tokenizer is not here."""
        del texts
        return None

    def _request(self, texts: list[str]) -> Vectors:
        try:
            answer = self._client.embeddings.create(model=self._model, input=texts, encoding_format="float", dimensions=self._dimensions)
            data = sorted(answer.data, key=lambda item: item.index)
            raw = [np.asarray(item.embedding, dtype=np.float32) for item in data]
            rows = np.stack(raw) if raw else np.empty((0, 0), dtype=np.float32)
        except openai.OpenAIError as error:
            raise ModelError(f"embedding endpoint {self._where!r}, model {self._model!r}: {_first_line(error)}") from error
        except (ValueError, TypeError, AttributeError) as error:
            what = f"answered with something else than vectors of one length ({_first_line(error)})"
            advice = "check base_url, and what stands between"
            raise ModelError(f"embedding endpoint {self._where!r}, model {self._model!r} {what}: {advice}") from error
        found = [item.index for item in data]
        if found != list(range(len(texts))):
            what = f"{len(data)} vectors" if len(data) != len(texts) else f"vectors with the indexes {found}"
            raise ModelError(f"embedding endpoint {self._where!r}, model {self._model!r} returned {what} for {len(texts)} texts")
        return unit_rows(rows, n=len(texts), dimension=self._dimension, model=self._model)


def _first_line(error: Exception) -> str:
    """What went wrong, without the page that a proxy may have sent."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
