"""What runs beside the answers of a service: scoring in the background, and the watch over its guardrails."""

import asyncio
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from ragtrial.analysis.live_guardrails import guardrail_alarms
from ragtrial.build import build_embedder
from ragtrial.contracts import Embedder, Scorer
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_verdict import GuardrailAlarm
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.errors import InputError
from ragtrial.scoring.choosing import Judging, build_scorers
from ragtrial.serving.borrowing import BorrowedEmbedder
from ragtrial.serving.renewing import Renewed, RenewedScorer
from ragtrial.serving.scoring import BackgroundScoring, ScoringPlan
from ragtrial.serving.service import LiveService
from ragtrial.serving.watching import GuardrailWatch
from ragtrial.suite.calls import judging_of
from ragtrial.suite.leading import leadership, while_leading
from ragtrial.suite.live_analysis import guardrail_tables
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.serving_calls import Purse, serving_gate

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate


def scored_metrics(experiment: Experiment) -> tuple[Metric, ...]:
    """What is scored in the background; operation and feedback are read from what is logged."""
    names = () if experiment.live is None else experiment.live.metrics.names
    metrics = [metric_named(name) for name in names]
    return tuple(metric for metric in metrics if metric.kind in ("retrieval", "answer") and metric.name != "abstained")


async def score_beside(prepared: Prepared, reader: LiveReader, recorder: LiveRecorder, service: LiveService) -> None:
    """Score in the background, in one of the workers, wherever they run: a judge is not paid twice for one trial."""
    lead = leadership(prepared.file, f"scoring-{prepared.experiment.name}")
    await while_leading(lead, partial(_score, prepared, reader, recorder, service))


async def _score(prepared: Prepared, reader: LiveReader, recorder: LiveRecorder, service: LiveService) -> None:
    with ExitStack() as stack:
        similarity = await asyncio.to_thread(_similarity, prepared)
        borrowed = None if similarity is None else BorrowedEmbedder(similarity, service.running.batcher, asyncio.get_running_loop())
        plan = scoring_plan(prepared, borrowed, stack)
        tracing = service.running.tracing
        scoring = BackgroundScoring(plan, reader=reader, recorder=recorder, counts=service.counts, tracing=tracing)
        stack.callback(scoring.close)
        await scoring.run()


def _similarity(prepared: Prepared) -> Embedder | None:
    spec = prepared.experiment.metrics.similarity
    needed = any(metric.name in ("answer_similarity", "answer_relevancy") for metric in scored_metrics(prepared.experiment))
    return build_embedder(spec, prepared.around) if spec is not None and needed else None


def scoring_plan(prepared: Prepared, similarity: Embedder | None, stack: ExitStack) -> ScoringPlan:
    """What is scored of an experiment's live trials, and by whom.

    Args:
        prepared: The experiment.
        similarity: Its model of similarity, where a metric needs one.
        stack: Closes what asks an LLM.

    Raises:
        InputError: The experiment has no section `live`, or a judged metric no judge.
    """
    experiment, live = prepared.experiment, prepared.experiment.live
    if live is None:
        raise InputError(f"experiment {experiment.name!r} has no section 'live'")
    metrics = scored_metrics(experiment)
    free = [metric for metric in metrics if metric.judge is None]
    judged = [metric for metric in metrics if metric.judge is not None]
    asking: list[Scorer] = []
    if judged:
        purse = Purse(None)  # the day's budget is the experiment's `live.scoring`, and SQL knows what is spent of it

        def make(inner: ExitStack) -> tuple[Scorer, ...]:
            judging = _judging(prepared, serving_gate(prepared, inner, purse))
            return build_scorers(judged, corpus=prepared.corpus, similarity=similarity, judging=judging)

        renewed: Renewed[Sequence[Scorer]] = Renewed(make)
        stack.callback(renewed.close)
        asking = [RenewedScorer(renewed, place) for place in range(len(renewed.get()))]
    return ScoringPlan(
        free=build_scorers(free, corpus=prepared.corpus, similarity=similarity),
        judged=asking,
        gold=prepared.gold,
        live=live,
        salt=live.salt or experiment.name,
    )


def _judging(prepared: Prepared, gate: "Gate") -> Judging:
    """What the judge needs; live answers are judged once, unless the file says otherwise."""
    spec, judging = prepared.experiment.metrics.judge, judging_of(prepared.experiment, gate, prepared.around)
    if spec is None or judging is None:
        raise InputError("a live metric is judged, and there is no metrics.judge")
    given = spec.repetitions
    return dataclasses.replace(
        judging, repetitions={metric.name: given.get(metric.name, 1) for metric in scored_metrics(prepared.experiment)}
    )


async def watch_beside(experiment: Experiment, reader: LiveReader, recorder: LiveRecorder, service: LiveService) -> None:
    """Watch the guardrails."""
    if experiment.live is None or not experiment.live.metrics.guardrails:
        return
    watch = GuardrailWatch(
        alarms=partial(alarms, experiment, reader, recorder.live_id),
        history=partial(reader.traffic_history, recorder.live_id),
        change=service.change_traffic,
        when_broken=experiment.live.when_broken,
        counts=service.counts,
    )
    await watch.run()


def alarms(experiment: Experiment, reader: LiveReader, live_id: int) -> Sequence[GuardrailAlarm]:
    """The broken guardrails, from what is logged."""
    return guardrail_alarms(guardrail_tables(experiment, reader, live_id), reader.exposure(live_id, experiment=experiment), experiment)
