"""The evaluation itself: one command from an experiment file to a logged, analysed, reported result."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ragtrial.analysis.analysing import planned_mde
from ragtrial.build import build_bm25, build_embedder
from ragtrial.contracts import Embedder, Progress, Scorer, no_progress
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import IMPORTED, Metric, metric_named
from ragtrial.domain.parity import certify
from ragtrial.domain.retriever import OWN_ANSWERS
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import InputError, ModelError
from ragtrial.evaluation import Line, evaluate, order_of
from ragtrial.foreign.retriever import ForeignRetriever
from ragtrial.formats.experiment import resolve_path, sql_url
from ragtrial.pipeline import Pipeline
from ragtrial.scoring.choosing import Judging, build_scorers
from ragtrial.suite.arm_models import archived, check_models, leakage, missing_models
from ragtrial.suite.arms import ReadyArm, load_generators, load_models, open_index, ready_arms
from ragtrial.suite.calls import Estimate, check_llm, estimate, judging_of, open_gate
from ragtrial.suite.environment import environment
from ragtrial.suite.folders import check_stores
from ragtrial.suite.foreign_arms import has_own
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.resuming import open_or_resume, resumption, retried
from ragtrial.suite.retrieving import load_rerankers
from ragtrial.suite.training import train_model

if TYPE_CHECKING:
    from ragtrial.llm.gate import Gate

_OF_PASSAGES = ("context_precision", "context_recall")
"""Metrics of the answer's context, which need no answer."""

