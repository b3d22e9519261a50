"""A second look at what was retrieved: which model reorders it, and how many passages it is given."""

from dataclasses import dataclass

from ragtrial.domain.described import STRICT, described


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankSpec:
    """Which reranker reads query and passage together, and orders the passages anew."""

    __pydantic_config__ = STRICT

    provider: str = described(
        "sentence-transformers (a cross-encoder on this machine), cohere-compatible (POST BASE_URL/rerank as Cohere, Jina, vLLM, llama.cpp and "
        "Infinity speak it), tei (Text Embeddings Inference), overlap (a fake for tests: shared words), or the import path "
        "'package.module:Class' of your own reranker.",
        default="sentence-transformers",
    )
    model: str = described(
        "A folder, 'package:NAME', 'registry:NAME[@VERSION]' or a hub id of a cross-encoder, or the model name of the endpoint. Weights are read "
        "from safetensors files only."
    )
    revision: str | None = described("Hub commit or tag to pin.", default=None)
    candidates: int = described("Passages that the search gives to the reranker; at least top_k are taken.", default=50)
    max_length: int | None = described(
        "Tokens of query and passage together after which the model truncates; default: its own.", default=None
    )
    batch_size: int | None = described(
        "Pairs per forward pass (default 32), or passages per request (default: all candidates; tei: 32, what its servers take).",
        default=None,
    )
    base_url: str | None = described(
        "cohere-compatible, tei: what stands before /rerank, e.g. https://api.cohere.com/v2 or http://localhost:8000/v1.", default=None
    )
    api_key_env: str = described("cohere-compatible, tei: the environment variable that holds the key.", default="RAGTRIAL_RERANK_KEY")
    timeout_s: float = described(
        "cohere-compatible, tei: seconds for an attempt; a query that gets no scores is a failed trial.", default=5.0
    )
    usd_per_1000_queries: float | None = described(
        "What the endpoint charges for reranking the candidates of 1,000 queries, for the report; default: not known.", default=None
    )

    def __post_init__(self) -> None:
        for name in ("candidates", "max_length", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if not 0 < self.timeout_s <= 600:
            raise ValueError(f"timeout_s is {self.timeout_s}: give a number above 0, at most 600")
        if self.usd_per_1000_queries is not None and not 0 <= self.usd_per_1000_queries < float("inf"):
            raise ValueError(f"usd_per_1000_queries is {self.usd_per_1000_queries}: give 0 or more")
        if self.provider in ("cohere-compatible", "tei") and self.base_url is None:
            raise ValueError(f"provider {self.provider!r} needs base_url: what stands before /rerank")

    @property
    def is_remote(self) -> bool:
        """Whether another server scores."""
        return self.provider in ("cohere-compatible", "tei")
