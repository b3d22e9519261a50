"""What every page says of a live experiment, made from time to time and kept as one document."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ragtrial.analysis.anatomy import thinned
from ragtrial.analysis.drift import DriftSignal
from ragtrial.analysis.live_guardrail_looks import GuardrailLook
from ragtrial.analysis.side_by_side import PreferencesFound
from ragtrial.db.live_board_reader import LiveBoardReader, LiveBucket
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live_scores import Sums
from ragtrial.errors import StoreError
from ragtrial.report.live_content import LiveContent
from ragtrial.report.summary import MOST_TIMINGS, STAGES, LatencyStage, StageLatency
from ragtrial.stats.quantiles import latency_quantiles

__all__ = [
    "SNAPSHOT_FORM",
    "GuardrailLook",
    "LiveSummary",
    "LiveUsage",
    "PreferencesFound",
    "StageLatency",
    "as_document",
    "latencies",
    "read_live_summary",
    "usage_of",
]

SNAPSHOT_FORM = 2
"""Version of the stored document's form: whoever changes a field of `LiveSummary`, or of what is in it, counts on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveUsage:
    """What the trials of one arm consumed, as far as it is known.

    Attributes:
        arm: The arm that made them.
        n_trials: Trials.
        n_failed: Those that failed.
        n_answers: Those with an answer, abstentions included.
        n_abstained: Answers that abstained.
        n_priced: Trials whose cost is known.
        cost_usd: Summed over these; None where there are none.
        n_counted: Trials whose tokens are known.
        prompt_tokens: Summed over these; None where there are none.
        completion_tokens: Likewise.
    """

    arm: str
    n_trials: int
    n_failed: int
    n_answers: int
    n_abstained: int
    n_priced: int
    cost_usd: float | None
    n_counted: int
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class LiveSummary(LiveContent):
    """What every page says of a live experiment: the content of its reports, and what takes sums of its own.

    Attributes:
        guardrail_looks: How each planned guardrail came about, oldest first; those that were never measured are left out.
        latency: Stage by stage of the trials that count, the control first; in mode interleaved the one arm `interleaved`. The total is
            what users waited; in mode shadow, what the answer took to make.
        usage: Of the trials that belong to the analysis, by arm.
        spent: Of all trials, whatever the reason of their assignment, by arm.
        preferences: What comparisons side by side say.
        drift: How far queries, retrieval and abstentions have moved from how they began, signal by signal and arm by arm.
    """

    guardrail_looks: Mapping[str, tuple[GuardrailLook, ...]] = field(default_factory=dict)
    latency: tuple[StageLatency, ...] = ()
    usage: tuple[LiveUsage, ...] = ()
    spent: tuple[LiveUsage, ...] = ()
    preferences: PreferencesFound = field(default_factory=PreferencesFound)
    drift: tuple[DriftSignal, ...] = ()

    def latency_of(self, arm: str, stage: LatencyStage) -> StageLatency | None:
        """One row of `latency`; None where the arm has made nothing."""
        return next((row for row in self.latency if row.arm == arm and row.stage == stage), None)


def latencies(times: Mapping[str, Sums], *, arms: Sequence[str]) -> tuple[StageLatency, ...]:
    """Each stage of each arm.

    Args:
        times: By arm the milliseconds of embedding, search, reranking (0: there is none), generation and in total of each trial, shape
            (n_trials, 5).
        arms: Those that are expected, in order; others follow.
    """
    rows = []
    for arm in dict.fromkeys([*arms, *times]):
        for place, stage in enumerate(STAGES):
            values = np.sort(times[arm][:, place]) if arm in times else np.empty(0)
            if stage == "rerank" and not values.any():
                continue
            if not values.size:
                rows.append(StageLatency(arm=arm, stage=stage, quantiles=None, reason="nothing that counts was timed so far"))
                continue
            sample = tuple(thinned(values.tolist(), MOST_TIMINGS))
            rows.append(StageLatency(arm=arm, stage=stage, quantiles=latency_quantiles(values), sample_ms=sample))
    return tuple(rows)


def usage_of(buckets: Iterable[LiveBucket]) -> tuple[LiveUsage, ...]:
    """What the trials of some stretches of time consumed, by arm, in the order of their names."""
    by_arm: dict[str, list[LiveBucket]] = {}
    for bucket in buckets:
        by_arm.setdefault(bucket.arm, []).append(bucket)
    return tuple(_usage(arm, by_arm[arm]) for arm in sorted(by_arm))


def _usage(arm: str, buckets: Sequence[LiveBucket]) -> LiveUsage:
    priced, counted = sum(b.priced for b in buckets), sum(b.counted_tokens for b in buckets)
    return LiveUsage(
        arm=arm,
        n_trials=sum(b.trials for b in buckets),
        n_failed=sum(b.failed for b in buckets),
        n_answers=sum(b.answered for b in buckets),
        n_abstained=sum(b.abstained for b in buckets),
        n_priced=priced,
        cost_usd=sum(b.cost_usd for b in buckets) if priced else None,
        n_counted=counted,
        prompt_tokens=sum(b.prompt_tokens for b in buckets) if counted else None,
        completion_tokens=sum(b.completion_tokens for b in buckets) if counted else None,
    )


def as_document(content: LiveSummary) -> dict[str, Any]:
    """All of it but the plan, which is in the log, as JSON; `read_live_summary` makes the same of it again.

    Raises:
        ValueError: A number in it is none: what could not be computed has to be None, with its reason.
    """
    document: dict[str, Any] = _adapter().dump_python(content, mode="json", exclude={"experiment"})
    _require_numbers(document, "the summary")
    return document


def read_live_summary(reader: LiveReader, board: LiveBoardReader, live_id: int) -> LiveSummary | None:
    """What a live experiment had come to when it was last analysed.

    Returns:
        None before the first time, where that could not be concluded (`LiveBoardReader.snapshot` says why), and where it was written in
        another form; but of an experiment whose sums are closed, whose summary is never made again, also another form is read if it can be.

    Raises:
        InputError: There is no such experiment.
        StoreError: The document is not of the form that it says, or the database fails.
    """
    plan, stored = reader.plan(live_id), board.snapshot(live_id)
    if stored is None or stored.document is None:
        return None
    if stored.form != SNAPSHOT_FORM and live_id not in reader.closed():
        return None
    try:
        return _adapter().validate_python({**stored.document, "experiment": plan})
    except ValidationError as error:
        if stored.form != SNAPSHOT_FORM:
            return None
        what = f"the stored summary of live experiment {live_id} can't be read ({error.error_count()} faults)"
        raise StoreError(f"{what}: make it again with ragtrial roll-up") from error


def _require_numbers(value: object, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}: what can't be computed has to be None, with its reason")
    if isinstance(value, dict):
        for name, each in value.items():
            _require_numbers(each, f"{place}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _require_numbers(each, f"{place}[{number}]")


@functools.cache
def _adapter() -> TypeAdapter[LiveSummary]:
    """Compiling the dataclasses takes pydantic some tenths of a second: once per process."""
    return TypeAdapter(LiveSummary)