_LLM_METRICS = ("failed", "cost_usd", "prompt_tokens", "completion_tokens")
_ANSWER_METRICS = ("answer_f1", "answer_containment", "answer_token_recall", "answer_exact_match", "answer_rouge_l")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an evaluation would do, known before it starts.

    Attributes:
        n_passages: Passages to index for each arm.
        n_queries: Queries to ask.
        n_trials: Trials to log, reference lines included.
        mde: Smallest effect on the primary metric that is expected to be seen, from the planned spread.
        to_train: Models that have to be trained first.
        llm: What the calls to LLMs may come to; None where there are none.
    """

    n_passages: int
    n_queries: int
    n_trials: int
    mde: float
    to_train: tuple[str, ...]
    llm: Estimate | None = None


def plan(prepared: Prepared, *, allow_training: bool = True) -> Plan:
    """The plan of an evaluation; nothing is written.

    Raises:
        InputError: What decides can't be measured.
        ModelError: A model is missing, and not to be trained.
    """
    experiment, n = prepared.experiment, len(prepared.gold.queries)
    check_measurable(experiment, prepared.gold)
    check_llm(prepared, keys=False)
    n_lines = len(experiment.arms) + len(experiment.reference_lines)
    return Plan(
        n_passages=len(prepared.corpus.passages),
        n_queries=n,
        n_trials=n * n_lines * experiment.repetitions,
        mde=planned_mde(experiment, n),
        to_train=_to_train(prepared, allowed=allow_training),
        llm=estimate(prepared) if experiment.asks_llm else None,
    )


def check_measurable(experiment: Experiment, gold: GoldSet) -> None:
    """Whether the primary metric and the guardrails can have values at all; found before hours of work, not after.

    Raises:
        InputError: They can't, or there are fewer than two queries to compare on.
    """
    if len(gold.queries) < 2:
        raise InputError(f"gold set {gold.name!r}: {len(gold.queries)} query is asked, and a comparison needs at least 2")
    silent = [arm.name for arm in experiment.arms if experiment.generation_of(arm).provider == "none"]
    for name in dict.fromkeys((experiment.metrics.primary.name, *(guardrail.name for guardrail in experiment.metrics.guardrails))):
        metric, why = metric_named(name), None
        if name.startswith(IMPORTED):
            why = "only another program can measure it: compare its scores with `ragtrial compare --scores`"
        elif metric.kind == "answer" and silent and name not in _OF_PASSAGES:
            why = f"generation.provider is 'none' in arm {silent[0]!r}, so there are no answers: choose a generator or another metric"
        elif metric.needs_reference and not any(query.answers for query in gold.queries):
            why = f"no query of gold set {gold.name!r} has reference answers: add 'answers' to the queries, or choose another metric"
        elif metric.unit == "ms" and not experiment.analysis.latency_queries:
            why = "analysis.latency_queries is 0, so nothing is timed: raise it, or choose another metric"
        if why is not None:
            raise InputError(f"{name!r} decides, but {why}")


def _to_train(prepared: Prepared, *, allowed: bool) -> tuple[str, ...]:
    """Registered models that are missing and will be trained; any other missing model is an error."""
    names = missing_models(prepared) if allowed and prepared.experiment.training is not None else ()
    check_models(prepared, to_train=names)
    return names


def _unsaid(text: str) -> None:
    """Say nothing."""
    del text


def run(
    prepared: Prepared,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    allow_training: bool = True,
    progress: Progress = no_progress,
    say: Callable[[str], None] = _unsaid,
) -> str:
    """Train what is missing, index, and evaluate; the evaluation's id, under which all of it is in SQL.

    Args:
        prepared: The experiment with its data.
        resume: Go on with an interrupted evaluation of the same plan, data and models, or take a finished one as it is.
        retry_failed: Ask again what failed in the finished evaluation of the same plan, data and models, as an evaluation of its own: the
            old one keeps its rows, and what did not fail comes from the cache of calls.
        allow_training: Train models that the registry lacks, as the experiment says.
        progress: Told how far it is.
        say: Told what there is to go on with, where it resumes.

    Raises:
        RagtrialError: Anything that is wrong or missing; what was logged so far stays and can be resumed.
    """
    check_measurable(prepared.experiment, prepared.gold)
    check_llm(prepared, keys=True)
    stores = prepared.experiment.stores
    check_stores(prepared)
    to_train = _to_train(prepared, allowed=allow_training)
    if to_train:
        open_index(prepared).close()  # minutes of training are lost where its result could not be indexed
    for name in to_train:
        train_model(prepared, name=name, progress=progress)
    with ExitStack() as stack:
        gate = stack.enter_context(_counted_gate(prepared, progress, say)) if prepared.experiment.asks_llm else None
        embedders, generators = load_models(prepared, progress=progress), load_generators(prepared, gate)
        rerankers = load_rerankers(prepared.experiment, prepared.around)
        similarity = _similarity(prepared, embedders)
        judging = None if gate is None else judging_of(prepared.experiment, gate, prepared.around)
        index = stack.enter_context(closing(open_index(prepared)))
        recorder = stack.enter_context(Recorder(sql_url(prepared.file)))
        reader = stack.enter_context(Reader(sql_url(prepared.file)))
        cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, stores.vectors)))
        arms = ready_arms(prepared, embedders, generators, rerankers=rerankers, index=index, cache=cache, progress=progress)
        metrics = metrics_of(prepared.experiment, prepared.gold)
        lines = _lines(prepared, arms, metrics, similarity, judging)
        evaluation = evaluation_of(prepared, arms, lines, reader)
        if retry_failed:
            evaluation, resume = retried(evaluation, reader, say)
        evaluation_id, done = open_or_resume(evaluation, prepared, lines, recorder=recorder, reader=reader, resume=resume)
        if resume:
            say(resumption(evaluation_id, done))
        if done is not None:
            embed_queries(arms, prepared.gold.queries, progress=progress)
            since = datetime.fromisoformat(reader.evaluation(evaluation_id).started_at).timestamp()
            _ask(prepared, evaluation_id, lines, recorder=recorder, done=done, since=since, progress=progress)
        if gate is not None:
            say(gate.spending.summary())
    return evaluation_id


@contextmanager
def _counted_gate(prepared: Prepared, progress: Progress, say: Callable[[str], None]) -> "Iterator[Gate]":
    """The gate with a bar of its calls, which begins with the first one. Their number is an upper bound, so the bar is filled at the end."""
    most, done = estimate(prepared).n_calls, 0
    advance: Callable[[int], None] | None = None

    def settled(n: int) -> None:
        nonlocal advance, done
        advance = advance or progress("calls to LLMs, at most", most)
        done += n
        advance(n if done <= most else 0)

    with open_gate(prepared, say=say, settled=settled) as gate:
        yield gate
        if advance is not None:
            advance(max(0, most - done))


def embed_queries(arms: Sequence[ReadyArm], queries: Sequence[Query], *, progress: Progress = no_progress) -> None:
    """Every query's vector in the cache before the first is asked; one that fails here is tried again, and counted, when it is asked."""
    advance = progress("embed the gold queries", len(arms) * len(queries))
    for arm in arms:
        with suppress(ModelError):
            arm.retriever.embed_ahead(queries, progress=advance)


