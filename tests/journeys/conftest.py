"""What several journeys share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from board_pages import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless Chromium; skips by name where there is none."""
    with chromium() as opened:
        yield opened
