"""How both arms did on one query of an evaluation, in numbers that tables of queries are filtered and sorted by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

TIE = 1e-9
"""Differences closer to 0 than this are ties: what is left of float rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOutcome:
    """One query of an evaluation in both arms; None is what could not be measured, never 0.

    Scores are means over the repetitions. Passages are those of the first repetition that has a ranking.

    Attributes:
        position: The query's place in the gold set, from 0.
        query_id: Its id.
        text: As it was asked.
        tags: As in the gold set.
        words: Words of the text.
        baseline: The control's score on the primary metric.
        custom: The treatment's.
        gain: The treatment's minus the control's, turned so that more is better; None where either has no score.
        baseline_answer: The control's score on the headline answer metric.
        custom_answer: The treatment's.
        answer_gain: Their difference, as `gain`.
        relevant: Relevant passages in the gold set.
        baseline_found: Of these, those that the control retrieved; 0 where its search failed, which `failed` counts.
        custom_found: Those that the treatment retrieved.
        overlap: Share of the top k that both arms have in common; None where either has no ranking, or both found nothing.
        unjudged: Passages without a judgment that either arm retrieved.
        failed: Failed trials of both arms.
    """

    position: int
    query_id: str
    text: str
    tags: Mapping[str, str] = field(default_factory=dict)
    words: int
    baseline: float | None
    custom: float | None
    gain: float | None
    baseline_answer: float | None
    custom_answer: float | None
    answer_gain: float | None
    relevant: int
    baseline_found: int
    custom_found: int
    overlap: float | None
    unjudged: int
    failed: int
