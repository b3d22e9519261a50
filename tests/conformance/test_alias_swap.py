"""An alias that is moved under 100 queries a second, on a real Milvus server: no query fails, and none meets vectors of another model."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from alias_swapping import MODELS, Ask, Told, client, embedder_of, fill
from ragtrial.errors import MissingCollectionError, ModelError
from ragtrial.index.following import AliasFollower
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import move_alias

SECONDS, RATE, THREADS = 4.0, 100.0, 4


@pytest.fixture(scope="module")
def store(milvus_server_uri: str) -> Iterator[MilvusIndex]:
    with contextlib.closing(MilvusIndex(milvus_server_uri)) as index:
        yield index


@pytest.fixture(scope="module")
def filled(store: MilvusIndex) -> dict[str, str]:
    """Names of complete collections, by the letter of their model; `drop` is another one of model a. A server takes 5 s for each, alone or not."""
    suffix = uuid.uuid4().hex[:8]
    names = {letter: f"rt_{letter}_{suffix}" for letter in ("a", "b", "drop")}
    by_letter = {embedder.letter: embedder for embedder in MODELS.values()}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda letter: fill(store, names[letter], by_letter["b" if letter == "b" else "a"]), names))
    return names


def under_traffic(ask: Ask, act: Callable[[int], None], *, pause_s: float = 0.05) -> tuple[Told, int]:
    """What a client saw while `act(0)`, `act(1)`, ... ran beside it, and how often that ran."""
    over = threading.Event()
    told, threads = client(ask, rate=RATE, threads=THREADS, until=over.is_set)
    for thread in threads:
        thread.start()
    end, acts = time.monotonic() + SECONDS, 0
    try:
        while time.monotonic() < end:
            act(acts)
            acts += 1
            time.sleep(pause_s)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return told, acts


def following(follower: AliasFollower) -> Ask:
    def ask(number: int) -> tuple[str, str]:
        found = follower.search([str(number)], top_k=1)
        return embedder_of(found.model).letter, found.hits[0][0].passage_id

    return ask


def test_no_query_fails_and_none_meets_another_model_while_the_alias_moves(
    store: MilvusIndex, filled: dict[str, str], milvus_server_uri: str
) -> None:
    alias = f"{filled['a']}_alias"
    move_alias(store, alias, filled["a"])
    with contextlib.closing(MilvusIndex(milvus_server_uri)) as other:  # as another process moves it
        follower = AliasFollower(store, alias, embedder_of, every_s=0.02)
        told, swaps = under_traffic(following(follower), lambda turn: move_alias(other, alias, filled["ba"[turn % 2]]))
    assert told.failed == []
    assert told.wrong == []
    assert told.models == {"a", "b"}
    assert swaps >= 10
    assert told.asked >= 50


def test_who_asks_first_and_searches_the_alias_afterwards_gets_answers_of_another_model(store: MilvusIndex, filled: dict[str, str]) -> None:
    """What the follower is for: the same traffic with the alias itself searched, as one would write it by hand."""
    alias = f"{filled['a']}_byhand"
    move_alias(store, alias, filled["a"])
    found = store.referred(alias)
    assert found is not None
    vector = embedder_of(found.model).embed(["7"], kind="query")
    move_alias(store, alias, filled["b"])  # in between
    with store._connection.calls("searching as others do") as milvus:
        ((hit,),) = milvus.search(alias, data=list(vector), limit=1, output_fields=["passage_id"], timeout=60)
    assert hit["passage_id"].startswith("b")  # an answer, and noise
    follower = AliasFollower(store, alias, embedder_of)
    assert follower.search(["7"], top_k=1).hits[0][0].passage_id == "b7"


def test_a_collection_that_is_dropped_without_being_drained_costs_no_query(store: MilvusIndex, filled: dict[str, str]) -> None:
    alias = f"{filled['drop']}_gone"
    store.point(alias, filled["drop"])
    follower = AliasFollower(store, alias, embedder_of, every_s=3600)  # it never asks on its own
    assert follower.search(["3"], top_k=1).collection == filled["drop"]
    store.point(alias, filled["b"])
    assert follower.search(["3"], top_k=1).collection == filled["drop"]  # still there: drained, not refused
    store.drop(filled["drop"], force=True)
    found = follower.search(["3"], top_k=1)
    assert (found.collection, found.hits[0][0].passage_id) == (filled["b"], "b3")


def test_a_model_that_can_not_be_had_leaves_the_follower_where_it_was_and_nothing_to_follow_is_said(
    store: MilvusIndex, filled: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    alias = f"{filled['a']}_model"

    def only_a(model: object) -> object:
        if getattr(model, "name", "") != "model-a":
            raise ModelError("model-b is not on this machine")
        return embedder_of(model)  # type: ignore[arg-type]

    follower = AliasFollower(store, alias, only_a, every_s=0)  # type: ignore[arg-type]
    with pytest.raises(MissingCollectionError, match="points to no collection"):
        follower.search(["1"], top_k=1)
    store.point(alias, filled["a"])
    assert follower.search(["1"], top_k=1).hits[0][0].passage_id == "a1"
    store.point(alias, filled["b"])
    assert follower.search(["1"], top_k=1).hits[0][0].passage_id == "a1"
    assert "going on with" in caplog.text
