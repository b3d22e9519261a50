"""SIGKILL at random moments of an indexing: nothing is lost, nothing is embedded twice that was stored, and no alias lies."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ragtrial.contracts import IndexParameters
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.index.exact import exact_search
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import collection_name, index_arm
from repeating import times

N, KILLS = 400, times(20, 7)
FLAT = IndexParameters(build={}, search={})

CHILD = """
import sys, time
sys.path[:0] = sys.argv[3:]
from faults.test_indexing_killed import FLAT, SlowEmbedder, corpus
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import index_arm
index = MilvusIndex(sys.argv[1])
print("open", flush=True)
facts = index_arm(corpus=corpus(sys.argv[2]), embedder=SlowEmbedder(), index=index, parameters=FLAT, alias="arm", batch_size=20)
print("done", flush=True)
index.close()
"""


class SlowEmbedder(HashingEmbedder):
    """Takes its time, so that there are moments to be killed in, and prints how many texts it was given."""

    def __init__(self) -> None:
        super().__init__(dimension=64)

    def embed(self, texts, **options):  # type: ignore[no-untyped-def]
        time.sleep(0.03)
        print(f"embedding {len(texts)}", flush=True)  # noqa: T201 - the parent counts these
        return super().embed(texts, **options)


def corpus(word: str) -> Corpus:
    texts = [f"{word} {i} " + f"part{i * 7919 % 1000} " * (1 + i % 5) for i in range(N)]
    return Corpus(
        name=word,
        passages=tuple(Passage(passage_id=f"{word}{i}", document_id="d", text=t, start=0, end=len(t)) for i, t in enumerate(texts)),
    )


def start(store: Path, word: str) -> "subprocess.Popen[str]":
    tests = Path(__file__).resolve().parents[1]
    places = [str(tests), str(tests.parent / "platform")]
    return subprocess.Popen([sys.executable, "-c", CHILD, str(store), word, *places], stdout=subprocess.PIPE, text=True)


def check_alias(store: Path, allowed: set[str]) -> set[str]:
    """The alias points to a complete collection of the right vectors; what is stored of the new one is right, too."""
    with contextlib.closing(MilvusIndex(str(store))) as index:
        target = index.resolve("arm")
        assert target in allowed
        info = index.describe("arm")
        assert info is not None
        assert (info.complete, info.n_passages) == (True, N)
        new = collection_name(corpus("new"), HashingEmbedder(dimension=64).identity, FLAT)
        return index.stored_ids(new) if index.describe(new) is not None else set()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_indexing_resumes_without_embedding_again(tmp_path: Path) -> None:
    store, rng = tmp_path / "milvus.db", random.Random(20)
    embedder = HashingEmbedder(dimension=64)
    with contextlib.closing(MilvusIndex(str(store))) as index:
        old = index_arm(corpus=corpus("old"), embedder=embedder, index=index, parameters=FLAT, alias="arm").collection
    new = collection_name(corpus("new"), embedder.identity, FLAT)

    stored: set[str] = set()
    for _ in range(KILLS):
        child = start(store, "new")
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        begun = "".join(child.stdout.readline() for _ in range(rng.randrange(5)))
        time.sleep(rng.uniform(0.0, 0.03))
        child.send_signal(signal.SIGKILL)
        printed = begun + child.communicate()[0]
        embedded = sum(int(line.split()[1]) for line in printed.splitlines() if line.startswith("embedding"))
        now = check_alias(store, {old, new})
        assert stored <= now, "an acknowledged passage was lost"
        assert len(now) - len(stored) in (embedded, embedded - 20, max(0, embedded - N % 20)), "what was stored was embedded again"
        stored = now
    assert stored, "no run came as far as its first batch: the test kills too early"

    child = start(store, "new")
    printed = child.communicate(timeout=120)[0]
    assert child.returncode == 0
    assert printed.endswith("done\n")
    embedded = sum(int(line.split()[1]) for line in printed.splitlines() if line.startswith("embedding"))
    assert embedded == N - len(stored)

    assert check_alias(store, {new}) == {passage.passage_id for passage in corpus("new").passages}
    passages = corpus("new").passages
    vectors = embedder.embed([passage.content for passage in passages], kind="passage")
    expected = exact_search(vectors, [passage.passage_id for passage in passages], vectors, 5)
    with contextlib.closing(MilvusIndex(str(store))) as index:
        found = index.search("arm", vectors, top_k=5, model=embedder.identity)
        assert index.resolve("arm_previous") == old
    assert [[hit.similarity for hit in hits] for hits in found] == [
        pytest.approx([hit.similarity for hit in hits], abs=1e-5) for hits in expected
    ]
    assert [hits[0].passage_id for hits in found] == [hits[0].passage_id for hits in expected]
