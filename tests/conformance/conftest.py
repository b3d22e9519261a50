"""The real servers behind the conformance suites; each starts once a module, on its first use: an idle Milvus takes a third of a core."""

from collections.abc import Iterator

import pytest

from servers import milvus_server


@pytest.fixture(scope="module")
def milvus_server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus server; the tests that need it are skipped, with the reason, where it can't run."""
    reason = milvus_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    with milvus_server.running(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri
