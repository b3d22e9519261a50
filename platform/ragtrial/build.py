"""Specifications to objects: the only module that names providers, and where heavy packages are first imported."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragtrial.contracts import Embedder, Generator, IndexParameters, Reranker, Retriever, VectorIndex
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.experiment import EmbeddingSpec, RetrievalSpec
from ragtrial.domain.generation import GenerationSpec, JudgeSpec, LlmSpec
from ragtrial.domain.index import IndexSpec
from ragtrial.domain.reranking import RerankSpec
from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning.registry import Registry, unsafe_weights
from ragtrial.index.reading import Reading
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.prices import PriceTable, read_prices
from ragtrial.settings import Settings

if TYPE_CHECKING:
    from ragtrial.index.milvus_bulk import BulkImport
    from ragtrial.llm.gate import Gate
    from ragtrial.llm.prompt import Prompt

OPENAI = "https://api.openai.com/v1"
_HOLD_OFF_S = 5.0
_RERANK_RETRIES = 5
UNKNOWN_GENERATOR = "generation.provider {!r} is unknown: give extractive, openai-compatible, none, pipeline or 'package.module:Class'"


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

    @property
    def exports(self) -> Path:
        """Folder of the exports of models, made when they are first needed; it can be removed at any time."""
        return self.registry.parent / "exports"


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
        case "none":
            raise InputError("this arm has a retriever of its own (retrieval.retriever) and no embedding model, which is needed here")
        case provider if ":" in provider:
            embedder: Embedder = _imported(provider, "embedding.provider")(spec)
            return embedder
    raise InputError(
        f"embedding.provider {spec.provider!r} is unknown: give sentence-transformers, openai-compatible, hashing or 'package.module:Class'"
    )


def model_location(model: str, around: Surroundings) -> tuple[Path | str, str | None]:
    """Where a model named in a specification lies (a folder, or a hub id), and its name for people where it has one.

    Raises:
        ModelError: No such package, registered model or folder; a registered model's files are not those that were registered; or its weights are a
            pickle, and those are not allowed.
    """
    scheme, _, name = model.partition(":")
    if scheme == "package":
        from ragtrial.embedding.sentence_transformers import folder_of_package

        return _safe(folder_of_package(name), around), name.removeprefix("gt_").replace("_", "-")
    if scheme == "registry":
        registered = Registry(around.registry).get(name, verify=True)
        return _safe(registered.folder, around), f"{registered.name}-{registered.version}"
    local = around.folder / model
    if model.startswith((".", "/")) or local.is_dir():
        if not local.is_dir():
            raise ModelError(
                f"model folder {str(local)!r} does not exist: give a sentence-transformers folder, 'package:NAME' or 'registry:NAME'"
            )
        return _safe(local.resolve(), around), None
    if model.count("/") != 1:
        raise ModelError(
            f"model {model!r} is no folder ({str(local)!r} does not exist) and no hub id: give a folder, 'package:NAME', "
            "'registry:NAME' or 'organisation/model'"
        )
    return model, None


def _safe(folder: Path, around: Surroundings) -> Path:
    """The folder of a model that can be loaded without running code of whoever made it.

    torch reads pickles with `weights_only`, which has had holes (CVE-2025-32434); safetensors has nothing that could be run.
    """
    found = () if around.settings.allow_pickle_models else unsafe_weights(folder)
    if found:
        raise ModelError(
            f"model folder {str(folder)!r} keeps its weights in a pickle, {found[0]!r}, which can run code when it is loaded: save it as "
            "safetensors (SentenceTransformer(FOLDER).save_pretrained(OTHER)), or set RAGTRIAL_ALLOW_PICKLE_MODELS=1 where you trust who made it"
        )
    return folder


def _sentence_transformers(spec: EmbeddingSpec, around: Surroundings) -> Embedder:
    from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder

    if (spec.backend, spec.precision) in (("torch", "int8"), ("onnx", "bf16")):
        others = {"torch": "fp32 or bf16, or backend onnx or openvino", "onnx": "fp32 or int8, or backend torch or openvino"}[spec.backend]
        raise InputError(f"embedding.precision {spec.precision!r} is not there for backend {spec.backend!r}: give {others}")
    location, name = model_location(spec.model, around)
    if spec.backend != "torch":
        from ragtrial.embedding.exported import ExportedEmbedder

        return ExportedEmbedder(
            location,
            backend=spec.backend,
            precision=spec.precision,
            exports=around.exports,
            name=name,
            revision=spec.revision,
            query_prompt=spec.query_prompt,
            passage_prompt=spec.passage_prompt,
            max_seq_length=spec.max_seq_length,
            dimensions=spec.dimensions,
            batch_size=spec.batch_size,
            threads=around.settings.torch_threads,
        )
    if spec.precision == "int8":  # refused above
        raise InputError("embedding.precision 'int8' is not there for backend 'torch'")
    return SentenceTransformersEmbedder(
        location,
        name=name,
        revision=spec.revision,
        query_prompt=spec.query_prompt,
        passage_prompt=spec.passage_prompt,
        max_seq_length=spec.max_seq_length,
        precision=spec.precision,
        dimensions=spec.dimensions,
        batch_size=spec.batch_size,
        threads=around.settings.torch_threads,
    )


def build_reranker(spec: RerankSpec, around: Surroundings, *, live: bool = False) -> Reranker:
    """The reranker that a specification asks for.

    Args:
        spec: Of the experiment or the arm.
        around: For models and keys.
        live: Users wait for it: an endpoint is asked once, and left alone for a moment where it gives no answer.

    Raises:
        ModelError: There is no such model, or the endpoint gives no answer.
        InputError: No such provider.
    """
    match spec.provider:
        case "sentence-transformers":
            from ragtrial.reranking.cross_encoder import BATCH_SIZE, CrossEncoderReranker

            location, name = model_location(spec.model, around)
            return CrossEncoderReranker(
                location,
                name=name,
                revision=spec.revision,
                max_length=spec.max_length,
                batch_size=spec.batch_size or BATCH_SIZE,
                threads=around.settings.torch_threads,
            )
        case "cohere-compatible" | "tei" as shape:
            from ragtrial.reranking.endpoint import EndpointReranker

            return EndpointReranker(
                spec.model,
                shape=shape,
                base_url=spec.base_url or "",
                api_key=around.settings.secret(spec.api_key_env),
                batch_size=spec.batch_size,
                timeout_s=spec.timeout_s,
                max_retries=0 if live else _RERANK_RETRIES,
                hold_off_s=_HOLD_OFF_S if live else 0.0,
            )
        case "overlap":
            from ragtrial.reranking.overlap import OverlapReranker

            return OverlapReranker(spec.model)
        case provider if ":" in provider:
            reranker: Reranker = _imported(provider, "rerank.provider")(spec)
            return reranker
    raise InputError(
        f"rerank.provider {spec.provider!r} is unknown: give sentence-transformers, cohere-compatible, tei, overlap or 'package.module:Class'"
    )


def build_index(uri: str, *, token: str | None, timeout_s: float = 60.0, reading: Reading | None = None) -> VectorIndex:
    """The Milvus behind a file path or an address; each call to it may take so long."""
    from ragtrial.index.milvus import MilvusIndex

    if "://" not in uri and uri.endswith(".db"):  # any other path is refused, and needs no folder
        try:
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"folder {str(Path(uri).parent)!r} for Milvus Lite can't be made ({error.strerror}): change stores.milvus"
            ) from error
    return MilvusIndex(uri, token=token, timeout_s=timeout_s, reading=reading)


def build_import(uri: str, *, token: str | None, folder: Path, prefix: str | None) -> "BulkImport":
    """What has a Milvus server import files of rows; arguments as for `index.milvus_bulk.BulkImport`."""
    from ragtrial.index.milvus_bulk import BulkImport

    return BulkImport(uri, token=token, folder=folder, prefix=prefix)


def check_index(parameters: IndexParameters, uri: str) -> None:
    """Whether the Milvus behind the file path or address can build this index, without asking it.

    Raises:
        StoreError: It can't.
    """
    from ragtrial.index.milvus_support import check_supported

    check_supported(parameters, lite="://" not in uri)


def index_parameters(spec: IndexSpec | RetrievalSpec) -> IndexParameters:
    """The store's form of a specification; with words where the method needs them."""
    index, words = (spec.index, spec.method != "dense") if isinstance(spec, RetrievalSpec) else (spec, False)
    return IndexParameters(
        type=index.type,
        metric=index.metric,
        build=dict(index.build),
        search=dict(index.search),
        vectors=index.vectors,
        words=words,
        shards=index.shards,
        partition="" if index.partition_by == "none" else index.partition_by,
    )


