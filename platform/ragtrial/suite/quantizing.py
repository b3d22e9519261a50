"""`ragtrial quantize`: each variant of a model as an arm against float32, and the cheapest that loses less than the margin.

Every variant searches the experiment's own Milvus and is scored by its own scorer on the same queries as the reference. What was
measured of a variant is kept in the output folder under a digest of all it depends on, so that a killed run goes on where it was.
"""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ragtrial.build import build_index
from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.experiment import EmbeddingSpec, RetrievalSpec
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.quantization import REFERENCE, CostKind, Quantization, Variant, VariantResult, usual_variants, variant_named
from ragtrial.domain.score import PairedScores, ScoreTable
from ragtrial.embedding.cache import VectorCache
from ragtrial.errors import InputError, MissingExtraError, ModelError, NotEnoughDataError, SetupError, StoreError
from ragtrial.formats.experiment import milvus_uri, resolve_path
from ragtrial.stats.binary import most_unseen
from ragtrial.stats.paired import PairedT, paired_t
from ragtrial.stats.simultaneous import simultaneous_interval
from ragtrial.suite.folders import check_stores
from ragtrial.suite.preparing import Prepared
from ragtrial.suite.variant_bench import Bench, Measured, embedding_of, retrieval_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizePlan:
    """What is asked for.

    Attributes:
        max_loss: The margin on the metric, above 0.
        metric: A retrieval metric, the higher the better.
        by: Which cost is made small.
        model: Instead of the treatment's.
        variants: Instead of the usual ones; the reference is always measured.
        usd_per_cpu_hour: Price of a core for an hour, where it is known.
    """

    max_loss: float
    metric: str = "nDCG@10"
    by: CostKind = "all"
    model: str | None = None
    variants: tuple[Variant, ...] | None = None
    usd_per_cpu_hour: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """A quantization with what is shown of it.

    Attributes:
        found: The variants.
        arm: The pick as an arm of an experiment file, in YAML.
        page: The HTML page that was written.
    """

    found: Quantization
    arm: str
    page: Path


def plan_of(
    *, max_loss: float, metric: str, by: str, model: str | None, variants: str | None, usd_per_cpu_hour: float | None
) -> QuantizePlan:
    """What a command line asks for.

    Raises:
        InputError: A variant or a cost that there is not.
    """
    if by not in get_args(CostKind):
        raise InputError(f"--by is {by!r}: give {', '.join(get_args(CostKind))}")
    chosen = None
    if variants is not None:
        try:
            chosen = tuple(dict.fromkeys(variant_named(name.strip()) for name in variants.split(",") if name.strip()))
        except ValueError as error:
            raise InputError(f"--variants: {error}") from error
    return QuantizePlan(
        max_loss=max_loss,
        metric=metric,
        by=by,  # type: ignore[arg-type]  # checked above
        model=model,
        variants=chosen,
        usd_per_cpu_hour=usd_per_cpu_hour,
    )


def quantize_and_report(prepared: Prepared, plan: QuantizePlan, *, output: Path, progress: Progress = no_progress) -> Quantized:
    """As `quantize`, with `quantization.html` in the output folder.

    Raises:
        SetupError: The page can't be written.
    """
    from ragtrial.report.pareto import as_html

    found = quantize(prepared, plan, output=output, progress=progress)
    arm = arm_yaml(prepared, plan, found.pick.variant)
    page = output / "quantization.html"
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".page-") as folder:
            made = Path(folder) / page.name
            made.write_text(as_html(found, arm=arm), "utf-8")
            made.replace(page)
    except OSError as error:
        raise SetupError(f"{str(page)!r} can't be written ({error.strerror or error}): give another folder with --output") from error
    return Quantized(found=found, arm=arm, page=page)


def quantize(prepared: Prepared, plan: QuantizePlan, *, output: Path, progress: Progress = no_progress) -> Quantization:
    """Measure every variant against the reference, and leave the result to be shown.

    Args:
        prepared: The experiment with its data.
        plan: What is asked for.
        output: Folder of what was measured, made where it is missing.
        progress: Told how many variants are done, and of texts embedded.

    Raises:
        InputError: The metric or the model can't be used, or the margin is not above 0.
        ModelError: There is no such model.
        StoreError: Milvus can't be used.
    """
    metric, spec, retrieval = _checked(prepared, plan)
    check_stores(prepared)
    with ExitStack() as stack:
        token = prepared.around.settings.secret(prepared.experiment.stores.milvus_token_env)
        index = stack.enter_context(closing(build_index(milvus_uri(prepared.file), token=token)))
        cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)))
        bench = Bench(prepared, metric=metric, spec=spec, retrieval=retrieval, index=index, cache=cache, output=output, progress=progress)
        dimension = bench.bare(REFERENCE).identity.dimension
        variants = [v for v in (plan.variants or usual_variants(dimension)) if v != REFERENCE]
        advance = progress("variants", len(variants) + 1)
        reference = bench.measured(REFERENCE)
        advance(1)
        found: list[Measured | str] = []
        for variant in variants:
            found.append(_tried(bench, variant))
            advance(1)
        model, reranker = str(bench.bare(REFERENCE).identity), bench.reranker()
    tried = sum(not isinstance(each, str) for each in found)
    compared = [_compared(prepared, metric, variant, reference, each, tried=tried) for variant, each in zip(variants, found, strict=True)]
    values = [value for value in reference.scores.values() if not isinstance(value, str)]
    lite = "://" not in milvus_uri(prepared.file)
    store = "Milvus Lite, which keeps int8 and binary codes as float32: bytes are a server's" if lite else "a Milvus server"
    if reranker is not None:
        store += f"; reranked by {reranker.identity}, so scores are of what that leaves, and times those of embedding and search before it"
    return Quantization(
        experiment=prepared.experiment.name,
        model=model,
        metric=metric.name,
        max_loss=plan.max_loss,
        by=plan.by,
        alpha=prepared.experiment.analysis.alpha,
        reference=VariantResult(
            variant=REFERENCE,
            mean=float(np.mean(values)) if values else None,
            n_scored=len(values),
            n_queries=len(reference.scores),
            excluded={},
            costs=reference.costs,
            identical=True,
            differing=0.0,
        ),
        results=_together(compared, prepared.experiment.analysis.alpha),
        n_passages=len(prepared.corpus.passages),
        usd_per_cpu_hour=plan.usd_per_cpu_hour,
        store=store,
    )


def arm_yaml(prepared: Prepared, plan: QuantizePlan, variant: Variant) -> str:
    """The arm of an experiment file that runs the variant."""
    import yaml

    _, spec, retrieval = _checked(prepared, plan)
    embedding = _given(dataclasses.asdict(embedding_of(spec, variant)), EmbeddingSpec(model=""))
    where = retrieval_of(retrieval, variant)
    arm: dict[str, Any] = {"name": prepared.experiment.treatment.name, "role": "treatment", "embedding": embedding}
    if where != prepared.experiment.retrieval:
        plain = dataclasses.asdict(where)
        plain["index"] = _given(plain["index"], RetrievalSpec().index)
        arm["retrieval"] = _given(plain, RetrievalSpec())
    return str(yaml.safe_dump([arm], sort_keys=False, allow_unicode=True))


def _given(values: Mapping[str, Any], default: object) -> dict[str, Any]:
    """Without what is as it would be anyway."""
    return {key: value for key, value in values.items() if value != getattr(default, key) and value != {}}


def _checked(prepared: Prepared, plan: QuantizePlan) -> tuple[Metric, EmbeddingSpec, RetrievalSpec]:
    try:
        metric = metric_named(plan.metric)
    except ValueError as error:
        raise InputError(f"--metric: {error}") from error
    if metric.kind != "retrieval" or metric.judge is not None or not metric.higher_is_better:
        raise InputError(f"--metric {plan.metric!r} is no retrieval metric: give nDCG@10, R@5, RR@10 or the like")
    if not plan.max_loss > 0:
        raise InputError(f"--max-loss is {plan.max_loss}: give a number above 0, e.g. 0.01")
    arm = prepared.experiment.treatment
    retrieval = prepared.experiment.retrieval_of(arm)
    if metric.cutoff is not None and metric.cutoff > retrieval.top_k:
        raise InputError(f"--metric {plan.metric!r} looks at {metric.cutoff} passages, but arm {arm.name!r} retrieves {retrieval.top_k}")
    spec = arm.embedding if plan.model is None else dataclasses.replace(arm.embedding, model=plan.model, revision=None)
    if spec.provider != "sentence-transformers":
        raise InputError(f"embedding.provider of arm {arm.name!r} is {spec.provider!r}: only sentence-transformers models have variants")
    if retrieval.method == "bm25":
        raise InputError(f"arm {arm.name!r} searches by words alone (retrieval.method bm25): there is nothing to quantize")
    return metric, spec, retrieval


