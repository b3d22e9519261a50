"""Where faults are planted: at the border, in the place of a part of the service, with the product behind it untouched."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from ragtrial.contracts import Embedder, Generator, Kind, Vectors
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.live_trial import LiveTrial
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import SetupError
from ragtrial.serving.answering import ServingArm
from ragtrial.serving.parts import ServiceParts
from ragtrial.splitting import drawn

Alter = Callable[[ServiceParts], ServiceParts]


@dataclass(kw_only=True)
class BorderRecorder:
    """A `LiveRecorder` that changes or loses what it is given; everything else goes to the real one.

    Attributes:
        inner: The real one.
        trial: What becomes of a trial: it, another one, or None where it is lost.
        scores: What becomes of a trial's scores; None where the batch is lost.
    """

    inner: LiveRecorder
    trial: Callable[[LiveTrial], LiveTrial | None] = field(default=lambda trial: trial)
    scores: Callable[[str, Sequence[Score]], Sequence[Score] | None] = field(default=lambda _trial_id, scores: scores)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def log(self, *trials: LiveTrial) -> "Future[None]":
        """As `LiveRecorder.log`; what is lost counts as written for whoever waits for it."""
        kept = [each for trial in trials if (each := self.trial(trial)) is not None]
        return self.inner.log(*kept) if kept else _done()

    def score(self, trial_id: str, scores: Sequence[Score]) -> "Future[None]":
        """As `LiveRecorder.score`, likewise."""
        kept = self.scores(trial_id, scores)
        return _done() if kept is None else self.inner.score(trial_id, kept)


def _done() -> "Future[None]":
    future: Future[None] = Future()
    future.set_result(None)
    return future


def recording(parts: ServiceParts, **changes: Any) -> ServiceParts:
    """The parts with a recorder that does as `changes` of `BorderRecorder` say."""
    border = BorderRecorder(inner=parts.recorder, **changes)
    return replace(parts, recorder=cast("LiveRecorder", border))  # it answers to all that a recorder does


def in_treatment(parts: ServiceParts, change: Callable[[ServingArm], ServingArm]) -> ServiceParts:
    """The parts with another treatment."""
    return replace(parts, treatment=change(parts.treatment))


def _visit(trial: LiveTrial) -> str:
    """What names a visit alike in each run of one seed; trials get new names each time."""
    return trial.idempotency_key or trial.trial_id


def losing(share: float) -> Alter:
    """The records of a share of the treatment's units never arrive, as where a client breaks in one arm."""

    def alter(parts: ServiceParts) -> ServiceParts:
        arm = parts.treatment.pipeline.arm

        def keep(trial: LiveTrial) -> LiveTrial | None:
            lost = trial.assignment.arm == arm and trial.unit is not None and drawn("lost", trial.unit, share)
            return None if lost else trial

        return recording(parts, trial=keep)

    return alter


def mixing(share: float) -> Alter:
    """A share of the requests of the units that come back is logged for the other arm, as behind a cache that forgets who asked."""

    def alter(parts: ServiceParts) -> ServiceParts:
        arms = (parts.control.pipeline.arm, parts.treatment.pipeline.arm)
        other = {arms[0]: arms[1], arms[1]: arms[0]}

        def mixed(trial: LiveTrial) -> LiveTrial:
            if not drawn("mixed", _visit(trial), share) or trial.assignment.arm not in other:
                return trial
            arm = other[trial.assignment.arm]
            return replace(trial, assignment=replace(trial.assignment, arm=arm), trial=replace(trial.trial, arm=arm))

        return recording(parts, trial=mixed)

    return alter


def dropping_scores_once() -> Alter:
    """Every other batch of scores is lost the first time it is written."""

    def alter(parts: ServiceParts) -> ServiceParts:
        seen, of = set[str](), dict[str, str]()

        def note(trial: LiveTrial) -> LiveTrial:
            of[trial.trial_id] = _visit(trial)
            return trial

        def keep(trial_id: str, scores: Sequence[Score]) -> Sequence[Score] | None:
            first = trial_id not in seen
            seen.add(trial_id)
            return None if first and drawn("score lost", of.get(trial_id, ""), 0.5) else scores

        return recording(parts, trial=note, scores=keep)

    return alter


def hiding_scores(share: float) -> Alter:
    """The treatment's worst answers get a reason in the place of a score, as where a scorer gives up on what is hard."""

    def alter(parts: ServiceParts) -> ServiceParts:
        arm, of = parts.treatment.pipeline.arm, dict[str, tuple[str, str]]()

        def note(trial: LiveTrial) -> LiveTrial:
            of[trial.trial_id] = (trial.trial.arm, _visit(trial))
            return trial

        def keep(trial_id: str, scores: Sequence[Score]) -> Sequence[Score]:
            made_by, visit = of.get(trial_id, ("", ""))
            if made_by != arm or not drawn("hidden", visit, share):
                return scores
            bad = any(score.value == 0 for score in scores)
            return [replace(score, value=None, unscored="the scorer gave up") for score in scores] if bad else scores

        return recording(parts, trial=note, scores=keep)

    return alter


@dataclass(frozen=True, kw_only=True)
class Troubled:
    """A generator in front of which something happens."""

    inner: Generator
    before: Callable[[Query], None]

    @property
    def version(self) -> str:
        """Of the real one."""
        return self.inner.version

    @property
    def settings(self) -> Mapping[str, str]:
        """Of the real one."""
        return self.inner.settings

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """As the real one, if it comes so far."""
        self.before(query)
        return self.inner.generate(query, passages)


def troubled(before: Callable[[Query], None]) -> Alter:
    """Something happens before the treatment's generator is asked; not while it is warmed up."""

    def quietly(query: Query) -> None:
        if query.query_id != "warm-up":
            before(query)

    def change(arm: ServingArm) -> ServingArm:
        if arm.pipeline.generator is None:
            raise SetupError("the self-test's arms have no generator")
        return replace(arm, pipeline=replace(arm.pipeline, generator=Troubled(inner=arm.pipeline.generator, before=quietly)))

    return lambda parts: in_treatment(parts, change)


def slow(seconds: float) -> Alter:
    """The treatment's generator takes so much longer."""
    return troubled(lambda _query: time.sleep(seconds))


def failing(share: float) -> Alter:
    """The treatment's generator fails on a share of the queries."""

    def before(query: Query) -> None:
        if drawn("failing", query.query_id, share):
            raise SetupError("the generator's server hung up (planted by the self-test)")

    return troubled(before)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """An embedder whose vectors of some texts are NaN."""

    inner: Embedder
    share: float

    @property
    def identity(self) -> ModelIdentity:
        """Of the real one."""
        return self.inner.identity

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        """As the real one, but for some queries."""
        rows = self.inner.embed(texts, kind=kind, progress=progress).copy()
        rows[[text != "warm-up" and drawn("nan", text, self.share) for text in texts]] = np.nan
        return rows

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Of the real one."""
        return self.inner.count_tokens(texts)


def not_finite(share: float) -> Alter:
    """The treatment's model returns NaN for a share of the queries."""
    return _embedding(lambda inner: Broken(inner=inner, share=share))


def another_model() -> Alter:
    """The treatment asks with another model than the one that its collection was built with; the dimension fits."""
    return _embedding(lambda inner: HashingEmbedder(model="another", dimension=inner.identity.dimension))


def _embedding(made: Callable[[Embedder], Embedder]) -> Alter:
    return lambda parts: in_treatment(parts, lambda arm: replace(arm, search=replace(arm.search, embedder=made(arm.search.embedder))))
