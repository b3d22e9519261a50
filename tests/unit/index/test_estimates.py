"""What an index is said to take against what faiss, which Milvus builds with, really makes."""

import faiss
import numpy as np
import pytest

from ragtrial.contracts import IndexParameters
from ragtrial.index.estimates import SEGMENT_BYTES, index_size, node_memory

N, D = 8_000, 64
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def serialized(index: "faiss.Index") -> int:
    index.train(ROWS)
    index.add(ROWS)
    return len(faiss.serialize_index(index))


def size(kind: str, n: int = N, dimension: int = D, **more: object) -> int:
    parameters = IndexParameters(type=kind, build=more.pop("build", {}), search={}, **more)  # type: ignore[arg-type]
    return index_size(parameters, n=n, dimension=dimension).memory


@pytest.mark.parametrize("links", [8, 16, 48])
def test_an_hnsw_graph_is_as_large_as_faiss_writes_it(links: int) -> None:
    flat = serialized(faiss.IndexHNSWFlat(D, links))
    coded = serialized(faiss.IndexHNSWSQ(D, faiss.ScalarQuantizer.QT_8bit, links))
    assert size("HNSW", build={"M": links}) == pytest.approx(flat, rel=0.02)
    assert size("HNSW_SQ", build={"M": links}) == pytest.approx(coded, rel=0.02)


@pytest.mark.parametrize("cells", [16, 128])
def test_inverted_files_are_as_large_as_faiss_writes_them(cells: int) -> None:
    coarse = faiss.IndexFlatIP(D)
    flat = serialized(faiss.IndexIVFFlat(coarse, D, cells, faiss.METRIC_INNER_PRODUCT))
    coded = serialized(
        faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(D), D, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    )
    assert size("IVF_FLAT", build={"nlist": cells}) == pytest.approx(flat, rel=0.01)
    assert size("IVF_SQ8", build={"nlist": cells}) == pytest.approx(coded, rel=0.01)


def test_flat_is_the_vectors_as_they_are_stored() -> None:
    assert size("FLAT") == pytest.approx(serialized(faiss.IndexFlatIP(D)), rel=0.001) == N * D * 4
    assert (size("FLAT", vectors="int8"), size("FLAT", vectors="binary")) == (N * D, N * D // 8)
    bits = faiss.IndexBinaryFlat(D)
    bits.add(np.packbits(ROWS > 0, axis=1))
    assert size("FLAT", vectors="binary") == pytest.approx(len(faiss.serialize_index_binary(bits)), rel=0.01)


def test_four_bits_for_two_dimensions_are_what_scann_adds_to_the_vectors() -> None:
    codes = faiss.IndexIVFPQFastScan(faiss.IndexFlatL2(D), D, 16, D // 2, 4)
    assert size("SCANN", build={"nlist": 16}) - N * D * 4 == pytest.approx(serialized(codes), rel=0.1)  # faiss pads blocks of 32


def test_diskann_holds_codes_and_lies_on_disk_in_sectors() -> None:
    found = index_size(IndexParameters(type="DISKANN", build={}, search={}), n=1_000_000, dimension=768)
    assert found.memory == round(1_000_000 * 768 * 4 * 0.225)  # 691 MB where HNSW holds 3,216
    assert found.disk == 1_000_000 * 4_096  # 4 (768 + 57) = 3,300 bytes a node: one fits into a sector
    small = index_size(IndexParameters(type="DISKANN", build={}, search={}), n=1_000_000, dimension=384)
    assert small.disk == 500_000 * 4_096  # 1,764 bytes: two
    large = index_size(IndexParameters(type="DISKANN", build={}, search={}), n=10, dimension=1_536)
    assert large.disk == 10 * 2 * 4_096  # 6,372 bytes: two sectors each


def test_centroids_are_counted_for_each_segment() -> None:
    n = 3 * SEGMENT_BYTES // (4 * 1024)  # three full segments of 1,024 dimensions
    assert size("IVF_FLAT", n=n, dimension=1024) - n * (4 * 1024 + 8) == 3 * 128 * 4 * 1024


def test_query_nodes_need_more_than_they_load() -> None:
    assert node_memory(900) == 1_200  # 1.2 times, and a node loads up to 90 % of what it has
