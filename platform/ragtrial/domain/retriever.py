"""A retriever of somebody else's as an arm: which object is asked, and how what it finds is known again in the corpus."""

from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.described import STRICT, described

OWN_ANSWERS = "pipeline"
"""`generation.provider` of an arm whose pipeline answers by itself."""

NOT_KNOWN = "not known"
"""What a certificate says of a setting that nobody can look into; equal to nothing, not even to itself."""

_LIBRARIES = ("langchain", "llama-index")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverSpec:
    """A pipeline of your own in place of the arm's embedding model and its Milvus index."""

    __pydantic_config__ = STRICT

    provider: str = described(
        "langchain (a retriever, or a chain that returns its documents), llama-index (a retriever or a query engine), or the import path "
        "'package.module:callable' of a function of the query."
    )
    object: str | None = described(
        "langchain, llama-index: the import path 'package.module:name' of the object, or of a function without arguments that makes it.",
        default=None,
    )
    version: str = described(
        "What you call this state of your pipeline: its code, models, index and settings. Change it whenever its results may change: nobody "
        "else can see that they did."
    )
    match_by: Literal["id", "text"] = described(
        "How a hit is known again in the corpus: by its id, or by its text, white space aside (a passage's text, with or without its title).",
        default="id",
    )
    id_key: str | None = described(
        "id: the key of a hit's metadata that holds the passage's or document's id. Default: the hit's own id, and of a llama-index node else "
        "that of its source document.",
        default=None,
    )
    score_key: str | None = described("The key of a hit's metadata that holds its score, where the hit has none of its own.", default=None)
    input_key: str | None = described(
        "langchain: the chain takes a mapping, with the query under this key; default: it takes the query.", default=None
    )
    call: Literal["one", "batch", "async"] = described(
        "one: one query after the other. batch: `batch` of a langchain object. async: `ainvoke`, `aretrieve`, `aquery`, or an async function.",
        default="one",
    )
    concurrency: int = described("batch, async: queries at a time.", default=4)
    timeout_s: float = described("Seconds for a query; one that takes longer is a failed trial.", default=30.0)

    def __post_init__(self) -> None:
        self._check_paths()
        if not self.version.strip():
            raise ValueError("version is blank: give what you call this state of your pipeline, e.g. '2026-03-01' or a commit")
        if self.match_by == "text" and self.id_key is not None:
            raise ValueError("id_key is for match_by: id")
        if self.call == "batch" and self.provider != "langchain":
            raise ValueError(f"call is 'batch', which langchain objects have; give provider {self.provider!r} call: one or call: async")
        if self.input_key is not None and self.provider != "langchain":
            raise ValueError("input_key is for langchain")
        if self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}: give at least 1")
        if not 0 < self.timeout_s <= 3600:
            raise ValueError(f"timeout_s is {self.timeout_s}: give a number above 0, at most 3600")

    def _check_paths(self) -> None:
        if self.provider in _LIBRARIES:
            if self.object is None or not _is_import_path(self.object):
                raise ValueError(
                    f"object is {self.object!r}: provider {self.provider!r} needs the import path 'package.module:name' of your object"
                )
        elif not _is_import_path(self.provider):
            raise ValueError(f"provider {self.provider!r} is unknown: give {', '.join(_LIBRARIES)} or 'package.module:callable'")
        elif self.object is not None:
            raise ValueError(f"object is {self.object!r}, but the provider {self.provider!r} is itself what is called: leave object out")

    @property
    def path(self) -> str:
        """The import path of what is asked."""
        return self.object or self.provider


def _is_import_path(text: str) -> bool:
    module, _, name = text.partition(":")
    return bool(module and name) and all(part.isidentifier() for part in (*module.split("."), name))
