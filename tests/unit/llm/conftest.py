"""What the tests of the gate share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragtrial.llm.cache import CallCache
from scripted_llm import ScriptedLlm


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CallCache]:
    with CallCache(tmp_path / "calls") as opened:
        yield opened
