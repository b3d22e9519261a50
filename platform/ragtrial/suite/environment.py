"""What a result was computed with."""

import platform
from collections.abc import Sequence
from importlib import metadata

from ragtrial import __version__

_LIBRARIES = ("numpy", "scipy", "statsmodels", "torch", "sentence-transformers", "pymilvus", "milvus-lite", "bm25s", "sqlalchemy")


def environment(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions of what the numbers depend on, and of further libraries."""
    versions = {"ragtrial": __version__, "python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for library in (*_LIBRARIES, *more):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return versions
