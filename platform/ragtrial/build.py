"""Specifications to objects: the only module that names providers, and where heavy packages are first imported."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtrial.contracts import Embedder, Generator, IndexParameters, Retriever, Scorer, VectorIndex
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.experiment import EmbeddingSpec, GenerationSpec, IndexSpec
from ragtrial.domain.metric import Metric
from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning.registry import Registry
from ragtrial.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What specifications are resolved against.

    Attributes:
        folder: Folder of the experiment file; relative paths start there.
        registry: Folder of the model registry.
        settings: The environment.
    """

    folder: Path
    registry: Path
    settings: Settings


def build_embedder(spec: EmbeddingSpec, around: Surroundings) -> Embedder:
    """The embedder that a specification asks for.

    Raises:
        ModelError: There is no such model.
        InputError: No such provider, or a number that can't be.
    """
    for field in ("dimensions", "batch_size", "max_seq_length"):
        value = getattr(spec, field)
        if value is not None and value < 1:
            raise InputError(f"embedding.{field} is {value}: give at least 1")
    match spec.provider:
        case "sentence-transformers":
            return _sentence_transformers(spec, around)
        case "openai-compatible":
            from ragtrial.embedding.openai_compatible import OpenAICompatibleEmbedder

            return OpenAICompatibleEmbedder(
                spec.model,
                base_url=spec.base_url,
                api_key=around.settings.secret(spec.api_key_env),
                dimensions=spec.dimensions,
                query_prompt=spec.query_prompt,
                passage_prompt=spec.passage_prompt,
                batch_size=spec.batch_size,
            )
        case "hashing":
            from ragtrial.embedding.hashing import HashingEmbedder

            return HashingEmbedder(model=spec.model, dimension=spec.dimensions or 256)
        case provider if ":" in provider:
            embedder: Embedder = _imported(provider, "embedding.provider")(spec)
            return embedder
    raise InputError(
        f"embedding.provider {spec.provider!r} is unknown: give sentence-transformers, openai-compatible, hashing or 'package.module:Class'"
    )


def model_location(model: str, around: Surroundings) -> tuple[Path | str, str | None]:
    """Where a model named in a specification lies (a folder, or a hub id), and its name for people where it has one.

    Raises:
        ModelError: No such package, registered model or folder.
    """
    scheme, _, name = model.partition(":")
    if scheme == "package":
        from ragtrial.embedding.sentence_transformers import folder_of_package

        return folder_of_package(name), name.removeprefix("gt_").replace("_", "-")
    if scheme == "registry":
        registered = Registry(around.registry).get(name)
        return registered.folder, f"{registered.name}-{registered.version}"
    local = around.folder / model
    if model.startswith((".", "/")) or local.is_dir():
        if not local.is_dir():
            raise ModelError(
                f"model folder {str(local)!r} does not exist: give a sentence-transformers folder, 'package:NAME' or 'registry:NAME'"
            )
        return local.resolve(), None
    if model.count("/") != 1:
        raise ModelError(
            f"model {model!r} is no folder ({str(local)!r} does not exist) and no hub id: give a folder, 'package:NAME', "
            "'registry:NAME' or 'organisation/model'"
        )
    return model, None


def _sentence_transformers(spec: EmbeddingSpec, around: Surroundings) -> Embedder:
    from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder

    location, name = model_location(spec.model, around)
    return SentenceTransformersEmbedder(
        location,
        name=name,
        revision=spec.revision,
        query_prompt=spec.query_prompt,
        passage_prompt=spec.passage_prompt,
        max_seq_length=spec.max_seq_length,
        precision=spec.precision,
        batch_size=spec.batch_size,
        threads=around.settings.torch_threads,
    )


def build_index(uri: str, *, token: str | None) -> VectorIndex:
    """The Milvus behind a file path or an address."""
    from ragtrial.index.milvus import MilvusIndex

    if "://" not in uri and uri.endswith(".db"):  # any other path is refused, and needs no folder
        try:
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"folder {str(Path(uri).parent)!r} for Milvus Lite can't be made ({error.strerror}): change stores.milvus"
            ) from error
    return MilvusIndex(uri, token=token)


def check_index(parameters: IndexParameters, uri: str) -> None:
    """Whether the Milvus behind the file path or address can build this index, without asking it.

    Raises:
        StoreError: It can't.
    """
    from ragtrial.index.milvus import check_supported

    check_supported(parameters, lite="://" not in uri)


def index_parameters(spec: IndexSpec) -> IndexParameters:
    """The store's form of a specification."""
    return IndexParameters(type=spec.type, metric=spec.metric, build=dict(spec.build), search=dict(spec.search))


def build_generator(spec: GenerationSpec, corpus: Corpus) -> Generator | None:
    """The generator that a specification asks for; None for `none`.

    Raises:
        InputError: No such provider, or a setting that it doesn't take.
    """
    match spec.provider:
        case "none":
            return None
        case "extractive":
            from ragtrial.generation.extractive import ExtractiveGenerator

            try:
                return ExtractiveGenerator(corpus.passages, min_score=spec.min_score)
            except ValueError as error:
                raise InputError(f"generation.{error}") from error
        case provider if ":" in provider:
            generator: Generator = _imported(provider, "generation.provider")(spec)
            return generator
    raise InputError(f"generation.provider {spec.provider!r} is unknown: give extractive, none or 'package.module:Class'")


def build_bm25(corpus: Corpus) -> Retriever:
    """The free method that stands as a reference line beside the arms."""
    from ragtrial.index.bm25 import Bm25Retriever

    return Bm25Retriever(corpus.passages)


def build_scorers(metrics: Sequence[Metric], *, corpus: Corpus, similarity: Embedder | None, retrieval: bool = True) -> tuple[Scorer, ...]:
    """The scorers that compute these metrics.

    Args:
        metrics: Each is computed by exactly one scorer.
        corpus: For the texts of cited passages.
        similarity: The model behind `answer_similarity`.
        retrieval: Score rankings too (not for lines that borrow them).
    """
    from ragtrial.scoring.grounding import GroundingScorer
    from ragtrial.scoring.lexical import LexicalScorer
    from ragtrial.scoring.operation import OperationScorer
    from ragtrial.scoring.retrieval import RetrievalScorer
    from ragtrial.scoring.similarity import SimilarityScorer

    scorers: list[Scorer] = []
    names = {metric.name for metric in metrics}
    rankings = [metric for metric in metrics if metric.kind == "retrieval"]
    if rankings and retrieval:
        scorers.append(RetrievalScorer(rankings))
    lexical = [m for m in metrics if m.kind == "answer" and m.name not in ("citation_support", "answer_similarity")]
    if lexical:
        scorers.append(LexicalScorer(lexical))
    if "citation_support" in names:
        scorers.append(GroundingScorer(corpus.by_id))
    if "answer_similarity" in names and similarity is not None:
        scorers.append(SimilarityScorer(similarity))
    operation = [metric for metric in metrics if metric.kind == "operation"]
    if operation:
        scorers.append(OperationScorer(operation))
    return tuple(scorers)


def _imported(path: str, field: str) -> type:
    """A class of the user's own; only local experiment files come here."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{field} {path!r} can't be imported: {error}") from error
    if not isinstance(found, type):
        raise InputError(f"{field} {path!r} is no class")
    return found
