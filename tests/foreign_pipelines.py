"""Pipelines of a team of its own, made of LangChain's and LlamaIndex' real classes over the corpus that `CORPUS_ENV` names; no network."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from ragtrial.embedding.hashing import HashingEmbedder

CORPUS_ENV = "RAGTRIAL_TEST_CORPUS"
_MODEL = HashingEmbedder(model="team", dimension=256)


def vector(text: str) -> list[float]:
    """The team's own embedding model."""
    return [float(value) for value in _MODEL.embed([text], kind="passage")[0]]


def rows() -> list[dict[str, Any]]:
    lines = (Path(os.environ[CORPUS_ENV]) / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class Hashed(Embeddings):
    """Behind LangChain's interface."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return vector(text)


class HashedNodes(BaseEmbedding):
    """Behind LlamaIndex' interface."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)


def documents() -> list[Document]:
    return [Document(id=row["_id"], page_content=f"{row['title']} {row['text']}", metadata={"source": row["_id"]}) for row in rows()]


def langchain_store() -> InMemoryVectorStore:
    return InMemoryVectorStore.from_documents(documents(), Hashed())


def langchain_retriever() -> BaseRetriever:
    return langchain_store().as_retriever(search_kwargs={"k": 10})


def langchain_default() -> BaseRetriever:
    """LangChain's default: four documents."""
    return langchain_store().as_retriever()


def llama_index() -> VectorStoreIndex:
    nodes = [
        TextNode(
            id_=f"node-{row['_id']}",
            text=f"{row['title']} {row['text']}",
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=row["_id"])},
        )
        for row in rows()
    ]
    return VectorStoreIndex(nodes, embed_model=HashedNodes())


def llama_retriever() -> Any:
    return llama_index().as_retriever(similarity_top_k=10)


def llama_engine() -> RetrieverQueryEngine:
    return RetrieverQueryEngine(
        retriever=llama_retriever(),
        response_synthesizer=get_response_synthesizer(llm=MockLLM(max_tokens=12), response_mode="simple_summarize"),
    )


def langchain_chain() -> Runnable[dict[str, str], dict[str, Any]]:
    """As `create_retrieval_chain` returns it: input, context, answer."""
    found = langchain_retriever()

    def run(given: dict[str, str]) -> dict[str, Any]:
        context = found.invoke(given["input"])
        return {"input": given["input"], "context": context, "answer": context[0].page_content.split(". ")[1] if context else ""}

    return RunnableLambda(run)


def by_text(query: str) -> list[dict[str, Any]]:
    """Hits without ids."""
    return [{"text": document.page_content.replace(" ", "  "), "id": None} for document in SHARED.found(query)]


async def asked_async(query: str) -> list[tuple[str, float]]:
    await asyncio.sleep(0)
    return [(document.id or "", 1 - place / 100) for place, document in enumerate(SHARED.found(query))]


def half_elsewhere(query: str) -> list[tuple[str, float]]:
    """Every other hit is of an index that was made from another corpus."""
    return [(document.id if place % 2 else f"old-{document.id}", 1.0) for place, document in enumerate(SHARED.found(query))]  # type: ignore[misc]


class _Shared:
    """One store for all functions, made when it is first asked."""

    def __init__(self) -> None:
        self._made: dict[str, BaseRetriever] = {}

    def found(self, query: str) -> list[Document]:
        key = os.environ[CORPUS_ENV]
        if key not in self._made:
            self._made[key] = langchain_retriever()
        return self._made[key].invoke(query)


SHARED = _Shared()


class Moody(BaseRetriever):
    """Raises where the query says `raise`, sleeps where it says `sleep`, and else returns what it was given."""

    returned: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        if "raise" in query:
            raise ConnectionError("the vector store is away")
        if "sleep" in query:
            time.sleep(5)
        CALLS.append(query)
        return self.returned


CALLS: list[str] = []
THREE = [Document(id="a", page_content="first"), Document(id="b", page_content="second"), Document(id="a", page_content="first again")]


def moody() -> Moody:
    return Moody(returned=THREE)


not_a_retriever = {"k": 10}


def returns_nonsense(query: str) -> int:
    return len(query)
