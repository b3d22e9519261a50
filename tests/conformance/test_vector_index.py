"""What every `contracts.VectorIndex` must keep: exact search in memory, Milvus Lite, and a real Milvus server."""

import contextlib
import dataclasses
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from ragtrial.contracts import CollectionRef, IndexParameters, VectorIndex, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.trial import Ranking
from ragtrial.errors import StoreError
from ragtrial.index.exact import ExactIndex, exact_search
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.rules import SEARCHED_SECONDS

DIMENSION = 16
MODEL = ModelIdentity(name="minilm", revision="a1b2c3d4e5", settings=("max_seq_length=256",), dimension=DIMENSION)
FLAT = IndexParameters(type="FLAT", metric="COSINE", build={}, search={})

Fresh = Callable[[], str]


@pytest.fixture(params=["exact", "lite", "server"], scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    match request.param:
        case "exact":
            index: VectorIndex = ExactIndex()
        case "lite":
            index = MilvusIndex(str(tmp_path_factory.mktemp("lite") / "milvus.db"))
        case _:
            index = MilvusIndex(request.getfixturevalue("milvus_server_uri"))
    with contextlib.closing(index):
        yield index


@pytest.fixture
def name() -> str:
    return f"rt_{uuid.uuid4().hex[:12]}"


def unit(rng: np.random.Generator, n: int, dimension: int = DIMENSION) -> Vectors:
    rows = rng.normal(size=(n, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passages(n: int, prefix: str = "p") -> list[Passage]:
    texts = [f"text {i}" for i in range(n)]
    return [
        Passage(passage_id=f"{prefix}{i:04d}", document_id=f"d{i // 3}", title="A title", text=text, start=i, end=i + len(text))
        for i, text in enumerate(texts)
    ]


def made(
    store: VectorIndex, name: str, vectors: Vectors, *, items: Sequence[Passage] | None = None, parameters: IndexParameters = FLAT
) -> None:
    store.create(name, model=MODEL, corpus="c0ffee", parameters=parameters)
    store.insert(name, items or passages(len(vectors)), vectors)
    store.finish(name)


def test_hits_are_those_of_exact_search_best_first(store: VectorIndex, name: str) -> None:
    rng = np.random.default_rng(1)
    matrix, queries = unit(rng, 300), unit(rng, 150)  # more than two batches of queries
    made(store, name, matrix)
    found = store.search(name, queries, top_k=10, model=MODEL)
    expected = exact_search(matrix, [p.passage_id for p in passages(300)], queries, 10)
    assert [[hit.passage_id for hit in hits] for hits in found] == [[hit.passage_id for hit in hits] for hits in expected]
    for i, (hits, best) in enumerate(zip(found, expected, strict=True)):
        assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in best], abs=1e-5)
        Ranking(query_id=str(i), hits=hits)  # finite, non-increasing, no passage twice


@pytest.mark.parametrize(
    ("metric", "kind", "build", "search", "least"),
    [
        *((metric, "FLAT", {}, {}, 1.0) for metric in ("COSINE", "IP", "L2")),
        *((metric, "IVF_FLAT", {"nlist": 128}, {"nprobe": 128}, 1.0) for metric in ("COSINE", "IP", "L2")),  # all cells: exact again
        *((metric, "HNSW", {"M": 16, "efConstruction": 200}, {"ef": 200}, 0.95) for metric in ("COSINE", "IP", "L2")),
        ("COSINE", "IVF_FLAT", {}, {"nprobe": 32}, 0.5),
    ],
)
def test_every_metric_ranks_alike_on_every_index(
    store: VectorIndex, name: str, metric: str, kind: str, build: dict[str, int], search: dict[str, int], least: float
) -> None:
    rng = np.random.default_rng(2)
    matrix, queries = unit(rng, 1200), unit(rng, 40)
    parameters = IndexParameters(type=kind, metric=metric, build=build, search=search)  # type: ignore[arg-type]
    made(store, name, matrix, parameters=parameters)
    found = store.search(name, queries, top_k=10, model=MODEL)
    expected = exact_search(matrix, [p.passage_id for p in passages(1200)], queries, 10, metric=metric)
    recall = np.mean([len({h.passage_id for h in a} & {h.passage_id for h in b}) / 10 for a, b in zip(found, expected, strict=True)])
    assert recall >= least
    if least == 1.0:
        for hits, best in zip(found, expected, strict=True):
            assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in best], abs=2e-5)
    info = store.describe(name)
    assert info is not None
    assert info.index_type == ("FLAT" if isinstance(store, ExactIndex) else kind)
    assert found == store.search(name, queries, top_k=10, model=MODEL), "recall must not move between two runs"


