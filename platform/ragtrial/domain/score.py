"""A score is a number or the reason why there is none."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragtrial.domain.metric import Metric

Design = Literal["paired", "by_unit", "within_query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What an LLM judge said of one trial, once; a judged score is the mean of its opinions.

    Attributes:
        repetition: From 0; each repetition asks the same question anew.
        key: Digest of the question: opinions of equal key were asked once and paid for once, whatever the arm.
        value: Finite, or None.
        unscored: Why there is no value; None where there is one.
        verdict: The word that the judge chose, where it chose from a closed set.
        rationale: What it gave as its reason.
        n_calls: Calls to the LLM that it took.
        prompt_tokens: Of all its calls; None where the server did not say.
        completion_tokens: Likewise.
        cost_usd: Likewise; None where there is no price.
    """

    repetition: int
    key: str
    value: float | None = None
    unscored: str | None = None
    verdict: str | None = None
    rationale: str = ""
    n_calls: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.unscored):
            raise ValueError(f"an opinion has a value or the reason why there is none, got {self.value!r} and {self.unscored!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"an opinion's value is {self.value}: give the reason instead of a value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one trial.

    Attributes:
        metric: Its name.
        value: Finite, or None.
        unscored: Why there is no value, in a few words (it is counted by them); None where there is one.
        scorer: Name and version of what computed it, e.g. `retrieval/1`.
        opinions: What an LLM judge said, one for each repetition; empty where no judge was asked.

    Raises:
        ValueError: Neither or both of value and reason, or a value that is not finite.
    """

    metric: str
    value: float | None = None
    unscored: str | None = None
    scorer: str
    opinions: tuple[Opinion, ...] = ()

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.unscored):
            raise ValueError(
                f"score {self.metric!r}: give a value or the reason why there is none, got {self.value!r} and {self.unscored!r}"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"score {self.metric!r} is {self.value}: give the reason instead of a value")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOpinion:
    """An opinion with the trial that it is about.

    Attributes:
        arm: The trial's arm.
        query_id: The trial's query.
        trial_repetition: The trial's repetition.
        metric: The score that it belongs to.
        opinion: What the judge said.
    """

    arm: str
    query_id: str
    trial_repetition: int
    metric: str
    opinion: Opinion


def score_of(metric: str, opinions: Sequence[Opinion], *, scorer: str) -> Score:
    """The mean of the opinions that have a value; where none has, the most frequent reason.

    Raises:
        ValueError: There is no opinion.
    """
    if not opinions:
        raise ValueError(f"score {metric!r}: no opinion to average")
    values = [opinion.value for opinion in opinions if opinion.value is not None]
    if values:
        return Score(metric=metric, value=math.fsum(values) / len(values), scorer=scorer, opinions=tuple(opinions))
    reasons = Counter(opinion.unscored for opinion in opinions)
    return Score(metric=metric, unscored=reasons.most_common(1)[0][0], scorer=scorer, opinions=tuple(opinions))


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """Both arms' scores of the same queries, repetitions averaged.

    Attributes:
        query_ids: The n queries scored in both arms, in the gold set's order.
        control: Shape (n,).
        treatment: Shape (n,).
        clusters: Shape (n,) of strings, or None where the queries are independent.
        n_queries: Queries asked.
        excluded: How many queries are left out, by arm and reason (`"custom: search failed"`).
    """

    query_ids: tuple[str, ...]
    control: NDArray[np.float64]
    treatment: NDArray[np.float64]
    clusters: NDArray[np.str_] | None
    n_queries: int
    excluded: Mapping[str, int]

    @property
    def n_scored(self) -> int:
        """Queries with a value in both arms."""
        return len(self.query_ids)

    @property
    def differences(self) -> NDArray[np.float64]:
        """Treatment minus control, shape (n,)."""
        return self.treatment - self.control


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """All scores of one metric in one evaluation, a row for each trial.

    Attributes:
        metric: What was measured.
        design: How the arms relate; decides which test is right.
        query_ids: The queries asked, in the gold set's order.
        clusters: The cluster of each query, or None.
        query: Row's query as an index into `query_ids`, shape (rows,).
        arm: Row's arm, shape (rows,) of strings.
        value: Shape (rows,); NaN exactly where `unscored` has a reason. Never read it without `unscored`.
        unscored: Reason or None, shape (rows,) of objects.
    """

    metric: Metric
    design: Design = "paired"
    query_ids: tuple[str, ...]
    clusters: tuple[str, ...] | None = None
    query: NDArray[np.int64]
    arm: NDArray[np.str_]
    value: NDArray[np.float64]
    unscored: NDArray[np.object_]

    def __post_init__(self) -> None:
        missing = np.isnan(self.value)
        reasons = np.array([reason is not None for reason in self.unscored], dtype=bool)
        if not np.array_equal(missing, reasons):
            raise ValueError(
                f"scores of {self.metric.name!r}: {int((missing != reasons).sum())} rows have both or neither of value and reason"
            )

    def per_query(self, arm: str) -> NDArray[np.float64]:
        """The arm's mean over the scored repetitions of each query, shape (n_queries,); NaN where none was scored."""
        rows = (self.arm == arm) & ~np.isnan(self.value)
        n = len(self.query_ids)
        counts = np.bincount(self.query[rows], minlength=n)
        sums = np.bincount(self.query[rows], weights=self.value[rows], minlength=n)
        means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
        return means

    def reasons(self, arm: str) -> dict[str, int]:
        """Unscored rows of the arm, counted by reason."""
        return dict(Counter(reason for reason in self.unscored[self.arm == arm] if reason is not None).most_common())

    def paired(self, control: str, treatment: str) -> PairedScores:
        """The queries that both arms have a value for; the others are counted by arm and reason.

        Raises:
            ValueError: The design is another one, so that a paired comparison would be wrong.
        """
        if self.design != "paired":
            raise ValueError(f"scores of {self.metric.name!r} have the design {self.design!r}: they can't be compared query by query")
        left, right = self.per_query(control), self.per_query(treatment)
        both = ~np.isnan(left) & ~np.isnan(right)
        excluded: Counter[str] = Counter()
        for arm, values in ((control, left), (treatment, right)):
            rows = np.flatnonzero((self.arm == arm) & np.isnan(self.value))[::-1]  # of several repetitions the first one's reason stays
            reasons = dict(zip(self.query[rows].tolist(), self.unscored[rows], strict=True))
            excluded.update(f"{arm}: {reasons.get(index, 'no trial')}" for index in np.flatnonzero(np.isnan(values)).tolist())
        clusters = None if self.clusters is None else np.array(self.clusters)[both]
        return PairedScores(
            query_ids=tuple(self.query_ids[i] for i in np.flatnonzero(both)),
            control=left[both],
            treatment=right[both],
            clusters=clusters,
            n_queries=len(self.query_ids),
            excluded=dict(excluded),
        )
