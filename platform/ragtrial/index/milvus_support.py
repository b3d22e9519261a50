"""What a Milvus can build and search, by its kind and version."""

import re

from ragtrial.contracts import IndexParameters
from ragtrial.errors import StoreError
from ragtrial.index.rules import BUILD_DEFAULTS, check_parameters


def check_supported(parameters: IndexParameters, *, lite: bool) -> None:
    """Whether Milvus, or Milvus Lite, builds an index with these parameters.

    Raises:
        StoreError: It doesn't, or would silently build another one.
    """
    check_parameters(parameters)
    if lite:
        _check_lite_parameters(parameters)
    elif parameters.vectors == "int8" and parameters.type != "HNSW":
        raise StoreError(
            f"index.vectors is 'int8' with type {parameters.type}, but a Milvus server has int8 vectors with HNSW only: use type HNSW"
        )


def check_version(version: str, parameters: IndexParameters) -> None:
    """Whether a server of this version has what is asked for.

    Raises:
        StoreError: It is too old.
    """
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is None:  # a build without a number: it will say itself what it can't do
        return
    number = (int(found[1]), int(found[2]))
    for wanted, since, what in (
        (parameters.words, (2, 5), "BM25 (retrieval.method 'hybrid' or 'bm25')"),
        (parameters.vectors == "int8", (2, 6), "int8 vectors (index.vectors 'int8')"),
    ):
        if wanted and number < since:
            raise StoreError(
                f"the Milvus server is {version}, but {what} needs {since[0]}.{since[1]} or newer: use a newer server, or Milvus Lite"
            )


def _check_lite_parameters(parameters: IndexParameters) -> None:
    fixed = BUILD_DEFAULTS[parameters.type]
    for name, value in parameters.build.items():
        if value != fixed[name]:
            raise StoreError(
                f"build parameter {name!r} of index {parameters.type} is {value}, but Milvus Lite always builds with {fixed[name]}: "
                "leave it out, or use a Milvus server"
            )