@pytest.mark.parametrize("seed", range(3))
def test_random_inserts_and_replacements_are_found_as_exact_search_finds_them(store: VectorIndex, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    store.create(name, model=MODEL, corpus="c0ffee", parameters=FLAT)
    items = passages(n)
    rows: dict[str, Vectors] = {}
    for _ in range(int(rng.integers(1, 5))):
        chosen = [items[i] for i in rng.integers(0, n, size=int(rng.integers(1, 300)))]  # also the same one twice at once
        vectors = unit(rng, len(chosen))
        store.insert(name, chosen, vectors)
        rows.update({p.passage_id: vector for p, vector in zip(chosen, vectors, strict=True)})
    store.finish(name)
    assert store.stored_ids(name) == set(rows)
    info = store.describe(name)
    assert info is not None
    assert info.n_passages == len(rows)
    queries, top_k = unit(rng, 70), int(rng.integers(1, 60))
    found = store.search(name, queries, top_k=top_k, model=MODEL)
    expected = exact_search(np.array(list(rows.values())), list(rows), queries, top_k)
    assert [[hit.passage_id for hit in hits] for hits in found] == [[hit.passage_id for hit in hits] for hits in expected]


def test_ties_are_ordered_by_passage_id_even_across_the_cut(store: VectorIndex, name: str) -> None:
    rng = np.random.default_rng(3)
    matrix = unit(rng, 64)
    matrix[10:50] = matrix[10]  # forty passages with one vector
    order, items = rng.permutation(64), passages(64)
    made(store, name, matrix[order], items=[items[i] for i in order])
    (hits,) = store.search(name, matrix[10:11], top_k=7, model=MODEL)
    assert [hit.passage_id for hit in hits] == [f"p{i:04d}" for i in range(10, 17)]


def test_fewer_passages_than_asked_for_are_all_returned_and_none_are_none(store: VectorIndex, name: str) -> None:
    matrix = unit(np.random.default_rng(4), 3)
    made(store, name, matrix)
    assert [len(hits) for hits in store.search(name, matrix, top_k=10, model=MODEL)] == [3, 3, 3]
    assert store.search(name, np.zeros((0, DIMENSION), np.float32), top_k=10, model=MODEL) == ()
    made(store, name + "_empty", np.zeros((0, DIMENSION), np.float32), items=[])
    assert store.search(name + "_empty", matrix, top_k=10, model=MODEL) == ((), (), ())


def test_creating_again_keeps_what_is_there(store: VectorIndex, name: str) -> None:
    made(store, name, unit(np.random.default_rng(5), 4))
    store.create(name, model=MODEL, corpus="c0ffee", parameters=FLAT)
    assert store.stored_ids(name) == {"p0000", "p0001", "p0002", "p0003"}


def test_a_collection_says_what_it_was_made_for_and_whether_it_is_complete(store: VectorIndex, name: str) -> None:
    assert store.describe(name) is None
    parameters = IndexParameters(type="HNSW", metric="IP", build={"M": 16}, search={"ef": 80})
    store.create(name, model=MODEL, corpus="c0ffee", parameters=parameters)
    info = store.describe(name)
    assert info is not None
    assert (info.name, info.model, info.corpus, info.parameters, info.n_passages, info.complete) == (
        name,
        MODEL,
        "c0ffee",
        parameters,
        0,
        False,
    )
    store.insert(name, passages(2), unit(np.random.default_rng(6), 2))
    store.finish(name)
    info = store.describe(name)
    assert info is not None
    assert (info.n_passages, info.complete) == (2, True)
    store.insert(name, passages(3)[2:], unit(np.random.default_rng(6), 1))
    info = store.describe(name)
    assert info is not None
    assert not info.complete
    store.finish(name)
    info = store.describe(name)
    assert info is not None
    assert (info.n_passages, info.complete) == (3, True)


def test_another_model_is_refused_and_both_are_named(store: VectorIndex, name: str) -> None:
    made(store, name, unit(np.random.default_rng(7), 3))
    for change in (
        {"name": "handbook-v3"},
        {"revision": "9c0d"},
        {"settings": ("max_seq_length=128",)},
        {"dimension": 2 * DIMENSION},
    ):
        other = dataclasses.replace(MODEL, **change)  # type: ignore[arg-type]
        queries = unit(np.random.default_rng(7), 1, other.dimension)
        for forbidden in (
            lambda: store.search(name, queries, top_k=1, model=other),  # noqa: B023 - called in this turn
            lambda: store.create(name, model=other, corpus="c0ffee", parameters=FLAT),  # noqa: B023 - called in this turn
        ):
            with pytest.raises(StoreError, match=re.escape(f"collection {name!r} holds vectors of 'minilm@a1b2c3d4")) as caught:
                forbidden()
            assert f"{other}" in str(caught.value)
            assert "index the corpus again" in str(caught.value)
        if "settings" in change:
            assert "max_seq_length=256" in str(caught.value)
            assert "max_seq_length=128" in str(caught.value)
    assert len(store.search(name, unit(np.random.default_rng(7), 1), top_k=1, model=MODEL)) == 1


def test_another_corpus_or_index_under_one_name_is_refused(store: VectorIndex, name: str) -> None:
    store.create(name, model=MODEL, corpus="c0ffee", parameters=FLAT)
    with pytest.raises(StoreError, match="'c0ffee', but this corpus is 'decaf'"):
        store.create(name, model=MODEL, corpus="decaf", parameters=FLAT)
    for other in (IndexParameters(type="HNSW", build={}, search={}), IndexParameters(metric="L2", build={}, search={})):
        with pytest.raises(StoreError, match="is asked for"):
            store.create(name, model=MODEL, corpus="c0ffee", parameters=other)


def test_vectors_that_mean_nothing_are_refused_and_none_of_the_batch_is_stored(store: VectorIndex, name: str) -> None:
    store.create(name, model=MODEL, corpus="c0ffee", parameters=FLAT)
    good = unit(np.random.default_rng(8), 3)
    for value, message in ((np.nan, "is not finite"), (np.inf, "is not finite"), (0.0, "has length 0"), (0.5, "has length")):
        bad = good.copy()
        bad[1] = value
        with pytest.raises(StoreError, match=f"'p0001'.*{message}"):
            store.insert(name, passages(3), bad)
        with pytest.raises(StoreError, match=f"query 1 .*{message}"):
            store.search(name, bad, top_k=1, model=MODEL)
    with pytest.raises(StoreError, match=r"16 dimensions.*\(3, 8\)"):
        store.insert(name, passages(3), unit(np.random.default_rng(8), 3, 8))
    with pytest.raises(StoreError, match=r"16 dimensions.*\(3, 8\)"):
        store.search(name, unit(np.random.default_rng(8), 3, 8), top_k=1, model=MODEL)
    with pytest.raises(StoreError, match="3 vectors for 2 passages"):
        store.insert(name, passages(2), good)
    assert store.stored_ids(name) == set()


def test_unknown_index_parameters_are_refused(store: VectorIndex, name: str) -> None:
    for kind, build, search, message in (
        ("FLAT", {"nlist": 3}, {}, "no build parameter 'nlist': it takes none"),
        ("HNSW", {}, {"nprobe": 3}, "no search parameter 'nprobe': it takes ef"),
        ("IVF_FLAT", {"nlist": 0}, {}, "is 0: give at least 1"),
    ):
        with pytest.raises(StoreError, match=message):
            store.create(name, model=MODEL, corpus="c", parameters=IndexParameters(type=kind, build=build, search=search))  # type: ignore[arg-type]
    assert store.describe(name) is None


def test_an_alias_moves_at_once_to_a_complete_collection_and_back(store: VectorIndex, name: str) -> None:
    old, new, alias = f"{name}_old", f"{name}_new", f"{name}_alias"
    matrix = unit(np.random.default_rng(9), 5)
    made(store, old, matrix)
    assert store.resolve(alias) is None
    assert store.point(alias, old) is None
    assert store.resolve(alias) == old
    assert store.point(alias, old) == old
    other = ModelIdentity(name="other", revision="1", dimension=DIMENSION)
    store.create(new, model=other, corpus="c0ffee", parameters=FLAT)
    store.insert(new, passages(5, "q"), matrix)
    with pytest.raises(StoreError, match="not complete"):
        store.point(alias, new)
    assert store.search(alias, matrix[:1], top_k=1, model=MODEL)[0][0].passage_id == "p0000"
    store.finish(new)
    assert store.point(alias, new) == old
    info = store.describe(alias)
    assert info is not None
    assert (info.name, info.model) == (new, other)
    assert store.search(alias, matrix[:1], top_k=1, model=other)[0][0].passage_id == "q0000"
    with pytest.raises(StoreError, match="holds vectors of 'other@1'"):
        store.search(alias, matrix[:1], top_k=1, model=MODEL)
    assert store.point(alias, old) == new
    assert store.search(alias, matrix[:1], top_k=1, model=MODEL)[0][0].passage_id == "p0000"


def test_a_collection_with_an_alias_is_not_dropped(store: VectorIndex, name: str) -> None:
    made(store, name, unit(np.random.default_rng(10), 2))
    made(store, f"{name}_b", unit(np.random.default_rng(10), 2))
    store.point(f"{name}_alias", name)
    for what in (name, f"{name}_alias"):
        with pytest.raises(StoreError, match=f"alias '{name}_alias' points to it"):
            store.drop(what, force=True)
    store.point(f"{name}_alias", f"{name}_b")
    for _who_follows_the_alias_or_goes_on in range(2):
        with pytest.raises(StoreError, match=r"can't be dropped yet: \d s ago an alias pointed to it, or a service searched it"):
            store.drop(name)
        store.keep_searched(name, time.time())
    store.keep_searched(name, time.time() - SEARCHED_SECONDS - 1)
    store.drop(name)
    assert store.describe(name) is None
    assert name not in store.collections()
    assert f"{name}_b" in store.collections()
    store.drop(name)  # nothing happens
    made(store, name, unit(np.random.default_rng(11), 2))  # and the name is free again
    assert store.stored_ids(name) == {"p0000", "p0001"}
    store.keep_searched(name, time.time())
    store.drop(name, force=True)
    assert store.describe(name) is None


def test_names_and_aliases_do_not_mix(store: VectorIndex, name: str) -> None:
    made(store, name, unit(np.random.default_rng(12), 2))
    store.point(f"{name}_alias", name)
    with pytest.raises(StoreError, match="is an alias"):
        store.create(f"{name}_alias", model=MODEL, corpus="c0ffee", parameters=FLAT)
    with pytest.raises(StoreError, match="a collection has that name"):
        store.point(name, name)
    assert store.resolve(name) is None


def test_what_is_not_there_is_an_error_that_says_what_to_do(store: VectorIndex, name: str) -> None:
    vectors = unit(np.random.default_rng(13), 1)
    for forbidden in (
        lambda: store.search(name, vectors, top_k=1, model=MODEL),
        lambda: store.insert(name, passages(1), vectors),
        lambda: store.stored_ids(name),
        lambda: store.finish(name),
        lambda: store.point("alias", name),
    ):
        with pytest.raises(StoreError, match=f"there is no collection {name!r}: index the corpus first"):
            forbidden()


def test_ids_and_texts_come_through_whatever_they_hold(store: VectorIndex, name: str) -> None:
    ids = ["it's", 'say "hi"', "back\\slash", "new\nline", "tab\t", "ünïcödé 漢字 🚢", "100%", "a/b#c?d=e", "{x}", " ", "'", '"', "\\"]
    items = [Passage(passage_id=one, document_id=one, title=one, text="x\n\ty " + one, start=0, end=5 + len(one)) for one in ids]
    matrix = unit(np.random.default_rng(14), len(ids))
    made(store, name, matrix, items=items)
    assert store.stored_ids(name) == set(ids)
    found = store.search(name, matrix, top_k=1, model=MODEL)
    assert [hits[0].passage_id for hits in found] == ids


def test_a_query_that_belongs_to_a_group_is_answered_from_it_alone(store: VectorIndex, name: str) -> None:
    rng = np.random.default_rng(21)
    matrix, queries = unit(rng, 90), unit(rng, 6)
    tenants = ["acme", 'o"neil\\', None]
    items = [dataclasses.replace(passage, group=tenants[i % 3]) for i, passage in enumerate(passages(90))]
    store.create(name, model=MODEL, corpus="c0ffee", parameters=dataclasses.replace(FLAT, partition="digest"))
    store.insert(name, items[:60], matrix[30:])  # what is replaced below stays where it belongs
    store.insert(name, items, matrix)
    store.finish(name)
    assert store.stored_ids(name) == {item.passage_id for item in items}
    groups = ["acme", None, 'o"neil\\', "acme", "nobody", None]
    found = store.search(name, queries, top_k=5, model=MODEL, groups=groups)
    for hits, query, group in zip(found, queries, groups, strict=True):
        rows = [i for i in range(90) if group is None or tenants[i % 3] == group]
        (expected,) = exact_search(matrix[rows], [f"p{i:04d}" for i in rows], query[None], 5)
        assert [hit.passage_id for hit in hits] == [hit.passage_id for hit in expected]
    with pytest.raises(StoreError, match="2 groups for 6 queries"):
        store.search(name, queries, top_k=5, model=MODEL, groups=["acme", None])
    with pytest.raises(StoreError, match="is asked for"):
        store.create(name, model=MODEL, corpus="c0ffee", parameters=FLAT)


def test_a_group_is_not_asked_of_a_collection_that_knows_none(store: VectorIndex, name: str) -> None:
    matrix = unit(np.random.default_rng(22), 3)
    made(store, name, matrix)
    with pytest.raises(StoreError, match=r"was made without groups: index the corpus again with index\.partition_by 'group'"):
        store.search(name, matrix[:1], top_k=1, model=MODEL, groups=["acme"])
    assert store.search(name, matrix[:1], top_k=1, model=MODEL, groups=[None]) == store.search(name, matrix[:1], top_k=1, model=MODEL)


def test_what_a_name_and_an_alias_mean_is_told_with_the_model(store: VectorIndex, name: str) -> None:
    assert store.referred(name) is None
    made(store, name, unit(np.random.default_rng(23), 2))
    store.point(f"{name}_alias", name)
    for asked in (name, f"{name}_alias"):
        found = store.referred(asked)
        assert found is not None
        assert found == CollectionRef(name=name, model=MODEL, corpus="c0ffee", index=found.index)
        assert '"metric": "COSINE"' in found.index
    store.keep_recall(name, "sample", 0.25)
    store.keep_recall(f"{name}_alias", "other", 1.0)
    info = store.describe(name)
    assert info is not None
    assert info.recalls == {"sample": 0.25, "other": 1.0}


@pytest.mark.parametrize("metric", ["COSINE", "L2"])
@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_coded_vectors_are_ranked_by_their_codes_as_in_memory(store: VectorIndex, name: str, kind: str, metric: str) -> None:
    rng = np.random.default_rng(15)
    matrix, queries = unit(rng, 300), unit(rng, 20)
    parameters = IndexParameters(metric=metric, build={}, search={}, vectors=kind)  # type: ignore[arg-type]
    if kind == "int8" and is_server(store):
        with pytest.raises(StoreError, match="HNSW only"):
            store.create(name, model=MODEL, corpus="c0ffee", parameters=parameters, sample=matrix)
        return
    oracle = ExactIndex()
    for each in (store, oracle):
        each.create(name, model=MODEL, corpus="c0ffee", parameters=parameters, sample=matrix)
        each.insert(name, passages(300), matrix)
        each.finish(name)
    found, expected = (each.search(name, queries, top_k=10, model=MODEL) for each in (store, oracle))
    for hits, best in zip(found, expected, strict=True):
        assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in best], abs=1e-5)
    if kind == "binary":  # of 16 bits: many are equally near, and stand by id
        assert [[hit.passage_id for hit in hits] for hits in found] == [[hit.passage_id for hit in hits] for hits in expected]
    plain = exact_search(matrix, [p.passage_id for p in passages(300)], queries, 10)
    shared = np.mean([len({h.passage_id for h in a} & {h.passage_id for h in b}) / 10 for a, b in zip(found, plain, strict=True)])
    assert shared > (0.85 if kind == "int8" else 0.2)
    info = store.describe(name)
    assert info is not None
    assert info.parameters == parameters
    store.create(name, model=MODEL, corpus="c0ffee", parameters=parameters)  # its ranges are kept with it
    assert store.search(name, queries, top_k=10, model=MODEL) == found


