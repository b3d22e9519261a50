"""From an experiment file to a service: data, models, collections, log."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

from ragtrial.build import build_prices
from ragtrial.contracts import CollectionRef, Embedder, Progress, VectorIndex, no_progress
from ragtrial.db.live_plans import earlier_plan
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.metric import Metric
from ragtrial.domain.parity import ParityCertificate, certify
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import InputError, RedactionError, SetupError, StoreError
from ragtrial.formats.experiment import ExperimentFile, milvus_uri, resolve_path, sql_url
from ragtrial.index.following import AliasFollower
from ragtrial.indexing import alias_of
from ragtrial.redaction import Redactor, query_digest, stored_query
from ragtrial.serving.answering import ServingArm
from ragtrial.serving.parts import ServiceLimits, ServiceParts
from ragtrial.serving.search_arm import SearchArm
from ragtrial.serving.service import LiveService
from ragtrial.settings import Settings
from ragtrial.suite.arm_models import archived, check_models, leakage
from ragtrial.suite.arms import ReadyArm, load_models, nothing_to_do, open_index, ready_arms
from ragtrial.suite.calls import check_llm
from ragtrial.suite.environment import environment
from ragtrial.suite.folders import check_stores
from ragtrial.suite.foreign_arms import refuse_own
from ragtrial.suite.leading import held_in_turn, leadership
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.retrieving import blend_of, load_rerankers, reordering_of
from ragtrial.suite.running import arm_pipeline
from ragtrial.suite.serving_beside import score_beside, scored_metrics, watch_beside
from ragtrial.suite.serving_calls import serving_generators
from ragtrial.suite.serving_monitor import monitor_beside

logger = logging.getLogger("ragtrial.serving")

_MILVUS_S = 15.0
_FOLLOW_S = 5.0
"""How long an answer of Milvus holds about where an arm's alias points to."""

PII_MODEL = "RAGTRIAL_PII_MODEL"
"""Names an installed spaCy model, with which redaction finds names of people and places."""


def live_service(
    file: ExperimentFile,
    settings: Settings,
    *,
    workers: int = 1,
    limits: ServiceLimits | None = None,
    background: bool = True,
    altered: Callable[[ServiceParts], ServiceParts] | None = None,
    progress: Progress = no_progress,
) -> LiveService:
    """The service of a live experiment; nothing is loaded or opened before its `start`, which indexes what is missing.

    Args:
        file: The experiment file.
        settings: The environment.
        workers: Processes that will serve it.
        limits: What it takes on.
        background: Score, and watch the guardrails.
        altered: Puts other parts in the place of some, once all are open; for the self-test, which plants faults there.
        progress: Told how far indexing is.

    Raises:
        InputError: There is no `live` section, or the mode can't have this generation.
        SetupError: Several workers can't share the experiment's Milvus.
    """
    experiment = file.experiment
    if experiment.live is None:
        raise InputError(f"{str(file.path)!r} has no section 'live': it says how traffic is split and what decides")
    check_workers(file, workers)
    refuse_own(experiment, "it can be evaluated on a gold set, but `ragtrial serve` answers from collections of its own alone")
    if any(experiment.retrieval_of(arm).index.partition_tag is not None for arm in experiment.arms):
        raise InputError(
            "retrieval.index.partition_tag confines a query by its tag in the gold set, and live queries have no tags: leave it out"
        )
    if experiment.live.mode == "interleaved" and experiment.generation_of(experiment.control) != experiment.generation_of(
        experiment.treatment
    ):
        raise InputError("live.mode is 'interleaved', where one generator reads the passages of both arms: give them the same generation")
    own = dataclasses.replace(settings, torch_threads=settings.torch_threads or 1)
    opened = partial(_open, file, own, limits or ServiceLimits(), background, progress)
    return LiveService(experiment, opened if altered is None else lambda: altered(opened()))


def check_workers(file: ExperimentFile, workers: int) -> None:
    """Whether so many processes can serve the experiment.

    Raises:
        SetupError: They can't: Milvus Lite lets one process have its folder.
    """
    uri = milvus_uri(file)
    if workers > 1 and "://" not in uri:
        raise SetupError(
            f"{workers} workers can't share stores.milvus {file.experiment.stores.milvus!r}: Milvus Lite locks its folder to one process. "
            "Serve with one worker, or point stores.milvus to a Milvus server (http://host:19530)"
        )


def changed_plan(file: ExperimentFile) -> str | None:
    """What to warn of before the experiment is served: its name has trials under another plan, and none under this one; else None.

    Raises:
        StoreError: The log can't be read.
    """
    experiment = file.experiment
    earlier = None if experiment.live is None else earlier_plan(sql_url(file), experiment)
    if earlier is None:
        return None
    return (
        f"experiment {experiment.name!r} has {earlier.units:,} units under another plan ({earlier.live_digest[:12]}) and none under this one "
        f"({experiment.live_digest()[:12]}): a changed plan is a new experiment that starts from zero; to go on with the old one, serve its file"
    )


def _open(file: ExperimentFile, settings: Settings, limits: ServiceLimits, background: bool, progress: Progress) -> ServiceParts:
    """Everything that a service is made of; what was opened is closed again where it fails."""
    prepared = prepare(file.path, settings=settings)
    judged = [metric for metric in scored_metrics(prepared.experiment) if metric.judge is not None]
    check_llm(prepared, keys=True, judged=bool(judged))
    _check_budget(prepared, judged)
    check_models(prepared)
    check_stores(prepared)
    with ExitStack() as stack:
        redactor = _redactor(prepared, stack)
        parts = _opened(prepared, limits, background, progress, stack, redactor)
        return dataclasses.replace(parts, resources=stack.pop_all())


def _check_budget(prepared: Prepared, judged: Sequence[Metric]) -> None:
    """Whether the judge's daily budget can be held at all."""
    experiment = prepared.experiment
    if not judged or experiment.live is None or experiment.live.scoring.max_cost_usd_per_day is None or experiment.metrics.judge is None:
        return
    model = experiment.metrics.judge.model
    if build_prices(experiment.llm, prepared.around).price(model) is None:
        raise InputError(
            f"live.scoring.max_cost_usd_per_day is {experiment.live.scoring.max_cost_usd_per_day:g}, but {model!r} (metrics.judge) has no "
            "price: enter it in a price table (llm.prices), or write max_cost_usd_per_day: null"
        )


def _redactor(prepared: Prepared, stack: ExitStack) -> Redactor | None:
    """What frees queries from personal data, where the experiment wants that; without it the service must not start.

    Raises:
        SetupError: It can't be had.
    """
    live = prepared.experiment.live
    if live is None or live.query_text != "redacted":
        return None
    model = prepared.around.settings.secret(PII_MODEL)
    try:
        return stack.enter_context(closing(Redactor(model=model)))
    except RedactionError as error:
        named = "" if model is None else f" ({PII_MODEL} is {model!r})"
        raise SetupError(f"live.query_text is 'redacted', but queries can't be redacted{named}: {error}") from error


def _captures(prepared: Prepared) -> bool:
    """Whether spans hold texts: only where the log may hold queries in full, too."""
    live, wanted = prepared.experiment.live, prepared.around.settings.capture_content
    if wanted and live is not None and live.query_text != "full":
        logger.warning("texts stay out of the traces although they were asked for: live.query_text is %r", live.query_text)
        return False
    return wanted


def _opened(
    prepared: Prepared, limits: ServiceLimits, background: bool, progress: Progress, stack: ExitStack, redactor: Redactor | None
) -> ServiceParts:
    experiment, folder = prepared.experiment, prepared.file.folder
    live = experiment.live
    if live is None:  # `live_service` has refused it
        raise InputError(f"experiment {experiment.name!r} has no section 'live'")
    embedders = load_models(prepared, progress=progress)
    rerankers = load_rerankers(experiment, prepared.around, live=True)
    generators = serving_generators(prepared, stack)
    index = stack.enter_context(closing(_index(prepared)))
    with VectorCache(resolve_path(folder, experiment.stores.vectors)) as cache, _indexing_in_turn(prepared, embedders, index, cache):
        arms = ready_arms(prepared, embedders, generators, rerankers=rerankers, index=index, cache=cache, progress=progress, anew=False)
    serving = [
        ServingArm(
            pipeline=arm_pipeline(prepared, arm, timed=True),
            search=SearchArm(
                name=arm.arm.name,
                embedder=embedders[arm.arm.name],
                index=index,
                collection=_collection(arm),
                top_k=experiment.retrieval_of(arm.arm).top_k,
                alias=alias_of(experiment.name, arm.arm.name),
                follower=_follower(prepared, arm, embedders[arm.arm.name], index),
                blend=blend_of(experiment.retrieval_of(arm.arm)),
                reordering=reordering_of(experiment.retrieval_of(arm.arm), arm.reranker, prepared.corpus.by_id),
            ),
        )
        for arm in arms
    ]
    recorder = stack.enter_context(LiveRecorder(sql_url(prepared.file), experiment, facts=_facts(prepared, arms)))
    reader = stack.enter_context(LiveReader(sql_url(prepared.file)))
    gold_ids = {query_digest(query.text): query.query_id for query in reversed(prepared.gold.queries)}
    beside: dict[str, Callable[[LiveService], Any]] = {}
    if background:
        beside = {
            "scoring": partial(score_beside, prepared, reader, recorder),
            "guardrails": partial(watch_beside, experiment, reader, recorder),
            "monitor": partial(monitor_beside, prepared),
        }
    return ServiceParts(
        experiment=experiment,
        control=serving[0],
        treatment=serving[1],
        recorder=recorder,
        reader=reader,
        digest=query_digest,
        store_query=partial(stored_query, how=live.query_text, redactor=redactor, gold_ids=gold_ids),
        slow_to_store=redactor is not None,
        capture_content=_captures(prepared),
        limits=limits,
        beside=beside,
    )


@contextmanager
def _indexing_in_turn(prepared: Prepared, embedders: Mapping[str, Embedder], index: VectorIndex, cache: VectorCache) -> Iterator[None]:
    """Workers that start together index and measure one after the other, so that only the first one has to; where all is done, none waits."""
    if nothing_to_do(prepared, embedders, index=index, cache=cache):
        yield
        return
    waiting = partial(
        logger.warning, "waiting for another process, which is indexing or measuring with the same database (lock 'indexing')"
    )
    with held_in_turn(leadership(prepared.file, "indexing"), waiting=waiting):
        logger.info("a collection is to be made, completed or measured before the service can start")
        yield


def _index(prepared: Prepared) -> VectorIndex:
    try:
        return open_index(prepared, timeout_s=_MILVUS_S)
    except StoreError as error:
        raise StoreError(f"stores.milvus: {error}") from error


def _collection(arm: ReadyArm) -> str:
    if arm.facts.index is None:
        raise SetupError(f"arm {arm.arm.name!r} has no collection")
    return arm.facts.index.collection


def _follower(prepared: Prepared, arm: ReadyArm, embedder: Embedder, index: VectorIndex) -> AliasFollower:
    """Follows the arm's alias to a collection that was made again: the same model's vectors of the same passages in the same kind of index.

    Another model, passages or index are another arm and another plan: the service holds the passages that it shows, both arms must be searched
    alike, and who tries an index offline moves no users to it.
    """
    name = arm.arm.name
    begin = index.referred(_collection(arm))
    if begin is None:
        raise StoreError(f"collection {_collection(arm)!r} of arm {name!r} is gone: start the service anew, which indexes what is missing")

    def accepts(ref: CollectionRef) -> str | None:
        if ref.model != begin.model:
            other = f"vectors of {str(ref.model)!r}, and arm {name!r} embeds with {str(begin.model)!r}"
        elif ref.corpus != begin.corpus:
            other = f"passages of another corpus than the service of arm {name!r} has read"
        elif ref.index != begin.index:
            other = f"an index of another kind ({ref.index}) than this experiment was started with ({begin.index})"
        elif not ref.complete:
            other = "not all of its passages yet"
        else:
            return None
        return f"collection {ref.name!r} holds {other}: start the service anew to serve it"

    alias = alias_of(prepared.experiment.name, name)
    return AliasFollower(index, alias, lambda _model: embedder, every_s=_FOLLOW_S, accepts=accepts, begin=begin)


def _facts(prepared: Prepared, arms: Sequence[ReadyArm]) -> dict[str, Any]:
    """What is known of the service, for the log: parity as an evaluation certifies it, models, collections, environment."""
    parity = parity_of(prepared.experiment, arms)
    if not parity.ok:
        logger.warning(
            "the arms differ in more than the experiment's subject, so there will be no verdict: %s", "; ".join(parity.undeclared)
        )
    for _state, detail in archived(prepared).values():
        logger.warning("%s", detail)
    facts: dict[str, Any] = {
        "parity": dataclasses.asdict(parity),
        "arms": [dataclasses.asdict(arm.facts) for arm in arms],
        "corpus_fingerprint": prepared.corpus.fingerprint,
        "gold_fingerprint": prepared.gold.fingerprint,
        "environment": environment(),
        "checks": {"leakage": leakage(prepared), **archived(prepared)},
    }
    return facts


def parity_of(experiment: Experiment, arms: Sequence[ReadyArm]) -> ParityCertificate:
    """Whether the arms differ in the experiment's subject alone.

    Raises:
        SetupError: An arm has no conditions to compare.
    """
    control, treatment = (arm.facts.conditions for arm in arms)
    if control is None or treatment is None:
        raise SetupError("an arm has no conditions to compare")
    return certify(control, treatment, subject=experiment.subject)