def _ask(
    prepared: Prepared,
    evaluation_id: str,
    lines: Sequence[Line],
    *,
    recorder: Recorder,
    done: set[tuple[str, str, int]],
    since: float,
    progress: Progress,
) -> None:
    experiment = prepared.experiment
    evaluate(
        evaluation_id=evaluation_id,
        queries=order_of(prepared.gold, seed=experiment.analysis.seed),
        gold=prepared.gold,
        lines=lines,
        passages=prepared.corpus.by_id,
        repetitions=experiment.repetitions,
        n_timed=experiment.analysis.latency_queries,
        recorder=recorder,
        done=done,
        since=since,
        progress=progress,
    )
    recorder.finish(evaluation_id)


def metrics_of(experiment: Experiment, gold: GoldSet) -> tuple[Metric, ...]:
    """Every metric that is planned, and beside them the exploratory ones that cost nothing."""
    names = [*experiment.metrics.names, f"Judged@{experiment.retrieval.top_k}"]
    if experiment.analysis.latency_queries:
        names.append("latency_ms")
    if any(has_own(experiment, arm) for arm in experiment.arms):
        names.append("unmapped")
    providers = {experiment.generation_of(arm).provider for arm in experiment.arms}
    if providers != {"none"}:
        names += (
            ["abstained"] if OWN_ANSWERS in providers else ["citation_support", "abstained"]
        )  # nothing is known of what a pipeline cites
        if "openai-compatible" in providers:
            names += _LLM_METRICS
        if any(query.answers for query in gold.queries):
            names += _ANSWER_METRICS
    return tuple(metric_named(name) for name in dict.fromkeys(names))


def _similarity(prepared: Prepared, embedders: Mapping[str, Embedder]) -> Embedder | None:
    spec = prepared.experiment.metrics.similarity
    if spec is None:
        return None
    embedder = build_embedder(spec, prepared.around)
    for arm, own in embedders.items():
        if own.identity.revision == embedder.identity.revision:
            raise InputError(f"metrics.similarity is arm {arm!r}'s own model, which would judge in its own favour: give a third model")
    return embedder


def _lines(
    prepared: Prepared, arms: Sequence[ReadyArm], metrics: Sequence[Metric], similarity: Embedder | None, judging: Judging | None
) -> tuple[Line, ...]:
    experiment = prepared.experiment
    unmapped = {arm.arm.name: partial(_unmapped, arm.foreign) for arm in arms if arm.foreign is not None}
    scorers = build_scorers(metrics, corpus=prepared.corpus, similarity=similarity, judging=judging, unmapped=unmapped)
    lines = [_arm_line(prepared, arm, scorers) for arm in arms]
    control = lines[0].pipeline
    free = [metric for metric in metrics if metric.kind != "operation" and metric.judge is None]
    quality = free if experiment.references_answer else [metric for metric in free if metric.kind == "retrieval"]
    for name in experiment.reference_lines:
        borrows = name == "shuffled-context"
        tag = experiment.retrieval_of(experiment.control).index.partition_tag
        retriever = control.retriever if borrows else build_bm25(prepared.corpus, group_tag=tag)
        pipeline = Pipeline(
            arm=name,
            retriever=retriever,
            generator=control.generator if experiment.references_answer else None,
            passages=prepared.corpus.by_id,
            top_k=control.top_k,
            context_passages=control.context_passages,
        )
        own = build_scorers(quality, corpus=prepared.corpus, similarity=similarity, retrieval=not borrows)
        lines.append(Line(pipeline=pipeline, scorers=own, borrows=borrows, is_arm=False))
    return tuple(lines)


