"""A live experiment in each mode, and one live trial of every kind."""

import dataclasses
from collections.abc import Mapping
from hashlib import sha256

from ragtrial.domain.experiment import Experiment, PrimaryMetric
from ragtrial.domain.live import Assignment, LiveMetrics, LiveSpec, Mode, TrafficState
from ragtrial.domain.live_trial import LiveTrial, Signal, SignalEvent, StoredQuery, Team, Thumb, Vote
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial, Usage
from ragtrial.splitting import Split, pseudonym
from unit.db import samples

START = 1_800_000_000.0
"""Of every experiment here, seconds since 1970: 2027-01-15, 08:00 UTC."""

DAY = 86_400.0


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def experiment(mode: Mode = "split", *, name: str = "handbook", **live: object) -> Experiment:
    primary = PrimaryMetric(name="preference" if mode == "interleaved" else "nDCG@10")
    spec = LiveSpec(mode=mode, metrics=LiveMetrics(primary=primary), **live)
    return dataclasses.replace(samples.EXPERIMENT, name=name, live=spec)


def query(text: str = "What opens the gate?", *, gold: str | None = None) -> StoredQuery:
    return StoredQuery(text=text, digest=sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32], stored="full", gold_query_id=gold)


def answered(
    arm: str, *, text: str = "a token — naïve", passages: tuple[str, ...] = ("p3", "p1"), cited: tuple[str, ...] = ("p1",)
) -> Trial:
    """A trial that went well; an empty text is an abstention."""
    digest = query().digest
    return Trial(
        arm=arm,
        query_id=digest,
        ranking=Ranking(query_id=digest, hits=tuple(Hit(passage_id=p, similarity=0.9 - 0.1 * n) for n, p in enumerate(passages))),
        answer=Answer(
            text=text,
            cited=cited if text else (),
            finish_reason="stop" if text else "abstained",
            generator="extractive/1",
            usage=Usage(prompt_tokens=120, cached_tokens=64, completion_tokens=7, cost_usd=0.00012),
            generate_ms=3.25,
            made_at=START - 5,
        ),
        timings=Timings(embed_ms=1.25, search_ms=0.5, generate_ms=3.5),
    )


def taking(arm: str, total_ms: float) -> Trial:
    """An answer that took so long to make."""
    return dataclasses.replace(answered(arm), timings=Timings(embed_ms=total_ms - 2, search_ms=1.5, generate_ms=0.5))


def failed(arm: str) -> Trial:
    return Trial(arm=arm, query_id=query().digest, failure=Failure(stage="search", kind="StoreError", message="Milvus is gone"))


def counted(unit: str, arm: str, *, version: int = 1, propensity: float = 0.5) -> Assignment:
    """An assignment of the experiment proper, whatever the unit's hash says."""
    return Assignment(unit=None, arm=arm, reason="split", bucket=17, propensity=propensity, version=version)


def live_trial(
    trial_id: str,
    unit: str | None = "ann",
    arm: str = "baseline",
    *,
    made: Trial | None = None,
    assignment: Assignment | None = None,
    request_id: str | None = None,
    waited_ms: float = 12.5,
    at: float = START + 60,
    teams: Mapping[str, Team] | None = None,
    version: int = 1,
    **more: object,
) -> LiveTrial:
    """A trial that counts, of a unit that is named as callers would; with `request_id` a silent twin of that request."""
    given = assignment or (
        Assignment(unit=None, arm=arm, reason="no unit", version=version)
        if unit is None
        else counted(unit, "baseline" if request_id else arm, version=version)
    )
    return LiveTrial(
        trial_id=trial_id,
        request_id=request_id or trial_id,
        experiment="handbook",
        unit=None if unit is None else pseudonym(unit),
        assignment=given,
        served=request_id is None,
        query=query(),
        trial=made or answered(arm),
        teams=teams,
        waited_ms=waited_ms,
        caller="chat",
        at=at,
        **more,
    )


def assigned(experiment: Experiment, unit: str, state: TrafficState) -> Assignment:
    """What the split says, without the unit: as it comes back from the log."""
    return dataclasses.replace(Split.of(experiment).assign(unit, state), unit=None)


EVERY_KIND = (
    live_trial("t1", "ann", "baseline", solicited=True, idempotency_key="k1"),
    live_trial("t2", "bob", "custom", made=answered("custom", text="")),
    live_trial("t3", None, made=Trial(arm="baseline", query_id=query().digest, ranking=Ranking(query_id=query().digest, hits=()))),
    live_trial("t4", "cid", "custom", made=failed("custom")),
    live_trial("t5", "ann", "custom", request_id="t1", idempotency_key="k1"),
    live_trial(
        "t6",
        "dot",
        "interleaved",
        teams={"p3": "control", "p1": "treatment"},
        assignment=Assignment(unit=None, arm="interleaved", reason="split", bucket=0, propensity=1.0, version=1),
    ),
    live_trial("t7", "eve", assignment=Assignment(unit=None, arm="baseline", reason="override", bucket=9999, version=1)),
    dataclasses.replace(
        live_trial("t8", "fay"),
        query=StoredQuery(text=None, digest="0" * 32, stored="hash", gold_query_id="q2"),
        trial=dataclasses.replace(failed("baseline"), query_id="0" * 32),
    ),
)
"""In the order in which they are logged; without two served trials of one idempotency key."""


def vote(trial_id: str, key: str, thumb: Thumb = "up", *, source: str | None = None, at: float = START + 120, comment: str = "") -> Vote:
    return Vote(trial_id=trial_id, key=key, thumb=thumb, passage_id=source, at=at, comment=comment)


def signal(trial_id: str, key: str, kind: Signal = "copied", *, at: float = START + 120) -> SignalEvent:
    return SignalEvent(trial_id=trial_id, key=key, signal=kind, at=at)