def test_words_are_ranked_as_in_memory(store: VectorIndex, name: str) -> None:
    rng = np.random.default_rng(16)
    vocabulary = [f"word{i}" for i in range(40)] + ["the", "of"]
    items = []
    for i in range(200):
        text = " ".join(rng.choice(vocabulary, size=int(rng.integers(3, 30))))
        items.append(Passage(passage_id=f"p{i:04d}", document_id=f"d{i}", title="Word7", text=text, start=0, end=len(text)))
    parameters = IndexParameters(build={}, search={}, words=True)
    if is_server(store):
        with pytest.raises(StoreError, match=r"BM25 .* needs 2\.5 or newer"):
            store.create(name, model=MODEL, corpus="c0ffee", parameters=parameters)
        return
    oracle, matrix = ExactIndex(), unit(rng, 200)
    for each in (store, oracle):
        made(each, name, matrix, items=items, parameters=parameters)
    texts = ["word3 WORD4, the word3", "word39", "nothing of it", "", "Word7 word1"]
    found, expected = (each.search_words(name, texts, top_k=10) for each in (store, oracle))
    for hits, best in zip(found, expected, strict=True):
        assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in best], rel=1e-4)
        assert [hit.passage_id for hit in hits] == [hit.passage_id for hit in best]
    assert found[2] == found[3] == ()
    assert store.search(name, matrix[:2], top_k=1, model=MODEL)[1][0].passage_id == "p0001", "vectors are searched as ever"


def is_server(store: VectorIndex) -> bool:
    return isinstance(store, MilvusIndex) and not store.lite
