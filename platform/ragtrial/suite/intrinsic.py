"""`ragtrial intrinsic`: how a model's vectors lie, beside its base."""

import dataclasses
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from ragtrial.assessment.general_text import measure_everyday, measure_general
from ragtrial.assessment.intrinsic import measure_groups, measure_space, measure_sts, measure_terms
from ragtrial.assessment.sides import Sides
from ragtrial.build import Surroundings, build_embedder
from ragtrial.chunking import cut, resolve
from ragtrial.contracts import Embedder, Progress, no_progress
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import ChunkingSpec, EmbeddingSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.intrinsic import Intrinsic, JudgedPair, Measured
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import InputError
from ragtrial.finetuning.registry import Registry
from ragtrial.formats.beir import derive_clusters
from ragtrial.formats.data import load_data
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.terms import everyday_pairs, read_similarities, read_terms
from ragtrial.settings import Settings
from ragtrial.suite.preparing import Prepared, prepare

SMOKE = "64 bundled everyday questions: a smoke test that sees ruin, and no proof that nothing was lost; --general takes a BEIR folder for a real one"
_MOST_VALUES = 30
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run of the command was given.

    Attributes:
        models: As written in experiment files.
        against: The base; None: the experiment's control.
        experiment: For topics, passages and the registry; None leaves those out.
        terms: A file of term pairs; None leaves them out.
        general: A BEIR folder, or a JSON Lines file of query and passage; None: the bundled pairs.
        sts: A file of similarity judgments; None leaves them out.
        tag: Of the queries, that topics are values of; None: `topic`, or the best.
    """

    models: tuple[str, ...]
    against: str | None = None
    experiment: Path | None = None
    terms: Path | None = None
    general: Path | None = None
    sts: Path | None = None
    tag: str | None = None


def evaluate_models(asked: Asked, *, settings: Settings, progress: Progress = no_progress) -> tuple[Intrinsic, ...]:
    """Measure each model, beside the base.

    Raises:
        InputError: A file is wrong, or there is nothing to measure with.
        ModelError: A model can't be loaded.
        MissingExtraError: scikit-learn is not installed.
    """
    pairs = () if asked.terms is None else read_terms(asked.terms)
    similarities = () if asked.sts is None else read_similarities(asked.sts)
    prepared = None if asked.experiment is None else prepare(asked.experiment, settings=settings)
    around = _around(prepared, settings)
    base_spec = _base_spec(asked, prepared)
    groups, texts, together, left_out = _material(prepared, asked.tag)
    with ExitStack() as stack:
        cache = None
        if prepared is not None:
            cache = stack.enter_context(VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)))

        def built(spec: EmbeddingSpec) -> Embedder:
            embedder = build_embedder(spec, around)
            return embedder if cache is None else CachedEmbedder(embedder, cache)

        base = None if base_spec is None else built(base_spec)
        advance = progress("measure the models", len(asked.models))
        made = []
        for name in asked.models:
            model = built(_spec_of(name, prepared))
            side = Sides(
                model=model,
                base=None if base is None or base.identity == model.identity else base,
                alpha=0.05 if prepared is None else prepared.experiment.analysis.alpha,
                resamples=_RESAMPLES,
                seed=7 if prepared is None else prepared.experiment.analysis.seed,
            )
            terms, judged_pairs = measure_terms(pairs, side) if pairs else ((), ())
            coherent, excluded = measure_groups(groups, side) if prepared is not None else ((), ())
            general, source = _general(asked.general, side)
            made.append(
                _with_warnings(
                    Intrinsic(
                        model=f"{name} ({model.identity})",
                        base=None if side.base is None else str(side.base.identity),
                        level=1 - side.alpha,
                        terms=terms,
                        pairs=judged_pairs,
                        groups=coherent,
                        space=measure_space(texts, together, side) if texts else (),
                        sts=measure_sts(similarities, side) if similarities else (),
                        general=general,
                        general_source=source,
                        excluded=(*left_out, *excluded),
                        warnings=(),
                    )
                )
            )
            advance(1)
    return tuple(made)


def note(asked: Asked, found: Intrinsic, name: str, *, settings: Settings) -> bool:
    """Write the result beside a registered model's other records; False where the model is not registered."""
    if not name.startswith("registry:"):
        return False
    prepared_registry = _registry_of(asked, settings)
    record = dataclasses.asdict(found)
    Registry(prepared_registry).note(name, kind="intrinsic", record={"id": f"intrinsic against {found.base}", **record})
    return True


def _registry_of(asked: Asked, settings: Settings) -> Path:
    if asked.experiment is None:
        return Path(settings.registry)
    from ragtrial.formats.experiment import load_experiment

    file = load_experiment(asked.experiment)
    return resolve_path(file.folder, file.experiment.stores.registry)


