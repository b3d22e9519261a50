"""What other libraries' objects return, as hits: by the shape of it, so that neither library has to be installed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.domain.retriever import RetrieverSpec

_CONTEXTS = ("context", "source_documents", "documents", "contexts")
_ANSWERS = ("answer", "result", "output", "response")
_TEXTS = ("text", "page_content", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignHit:
    """One hit as it was returned.

    Attributes:
        ids: What it may be known by in the corpus, the likeliest first.
        text: Its text, or None.
        score: None where it has none that is a number.
    """

    ids: tuple[str, ...]
    text: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one query got.

    Attributes:
        hits: Best first, as they were returned.
        answer: What the pipeline said, where it answers; None where it only retrieves.
    """

    hits: tuple[ForeignHit, ...]
    answer: str | None = None


def read_result(result: object, spec: RetrieverSpec) -> Found:
    """What an object returned: documents, nodes, a chain's mapping, or a response with its source nodes.

    Raises:
        TypeError: It is none of these.
    """
    if hasattr(result, "source_nodes"):  # LlamaIndex's Response
        said = getattr(result, "response", None)
        return Found(hits=_hits(result.source_nodes, spec), answer="" if said is None else str(said))
    if isinstance(result, Mapping):
        contexts = next((result[key] for key in _CONTEXTS if isinstance(result.get(key), list | tuple)), None)
        if contexts is None:
            raise TypeError(f"a mapping with {_names(result)}, and none of {', '.join(_CONTEXTS)} holds a list of documents")
        answer = next((result[key] for key in _ANSWERS if key in result), None)
        return Found(hits=_hits(contexts, spec), answer=None if answer is None else _said(answer))
    if isinstance(result, Sequence) and not isinstance(result, str | bytes):
        return Found(hits=_hits(result, spec))
    raise TypeError(f"{_shown(result)}: expected a list of documents or nodes, or a mapping or response that holds them")


def _said(answer: object) -> str:
    """The text of a chain's answer, which may be a LangChain message."""
    content = getattr(answer, "content", answer)
    return content if isinstance(content, str) else str(content)


def _hits(items: Sequence[object], spec: RetrieverSpec) -> tuple[ForeignHit, ...]:
    return tuple(_hit(item, spec) for item in items)


def _hit(item: object, spec: RetrieverSpec, score: object = None) -> ForeignHit:
    if isinstance(item, str):
        return ForeignHit(ids=(item,), text=item, score=_number(score))
    if isinstance(item, tuple) and len(item) == 2:
        return _hit(item[0], spec, item[1])
    if isinstance(item, Mapping):
        text = next((item[key] for key in _TEXTS if isinstance(item.get(key), str)), None)
        return _made((item.get("id"), item.get("_id")), text, item.get("metadata"), item.get("score", score), spec)
    if hasattr(item, "node"):  # LlamaIndex's NodeWithScore
        return _hit(item.node, spec, getattr(item, "score", None))
    if hasattr(item, "node_id"):
        return _made((item.node_id, getattr(item, "ref_doc_id", None)), item.get_content(), item.metadata, score, spec)  # type: ignore[attr-defined]  # LlamaIndex's BaseNode
    if hasattr(item, "page_content"):  # LangChain's Document
        return _made((getattr(item, "id", None),), item.page_content, getattr(item, "metadata", None), score, spec)
    raise TypeError(f"a hit that is {_shown(item)}: expected a document, a node, an id, a pair of one of these and a score, or a mapping")


def _made(ids: Sequence[object], text: str | None, metadata: Any, score: object, spec: RetrieverSpec) -> ForeignHit:
    metadata = metadata if isinstance(metadata, Mapping) else {}
    named = ids if spec.id_key is None else (metadata.get(spec.id_key),)
    if score is None and spec.score_key is not None:
        score = metadata.get(spec.score_key)
    known = tuple(str(each) for each in named if isinstance(each, str | int) and not isinstance(each, bool))
    return ForeignHit(ids=known, text=text, score=_number(score))


def _number(value: object) -> float | None:
    if value is None or isinstance(value, bool | str):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # numpy's and torch's numbers too; what is none is refused below
    except (TypeError, ValueError):
        return None


def _names(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(repr(key) for key in list(mapping)[:8]) or "nothing in it"


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"
