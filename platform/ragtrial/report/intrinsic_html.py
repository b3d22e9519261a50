"""Intrinsic evaluations as one page that holds everything it shows, needs no script and asks nothing of any network."""

from collections.abc import Sequence

from ragtrial.domain.intrinsic import Intrinsic, Measured
from ragtrial.report import assessment_words, words
from ragtrial.report import intrinsic_words as said
from ragtrial.report.page import rendered

MOST_PAIRS = 60
"""Term pairs that are listed of a model; the JSON has them all."""


def as_intrinsic_html(found: Sequence[Intrinsic]) -> str:
    """The page, a section for each model."""
    return rendered("intrinsic.html.j2", found=found, said=said, estimate=assessment_words, words=words, tone=tone, most=MOST_PAIRS)


def tone(row: Measured) -> str:
    """Class of a change beyond chance: `up` where it is for the better, `down` where it is for the worse; else empty."""
    return {"green": "up", "red": "down", "": ""}[said.style(row)]