def _tried(bench: "Bench", variant: Variant) -> "Measured | str":
    """What was measured, or why it could not be: one variant that is not available here must not take the others down."""
    try:
        return bench.measured(variant)
    except (ModelError, StoreError, MissingExtraError) as error:
        return str(error)


def _compared(
    prepared: Prepared, metric: Metric, variant: Variant, reference: Measured, found: Measured | str, *, tried: int
) -> tuple[VariantResult, PairedT | None]:
    if isinstance(found, str):
        return VariantResult(variant=variant, excluded={}, reason=f"not measured: {found}"), None
    scores = paired_scores(prepared, metric, variant.name, reference.scores, found.scores)
    values = [value for value in found.scores.values() if not isinstance(value, str)]
    result = VariantResult(
        variant=variant,
        mean=float(np.mean(values)) if values else None,
        n_scored=scores.n_scored,
        n_queries=scores.n_queries,
        excluded=scores.excluded,
        costs=found.costs,
    )
    differences = scores.differences
    clusters = scores.clusters
    if prepared.experiment.analysis.cluster == "none" or (clusters is not None and len(np.unique(clusters)) == scores.n_scored):
        clusters = None
    if scores.n_scored and not differences.any():
        independent = scores.n_scored if clusters is None else len(np.unique(clusters))
        left = most_unseen(independent, alpha=prepared.experiment.analysis.alpha / tried)
        same = f"the same score on each of {scores.n_scored} queries, so up to {left:.1%} of queries may still differ"
        return dataclasses.replace(result, estimate=0.0, identical=True, differing=left, reason=same), None
    try:
        effect = paired_t(differences, alpha=prepared.experiment.analysis.alpha, clusters=clusters)
    except NotEnoughDataError as error:
        return dataclasses.replace(result, reason=str(error)), None
    return dataclasses.replace(result, estimate=effect.estimate, plain_low=effect.low, plain_high=effect.high), effect


def paired_scores(
    prepared: Prepared, metric: Metric, arm: str, reference: Mapping[str, float | str], found: Mapping[str, float | str]
) -> PairedScores:
    """Both sides' scores of the same queries, by the table that an evaluation's analysis reads."""
    queries = prepared.gold.queries
    alone = all(query.cluster is None for query in queries)
    rows = [(place, name, scores.get(query.query_id, "no trial")) for name, scores in (("reference", reference), (arm, found))
            for place, query in enumerate(queries)]  # fmt: skip
    table = ScoreTable(
        metric=metric,
        query_ids=tuple(query.query_id for query in queries),
        clusters=None if alone else tuple(f"query {query.query_id}" if query.cluster is None else query.cluster for query in queries),
        query=np.array([place for place, _, _ in rows], dtype=np.int64),
        arm=np.array([name for _, name, _ in rows]),
        value=np.array([np.nan if isinstance(value, str) else value for _, _, value in rows]),
        unscored=np.array([value if isinstance(value, str) else None for _, _, value in rows], dtype=object),
    )
    return table.paired("reference", arm)


def _together(compared: Sequence[tuple[VariantResult, PairedT | None]], alpha: float) -> tuple[VariantResult, ...]:
    """Intervals that hold together, over all variants that have one (Bonferroni)."""
    family = sum(effect is not None for _, effect in compared)
    made = []
    for result, effect in compared:
        if effect is None:
            made.append(result)
            continue
        interval = simultaneous_interval(effect.estimate, effect.standard_error, effect.df, alpha=alpha, family=family)
        made.append(dataclasses.replace(result, low=interval.low, high=interval.high))
    return tuple(made)
