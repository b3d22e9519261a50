"""What a result was computed with."""

import platform
from importlib import metadata

from ragtrial import __version__

_LIBRARIES = ("numpy", "scipy", "statsmodels", "torch", "sentence-transformers", "pymilvus", "milvus-lite", "bm25s", "sqlalchemy")


def environment() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    versions = {"ragtrial": __version__, "python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return versions