def _unmapped(retriever: ForeignRetriever, query_id: str) -> float | None:
    found = retriever.mapped_of(query_id)
    return None if found is None else found.unmapped_share


def _arm_line(prepared: Prepared, arm: ReadyArm, scorers: tuple[Scorer, ...]) -> Line:
    return Line(pipeline=arm_pipeline(prepared, arm, timed=False), scorers=scorers, timed=arm_pipeline(prepared, arm, timed=True))


def arm_pipeline(prepared: Prepared, arm: ReadyArm, *, timed: bool) -> Pipeline:
    """What the arm does with a query: past the vector cache where it is timed."""
    experiment = prepared.experiment
    return Pipeline(
        arm=arm.arm.name,
        retriever=arm.timed_retriever if timed else arm.retriever,
        generator=arm.generator,
        passages=prepared.corpus.by_id,
        top_k=experiment.retrieval_of(arm.arm).top_k,
        context_passages=experiment.generation_of(arm.arm).context_passages,
    )


def evaluation_of(prepared: Prepared, arms: Sequence[ReadyArm], lines: Sequence[Line], reader: Reader) -> Evaluation:
    """The record of an evaluation that is about to start."""
    experiment = prepared.experiment
    control, treatment = (arm.facts.conditions for arm in arms)
    if control is None or treatment is None:
        raise InputError("an arm has no conditions to compare")
    references = tuple(ArmFacts(arm=line.name, role="reference") for line in lines if not line.is_arm)
    scorers = sorted({scorer.version for line in lines for scorer in line.scorers})
    plan_digest = experiment.plan_digest()
    config = digest([plan_digest, control, treatment, scorers])
    known = reader.evaluations(experiment.name)
    before = sum(evaluation.config_digest == config for evaluation in known)
    return Evaluation(
        evaluation_id=f"{experiment.name}-{config[:8]}-{before + 1}",
        experiment=experiment.name,
        plan_digest=plan_digest,
        config_digest=config,
        corpus_fingerprint=prepared.corpus.fingerprint,
        gold_fingerprint=prepared.gold.fingerprint,
        n_queries=len(prepared.gold.queries),
        arms=(*(arm.facts for arm in arms), *references),
        parity=certify(control, treatment, subject=experiment.subject),
        started_at=datetime.now(UTC).isoformat(),
        environment=environment(),
        checks={
            "leakage": leakage(prepared),
            "judgments": _judgments(prepared),
            **archived(prepared),
            **{f"pipeline[{arm.arm.name}]": arm.check for arm in arms if arm.check is not None},
            **_sample(prepared),
            **_earlier_looks(known, prepared, plan_digest),
        },
    )


def _judgments(prepared: Prepared) -> tuple[str, str]:
    """Whether every judgment found its passages when the documents were cut."""
    return "warn" if prepared.turnover.unresolved else "pass", prepared.turnover.summary()


def _sample(prepared: Prepared) -> dict[str, tuple[str, str]]:
    """That not all gold queries were asked, where that is so."""
    n, of = len(prepared.gold.queries), prepared.n_gold
    return {} if n == of else {"sample": ("warn", f"{n:,} of {of:,} gold queries were asked, a random sample (--limit)")}


def _earlier_looks(known: Sequence[Evaluation], prepared: Prepared, plan_digest: str) -> dict[str, tuple[str, str]]:
    """That results on these queries were seen under another plan, where that is so: choosing among plans by their results is no test."""
    seen = {e.plan_digest for e in known if e.finished_at is not None and e.gold_fingerprint == prepared.gold.fingerprint} - {plan_digest}
    if not seen:
        return {}
    detail = f"these queries were evaluated before under {len(seen)} other plan(s) of this experiment ({', '.join(sorted(seen))})"
    return {"earlier_looks": ("warn", f"{detail}: a plan chosen by its result proves little")}