def _around(prepared: Prepared | None, settings: Settings) -> Surroundings:
    return Surroundings(folder=Path.cwd(), registry=Path(settings.registry), settings=settings) if prepared is None else prepared.around


def _spec_of(name: str, prepared: Prepared | None) -> EmbeddingSpec:
    """The arm's own specification where the experiment has one for this model, prompts and all; else the model's defaults."""
    arms = () if prepared is None else prepared.experiment.arms
    return next((arm.embedding for arm in arms if name in (arm.embedding.model, arm.name)), EmbeddingSpec(model=name))


def _base_spec(asked: Asked, prepared: Prepared | None) -> EmbeddingSpec | None:
    if asked.against is not None:
        return _spec_of(asked.against, prepared)
    return None if prepared is None else prepared.experiment.control.embedding


def _material(prepared: Prepared | None, tag: str | None) -> tuple[dict[str, list[str]], list[str], list[tuple[str, str]], tuple[str, ...]]:
    """Topics with their texts, passages, and queries with passages that answer them."""
    if prepared is None:
        if tag is not None:
            raise InputError(f"--tag {tag!r} needs --experiment: its queries have the tags")
        return {}, [], [], ("no experiment was given: topics, alignment and the use of the space were not measured",)
    gold, corpus = prepared.gold, prepared.corpus
    groups, left_out = _topics(gold, tag)
    text = {query.query_id: query.text for query in gold.queries}
    together = [
        (text[j.query_id], corpus.by_id[j.target_id].content) for j in gold.judgments if j.grade > 0 and j.target_id in corpus.by_id
    ]
    return groups, [passage.content for passage in corpus.passages], together, left_out


def _topics(gold: GoldSet, tag: str | None) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Queries by the tag asked for, by `topic` or the tag with most values, or by source document."""
    values: dict[str, set[str]] = {}
    for query in gold.queries:
        for name, value in query.tags.items():
            values.setdefault(name, set()).add(value)
    if tag is not None and tag not in values:
        raise InputError(f"--tag {tag!r}: the queries have {', '.join(sorted(values)) or 'no tags'}")
    usable = [name for name in values if 1 < len(values[name]) <= _MOST_VALUES]
    chosen = tag or min(usable, key=lambda name: (name != "topic", -len(values[name]), name), default=None)
    groups: dict[str, list[str]] = {}
    lacking = 0
    for query in gold.queries:
        topic = query.cluster if chosen is None else query.tags.get(chosen)
        if topic is None:
            lacking += 1
        else:
            groups.setdefault(topic, []).append(query.text)
    if not lacking:
        return groups, ()
    what = "source document" if chosen is None else f"tag {chosen!r}"
    return groups, (f"{lacking:,} of {len(gold.queries):,} queries have no {what}, and are left out of coherence",)


def _general(path: Path | None, side: Sides) -> tuple[tuple[Measured, ...], str]:
    if path is None:
        return measure_everyday(everyday_pairs(), side), SMOKE
    if not path.is_dir():
        pairs = everyday_pairs(path)
        return measure_everyday(pairs, side), f"{len(pairs):,} pairs of {path}"
    data = load_data(DataSpec(path=str(path.resolve())), Path.cwd())
    corpus = cut(data.documents, ChunkingSpec(), data.name)
    gold = resolve(derive_clusters(data.gold, data.documents), data.documents, corpus).gold
    passages = {passage.passage_id: passage.content for passage in corpus.passages}
    return measure_general(gold, passages, side), f"{len(gold.queries):,} queries of {path}"


def _with_warnings(found: Intrinsic) -> Intrinsic:
    """What a reader has to be told: general text that got worse, term pairs that were right before and are wrong now."""
    warnings = [
        f"{each.name} got worse: {each.change.value:+.4f} [{each.change.low:+.4f}, {each.change.high:+.4f}]"
        for each in found.general
        if each.change is not None and each.change.high is not None and each.change.high < 0
    ]
    broken = [pair for pair in found.pairs if worse(pair)]
    if broken:
        names = ", ".join(f"{row.pair.left} / {row.pair.right}" for row in broken[:3])
        warnings.append(f"{len(broken)} term pairs lie on the wrong side more often than in the base: {names}")
    if found.base is None:
        warnings.append("there is no base to compare with: nothing is said of what the training changed (--against)")
    thin = Counter(row.pair.near for row in found.pairs)
    if found.pairs and min(thin[True], thin[False]) < 10:
        warnings.append(f"{thin[True]} near and {thin[False]} far pairs are few: write at least 10 of each")
    return dataclasses.replace(found, warnings=tuple(warnings))


def worse(row: JudgedPair) -> bool:
    """Whether more pairs of the other kind are on its wrong side than in the base."""
    return row.wrong_before is not None and row.wrong > row.wrong_before
