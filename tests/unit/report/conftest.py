"""The made-up evaluation, built once."""

import pytest

from ragtrial.report.content import ReportContent
from unit.report.samples import build


@pytest.fixture(scope="session")
def content() -> ReportContent:
    return build()
