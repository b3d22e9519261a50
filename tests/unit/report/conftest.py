"""The made-up evaluation, built once."""

from typing import Any

import altair as alt
import pytest

from ragtrial.report.content import ReportContent
from unit.report.samples import build


@pytest.fixture(scope="session")
def content() -> ReportContent:
    return build()


@pytest.fixture(autouse=True)
def charts_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Altair's check against Vega-Lite's schema takes most of the time that a chart takes, so pages leave it out: every chart has it here."""
    for kind in (alt.Chart, alt.LayerChart, alt.HConcatChart):
        monkeypatch.setattr(kind, "to_dict", _checked(kind.to_dict))


def _checked(to_dict: Any) -> Any:
    """Charts within a chart are left as they are: only the whole is one by itself."""
    return lambda self, **told: to_dict(self, **(told if "context" in told else {**told, "validate": True}))
