"""Which index can be asked for, with which parameters, of which store."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from ragtrial.build import index_parameters, reading_of
from ragtrial.contracts import IndexParameters
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.experiment import RetrievalSpec
from ragtrial.domain.gold import Query
from ragtrial.domain.index import IndexSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import InputError, StoreError
from ragtrial.index.exact import ExactIndex
from ragtrial.index.index_types import TYPES, check_parameters, search_parameters
from ragtrial.index.milvus import MilvusIndex
from ragtrial.index.milvus_support import check_supported, check_version
from ragtrial.index.reading import Reading
from ragtrial.indexing import index_arm
from ragtrial.suite.retrieving import build_retriever


def asked(kind: str, build: dict[str, int] | None = None, search: dict[str, int] | None = None, **more: object) -> IndexParameters:
    return IndexParameters(type=kind, build=build or {}, search=search or {}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (asked("IVF_SQ8", {"M": 8}), "IVF_SQ8 has no build parameter 'M': it takes nlist"),
        (asked("DISKANN", {"max_degree": 8}), "DISKANN has no build parameter 'max_degree': it takes none"),
        (asked("SCANN", {}, {"ef": 8}), "SCANN has no search parameter 'ef': it takes nprobe, reorder_k"),
        (asked("HNSW", {"M": 1}), "'M' of index HNSW is 1: give at least 2"),
        (asked("HNSW", {"M": 4096}), "'M' of index HNSW is 4096: give at most 2048"),
        (asked("IVF_FLAT", {"nlist": 65_537}), "give at most 65536"),
        (asked("IVF_FLAT", {"nlist": 64}, {"nprobe": 65}), "'nprobe' of index IVF_FLAT is 65, but there are 64 cells"),
        (asked("IVF_SQ8", {}, {"nprobe": 129}), "there are 128 cells"),
        (asked("HNSW", vectors="binary"), "'binary', for which there is no HNSW index: use type FLAT or IVF_FLAT"),
        (asked("IVF_SQ8", vectors="int8"), "no IVF_SQ8 index: use type FLAT or IVF_FLAT or HNSW, or index.vectors 'fp32'"),
        (asked("DISKANN", vectors="binary"), "no DISKANN index"),
    ],
)
def test_parameters_that_a_store_would_ignore_or_choke_on_are_refused(parameters: IndexParameters, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        check_parameters(parameters)


def test_what_must_not_be_below_the_hits_is_raised_to_them_where_it_was_not_given() -> None:
    assert search_parameters(asked("DISKANN"), top_k=300) == {"search_list": 300}
    assert search_parameters(asked("SCANN"), top_k=5) == {"nprobe": 16, "reorder_k": 100}
    assert search_parameters(asked("IVF_SQ8", {"nlist": 4}), top_k=5) == {"nprobe": 4}
    with pytest.raises(StoreError, match="'search_list' of index DISKANN is 20, below top_k 30"):
        search_parameters(asked("DISKANN", {}, {"search_list": 20}), top_k=30)


def test_milvus_lite_is_asked_for_no_index_that_it_does_not_build() -> None:
    for kind in ("SCANN", "DISKANN"):
        with pytest.raises(StoreError, match=f"Milvus Lite has no {kind} index and would search every vector one by one"):
            check_supported(asked(kind), lite=True)
    for kind in sorted(TYPES.keys() - {"SCANN", "DISKANN"}):
        check_supported(asked(kind), lite=True)
    with pytest.raises(StoreError, match="'nlist' of index IVF_SQ8 is 64, but Milvus Lite always builds with 128"):
        check_supported(asked("IVF_SQ8", {"nlist": 64}), lite=True)


def test_what_changes_no_result_is_no_reason_to_refuse_a_file_that_a_cluster_runs(tmp_path: Path) -> None:
    reading = Reading(replicas=2, mmap=True, resource_groups=("a",), consistency="Strong")
    with contextlib.closing(MilvusIndex(str(tmp_path / "milvus.db"), reading=reading)) as index:
        model, vector = ModelIdentity(name="m", revision="1", dimension=2), np.array([[1, 0]], dtype=np.float32)
        index.create("c", model=model, corpus="c", parameters=asked("FLAT", shards=4))
        index.insert("c", [Passage(passage_id="p", document_id="d", text="x", start=0, end=1)], vector)
        index.finish("c")
        assert index.search("c", vector, top_k=1, model=model)[0][0].passage_id == "p"


def test_servers_that_are_too_old_are_refused_with_the_version_that_has_it() -> None:
    for version, parameters, reading, message in (
        ("2.4.1", asked("HNSW_SQ"), None, "index.type HNSW_SQ needs 2.5 or newer: use a newer server, or Milvus Lite"),
        ("2.2.9", asked("SCANN"), None, "index.type SCANN needs 2.3 or newer: use a newer server$"),
        ("2.2.9", asked("FLAT", partition="x"), None, r"a partition key \(index.partition_by\) needs 2.3"),
        ("v2.3.5", asked("FLAT"), Reading(mmap=True), "index.mmap.*needs 2.4"),
        ("v2.3.5-lite", asked("DISKANN"), None, "never finishes a DISKANN index: use a full server"),
    ):
        with pytest.raises(StoreError, match=message):
            check_version(version, parameters, reading)
    check_version("2.6.1", asked("HNSW_SQ", partition="x"), Reading(mmap=True))
    check_version("2.3.5", asked("DISKANN"))


def test_arms_are_loaded_alike_or_not_at_all() -> None:
    one = IndexSpec(replicas=2, consistency="Session", resource_groups=("hot",))
    assert reading_of([one, one]) == Reading(replicas=2, consistency="Session", resource_groups=("hot",))
    with pytest.raises(InputError, match=r"index\.replicas is 2 for one arm and 1 for the other"):
        reading_of([one, IndexSpec(consistency="Session", resource_groups=("hot",))])


def test_the_way_a_collection_is_read_is_no_part_of_what_it_is() -> None:
    plain = index_parameters(IndexSpec(type="HNSW"))
    assert index_parameters(IndexSpec(type="HNSW", replicas=3, consistency="Strong", mmap=True, min_recall=0.5)) == plain
    assert index_parameters(IndexSpec(type="HNSW", shards=2)) != plain
    for wrong, message in (
        ({"shards": 17}, "give 1 to 16"),
        ({"replicas": 0}, "at least 1"),
        ({"partition_tag": "t"}, "needs partition_by"),
    ):
        with pytest.raises(ValueError, match=message):
            IndexSpec(**wrong)  # type: ignore[arg-type]


def test_a_query_s_tag_names_the_group_it_is_searched_in() -> None:
    embedder, index = HashingEmbedder(model="h", dimension=64), ExactIndex()
    items = [
        Passage(
            passage_id=f"{group}{i}", document_id="d", text=f"gate {i} of the yard", start=0, end=len(f"gate {i} of the yard"), group=group
        )
        for group in ("acme", "beta")
        for i in range(4)
    ]
    facts = index_arm(
        corpus=Corpus(name="c", passages=tuple(items)),
        embedder=embedder,
        index=index,
        parameters=index_parameters(RetrievalSpec(method="hybrid", index=IndexSpec(partition_by="group"))),
        alias="arm",
    )
    queries = [
        Query(query_id="1", text="gate 2", tags={"tenant": "beta"}),
        Query(query_id="2", text="gate 2"),
        Query(query_id="3", text="gate 2", tags={"tenant": "acme"}),
    ]
    for method in ("dense", "hybrid", "bm25"):
        spec = RetrievalSpec(method=method, index=IndexSpec(partition_by="group", partition_tag="tenant"))  # type: ignore[arg-type]
        found = build_retriever(spec, embedder=embedder, index=index, collection=facts.collection).retrieve(queries, top_k=8)
        groups = [{hit.passage_id[:4] for hit in hits} for hits in found.hits]
        assert groups == [{"beta"}, {"acme", "beta"}, {"acme"}]


def test_other_groups_of_the_same_passages_are_another_collection() -> None:
    one, other = (
        Corpus(name="c", passages=(Passage(passage_id="p", document_id="d", text="x", start=0, end=1, group=group),))
        for group in ("a", "b")
    )
    assert one.fingerprint == other.fingerprint
    model, parameters = HashingEmbedder(model="h", dimension=8), asked("FLAT", partition="group")
    index = ExactIndex()
    names = [index_arm(corpus=each, embedder=model, index=index, parameters=parameters, alias="arm").collection for each in (one, other)]
    assert names[0] != names[1]
