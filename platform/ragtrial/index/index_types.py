"""The types of index that can be asked for: their parameters, their bounds, and what they are for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragtrial.contracts import IndexParameters
from ragtrial.errors import StoreError

_CELLS, _LINKS, _VISITS = (1, 65_536), (2, 2_048), (1, 1 << 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeOfIndex:
    """What there is to know of a type.

    Attributes:
        build: Build parameters with their defaults.
        search: Search parameters with their defaults.
        visits: The search parameter that must not be below the hits asked for; it is raised to them where it was not given.
        raises_recall: What to turn where recall is too low, search first.
        lite: Milvus Lite really builds it; with the defaults alone, whatever it is told.
        since: The first server version (major, minor) that has it.
        codes: Kinds of coded vectors that it takes besides float32; the others code vectors themselves.
    """

    build: Mapping[str, int] = field(default_factory=dict)
    search: Mapping[str, int] = field(default_factory=dict)
    visits: str | None = None
    raises_recall: str = ""
    lite: bool = False
    since: tuple[int, int] = (2, 0)
    codes: tuple[str, ...] = ()


TYPES: Mapping[str, TypeOfIndex] = {
    "FLAT": TypeOfIndex(lite=True, codes=("int8", "binary")),
    "IVF_FLAT": TypeOfIndex(
        build={"nlist": 128},
        search={"nprobe": 16},
        raises_recall="raise index.search.nprobe, or lower index.build.nlist",
        lite=True,
        codes=("int8", "binary"),
    ),
    "IVF_SQ8": TypeOfIndex(
        build={"nlist": 128},
        search={"nprobe": 16},
        raises_recall="raise index.search.nprobe; where nprobe is nlist already, one byte a dimension is too coarse: use IVF_FLAT",
        lite=True,
    ),
    "HNSW": TypeOfIndex(
        build={"M": 16, "efConstruction": 200},
        search={"ef": 64},
        visits="ef",
        raises_recall="raise index.search.ef, then index.build.M and efConstruction",
        lite=True,
        codes=("int8",),
    ),
    "HNSW_SQ": TypeOfIndex(
        build={"M": 16, "efConstruction": 200},
        search={"ef": 64},
        visits="ef",
        raises_recall="raise index.search.ef; where that no longer helps, one byte a dimension is too coarse: use HNSW",
        lite=True,
        since=(2, 5),
    ),
    "SCANN": TypeOfIndex(
        build={"nlist": 128},
        search={"nprobe": 16, "reorder_k": 100},
        visits="reorder_k",
        raises_recall="raise index.search.nprobe and reorder_k",
        since=(2, 3),
    ),
    "DISKANN": TypeOfIndex(
        search={"search_list": 100},
        visits="search_list",
        raises_recall="raise index.search.search_list",
        since=(2, 3),
    ),
}

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "nlist": _CELLS,
    "nprobe": _CELLS,
    "M": _LINKS,
    "efConstruction": _VISITS,
    "ef": _VISITS,
    "reorder_k": _VISITS,
    "search_list": _VISITS,
}
"""As Milvus documents them; beyond them a server fails only while it builds or searches."""


def check_parameters(parameters: IndexParameters) -> None:
    """Refuse parameters that the index type doesn't have: a store would ignore them.

    Raises:
        StoreError: An unknown name, a value out of bounds, or vectors that this type doesn't take.
    """
    kind = TYPES[parameters.type]
    _check_vectors(parameters, kind)
    for what, given, known in (("build", parameters.build, kind.build), ("search", parameters.search, kind.search)):
        for name, value in given.items():
            if name not in known:
                expected = ", ".join(known) or "none"
                raise StoreError(f"index {parameters.type} has no {what} parameter {name!r}: it takes {expected}")
            least, most = _BOUNDS[name]
            if value < least:
                raise StoreError(f"{what} parameter {name!r} of index {parameters.type} is {value!r}: give at least {least}")
            if value > most:
                raise StoreError(f"{what} parameter {name!r} of index {parameters.type} is {value!r}: give at most {most}")
    cells = parameters.build.get("nlist", kind.build.get("nlist"))
    if cells is not None and parameters.search.get("nprobe", 1) > cells:
        raise StoreError(
            f"search parameter 'nprobe' of index {parameters.type} is {parameters.search['nprobe']}, but there are {cells} cells (nlist): "
            "give at most that"
        )


def _check_vectors(parameters: IndexParameters, kind: TypeOfIndex) -> None:
    if parameters.vectors == "fp32" or parameters.vectors in kind.codes:
        return
    others = [name for name, each in TYPES.items() if parameters.vectors in each.codes]
    raise StoreError(
        f"index.vectors is {parameters.vectors!r}, for which there is no {parameters.type} index: use type {' or '.join(others)}"
        + (", or index.vectors 'fp32'" if parameters.type not in ("FLAT", "HNSW") else "")
    )


def search_parameters(parameters: IndexParameters, *, top_k: int) -> dict[str, int]:
    """The search parameters, defaults filled in; what must not be below `top_k` (HNSW's `ef`) is raised to it where it was not given.

    Raises:
        StoreError: It is given and below `top_k`: an index can't return more than it visits.
    """
    kind = TYPES[parameters.type]
    chosen = {**kind.search, **parameters.search}
    if "nprobe" in chosen and "nprobe" not in parameters.search:
        chosen["nprobe"] = min(chosen["nprobe"], parameters.build.get("nlist", chosen["nprobe"]))
    if kind.visits is not None and chosen[kind.visits] < top_k:
        if kind.visits in parameters.search:
            raise StoreError(
                f"search parameter {kind.visits!r} of index {parameters.type} is {chosen[kind.visits]}, below top_k {top_k}: give at least top_k"
            )
        chosen[kind.visits] = top_k
    return chosen
