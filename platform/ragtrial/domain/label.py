"""What people say of answers that an LLM judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Selection = Literal["random", "volunteered"]
"""How an answer came to be labelled: drawn at random, or because somebody felt like it (thumbs, complaints, odd cases)."""

_BY_REFERENCE: Mapping[str, float] = {"correct": 1.0, "partly": 0.5, "wrong": 0.0, "abstained": 0.0}
_BY_PASSAGES: Mapping[str, float] = {"grounded": 1.0, "partly": 0.5, "ungrounded": 0.0}

LABEL_WORDS: Mapping[str, Mapping[str, float]] = {
    "judge_correctness": _BY_REFERENCE,
    "factual_correctness": _BY_REFERENCE,
    "answer_accuracy": _BY_REFERENCE,
    "judge_groundedness": _BY_PASSAGES,
    "faithfulness": _BY_PASSAGES,
}
"""The judged metrics that people can be asked about, each with its closed set of words and their values, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said of one trial's answer.

    Attributes:
        evaluation_id: The trial's evaluation.
        arm: The trial's arm.
        query_id: The trial's query.
        repetition: The trial's repetition.
        metric: What was asked, one of `LABEL_WORDS`.
        word: The answer, one of the metric's words.
        value: What the word is worth on the metric's scale.
        scorer: Version of the judge that had scored the answer when it was labelled.
        selection: How the answer came to be labelled.
        probability: Chance that its query had to be drawn, in (0, 1]; None where all were equal, or none is known.
        labeller: Who said it; the last label of a labeller counts.
        note: Why, if they said.

    Raises:
        ValueError: The value is not finite, the selection is unknown, or the probability is outside of (0, 1].
    """

    evaluation_id: str
    arm: str
    query_id: str
    repetition: int = 0
    metric: str
    word: str
    value: float
    scorer: str
    selection: Selection
    probability: float | None = None
    labeller: str
    note: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"label {self.word!r} of {self.query_id!r} is worth {self.value}: give a finite value")
        if self.selection not in get_args(Selection):
            raise ValueError(f"label of {self.query_id!r}: selection {self.selection!r} is none of {', '.join(get_args(Selection))}")
        if self.probability is not None and not 0.0 < self.probability <= 1.0:
            raise ValueError(f"label of {self.query_id!r}: probability {self.probability} is outside of (0, 1]")

    @property
    def trial(self) -> tuple[str, str, int]:
        """Arm, query id and repetition of the trial."""
        return self.arm, self.query_id, self.repetition


def word_of(metric: str, value: float, verdict: str | None = None) -> str:
    """What a judge's opinion would be called in the words that people choose from.

    The judge's own verdict where it is such a word; else the best word for the top of the scale, the worst for its bottom, and the one
    between them for anything between.

    Raises:
        KeyError: People can't be asked about this metric.
    """
    words = LABEL_WORDS[metric]
    if verdict in words:
        return str(verdict)
    names = list(words)
    if value >= words[names[0]]:
        return names[0]
    return names[1] if value > 0.0 else names[2]