def reading_of(specs: Sequence[IndexSpec]) -> Reading:
    """How the arms' collections are loaded and searched: alike, for replicas and consistency show in an arm's latency.

    Raises:
        InputError: The arms differ in it.
    """
    first, *others = specs
    for name in ("replicas", "consistency", "mmap", "resource_groups"):
        for other in others:
            if getattr(other, name) != getattr(first, name):
                raise InputError(
                    f"retrieval.index.{name} is {getattr(first, name)!r} for one arm and {getattr(other, name)!r} for the other: give both the "
                    "same, or their latencies can't be compared"
                )
    return Reading(replicas=first.replicas, consistency=first.consistency, mmap=first.mmap, resource_groups=first.resource_groups)


def build_prices(spec: LlmSpec, around: Surroundings) -> PriceTable:
    """The bundled price table, behind the user's own.

    Raises:
        InputError: The user's own can't be read.
    """
    return read_prices(None if spec.prices is None else around.folder / spec.prices)


def build_gate(
    spec: LlmSpec,
    around: Surroundings,
    *,
    cache: CallCache | None,
    notify: Callable[[str], None],
    settled: Callable[[int], None] | None = None,
) -> "Gate":
    """The gate that all calls to LLMs go through, as `llm.gate.Gate` takes it; to be closed."""
    from ragtrial.llm.gate import Gate, Limits

    limits = Limits(
        concurrency=spec.concurrency,
        timeout_s=spec.timeout_s,
        attempts=spec.attempts,
        max_wait_s=spec.max_wait_s,
        patience_s=spec.patience_s,
        run_timeout_s=spec.run_timeout_s,
        max_cost_usd=spec.max_cost_usd,
    )
    return Gate(limits, prices=build_prices(spec, around), cache=cache, notify=notify, settled=settled)


def endpoint_of(spec: GenerationSpec | JudgeSpec, around: Surroundings) -> Endpoint:
    """Who is asked; the key comes from the environment."""
    return Endpoint(
        base_url=spec.base_url or OPENAI,
        model=spec.model or "",
        api_key=around.settings.secret(spec.api_key_env) or "none",
        response_format=spec.response_format,
    )


def build_generator(spec: GenerationSpec, corpus: Corpus, around: Surroundings, *, gate: "Gate | None" = None) -> Generator | None:
    """The generator that a specification asks for; None for `none`, and for `pipeline`, whose answers the arm's retriever has.

    Args:
        spec: Of the experiment or the arm.
        corpus: That an extractive generator is fitted on.
        around: For prompts and keys.
        gate: For generators that ask an LLM.

    Raises:
        InputError: No such provider, a setting that it doesn't take, or no such prompt.
    """
    match spec.provider:
        case "none" | "pipeline":
            return None
        case "extractive":
            from ragtrial.generation.extractive import ExtractiveGenerator

            try:
                return ExtractiveGenerator(corpus.passages, min_score=spec.min_score)
            except ValueError as error:
                raise InputError(f"generation.{error}") from error
        case "openai-compatible":
            return _llm_generator(spec, around, gate)
        case provider if ":" in provider:
            generator: Generator = _imported(provider, "generation.provider")(spec)
            return generator
    raise InputError(UNKNOWN_GENERATOR.format(spec.provider))


def prompt_of(spec: GenerationSpec, around: Surroundings) -> "Prompt":
    """The prompt that a generator asks with.

    Raises:
        InputError: There is none of this name, or the file can't be used.
    """
    from ragtrial.generation.openai_compatible import PLACES
    from ragtrial.llm.prompt import bundled_prompt, read_prompt

    own = spec.prompt.endswith(".md")
    return read_prompt(around.folder / spec.prompt, places=PLACES) if own else bundled_prompt("ragtrial.generation", spec.prompt)


def _llm_generator(spec: GenerationSpec, around: Surroundings, gate: "Gate | None") -> Generator:
    from ragtrial.generation.openai_compatible import OpenAICompatibleGenerator

    if gate is None:
        raise ValueError("a generator that asks an LLM needs the gate")
    prompt = prompt_of(spec, around)
    return OpenAICompatibleGenerator(gate=gate, endpoint=endpoint_of(spec, around), sampling=sampling_of(spec), prompt=prompt)


def sampling_of(spec: GenerationSpec | JudgeSpec) -> Sampling:
    """How a model is asked."""
    stop = spec.stop if isinstance(spec, GenerationSpec) else ()
    return Sampling(temperature=spec.temperature, seed=spec.seed, max_tokens=spec.max_tokens, stop=tuple(stop))


def build_bm25(corpus: Corpus, *, group_tag: str | None = None) -> Retriever:
    """The free method that stands as a reference line beside the arms, confined to groups as they are."""
    from ragtrial.index.bm25 import Bm25Retriever

    return Bm25Retriever(corpus.passages, group_tag=group_tag)


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
