"""What is compared, on what, and how it will be judged: planned before any data are seen.

The field descriptions are the reference of the experiment file: its JSON schema is generated from them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from ragtrial.domain.data import DataSpec
from ragtrial.domain.described import STRICT, described
from ragtrial.domain.execution import Execution, RaySpec
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.generation import GenerationSpec, JudgeSpec, LlmSpec
from ragtrial.domain.index import IndexSpec
from ragtrial.domain.live import LiveSpec
from ragtrial.domain.metric import metric_named
from ragtrial.domain.monitor import MonitorSpec
from ragtrial.domain.planned import Guardrail, PrimaryMetric, check_roles, names_of
from ragtrial.domain.reranking import RerankSpec
from ragtrial.domain.retriever import OWN_ANSWERS, RetrieverSpec
from ragtrial.domain.training import TrainingSpec

Role = Literal["control", "treatment", "reference"]
ReferenceName = Literal["bm25", "shuffled-context"]
Aspect = Literal["embedding", "retrieval", "generation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingSpec:
    """How documents become passages."""

    __pydantic_config__ = STRICT

    strategy: Literal["none", "text", "markdown"] = described(
        "none: a document is a passage. text: cut at paragraphs, then sentences, then words. markdown: cut at headings first.",
        default="none",
    )
    max_chars: int = described("Longest passage, in characters (text, markdown).", default=800)
    overlap_chars: int = described("Characters that neighbours may share (text, markdown).", default=0)

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

    __pydantic_config__ = STRICT

    provider: str = described(
        "sentence-transformers, openai-compatible, hashing (a fake for tests), or the import path 'package.module:Class' of your own embedder.",
        default="sentence-transformers",
    )
    model: str = described(
        "A folder, 'package:NAME' (a model inside an installed Python package), 'registry:NAME[@VERSION]' (made by `ragtrial train`; VERSION is "
        "v1, v2, ..., candidate or production), a hub id, or the model name of the endpoint."
    )
    revision: str | None = described("Hub commit or tag to pin.", default=None)
    query_prompt: str | None = described("Text put before each query; default: the model's own.", default=None)
    passage_prompt: str | None = described("Text put before each passage; default: the model's own.", default=None)
    max_seq_length: int | None = described("Tokens after which the model truncates; default: the model's own.", default=None)
    backend: Literal["torch", "onnx", "openvino"] = described(
        "What runs a sentence-transformers model: torch, or an export of it that is made when it is first needed.", default="torch"
    )
    precision: Literal["fp32", "bf16", "int8"] = described(
        "fp32 is the reference; bf16 (torch, openvino) is faster where the CPU or GPU has it; int8 (onnx, openvino) quantizes the weights.",
        default="fp32",
    )
    batch_size: int = described("Texts per forward pass, or per request, at most.", default=64)
    dimensions: int | None = described(
        "Dimension to truncate a sentence-transformers model's vectors to, to ask the endpoint for, or of the hashing fake.", default=None
    )
    base_url: str | None = described("openai-compatible: the endpoint, e.g. http://localhost:8000/v1.", default=None)
    api_key_env: str = described("openai-compatible: the environment variable that holds the key.", default="OPENAI_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSpec:
    """How passages are searched."""

    __pydantic_config__ = STRICT

    method: Literal["dense", "hybrid", "bm25"] = described(
        "dense: the arm's vectors. bm25: Milvus's sparse BM25 over the same passages, no model. hybrid: both, fused. Arms that differ in it "
        "need 'retrieval' in the experiment's subject.",
        default="dense",
    )
    fusion: Literal["rrf", "weighted"] = described(
        "hybrid: reciprocal rank fusion (Cormack et al. 2009), or a weighted sum of normalised scores.", default="rrf"
    )
    rrf_k: int = described("rrf: the constant k; the larger, the less the first ranks count.", default=60)
    dense_weight: float = described("weighted: the dense score's share; the rest is BM25's.", default=0.5)
    candidates: int = described("hybrid: hits of each kind that are fused; at least top_k are taken.", default=100)
    top_k: int = described("Passages retrieved per query.", default=10)
    rerank: RerankSpec | None = described(
        "A model that reads query and passage together and orders what the search found anew; none by default. Arms that differ in it need "
        "'retrieval' in the experiment's subject.",
        default=None,
        later=True,
    )
    index: IndexSpec = described("The Milvus index.", default_factory=IndexSpec)
    retriever: RetrieverSpec | None = described(
        "An arm's own pipeline (LangChain, LlamaIndex, any function) in place of its embedding model and index; such an arm has no 'embedding'. "
        "Needs 'embedding' and 'retrieval' in the experiment's subject.",
        default=None,
        later=True,
    )

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}: retrieve at least 1 passage")
        if self.retriever is not None and (self.method != "dense" or self.index != IndexSpec()):
            raise ValueError("retriever searches by itself: leave method and index out")
        if self.rrf_k < 1 or self.candidates < 1:
            raise ValueError(f"rrf_k is {self.rrf_k} and candidates is {self.candidates}: give at least 1")
        if not 0 <= self.dense_weight <= 1:
            raise ValueError(f"dense_weight is {self.dense_weight}: give a share from 0 to 1")
        if self.method != "bm25":
            self._check_visits()

    def _check_visits(self) -> None:
        """Refuse an index that would look at less than it has to return."""
        wanted = self.vector_depth
        for visits, types in (("ef", "HNSW"), ("reorder_k", "SCANN"), ("search_list", "DISKANN")):
            if self.index.search.get(visits, wanted) < wanted:
                names = " and ".join(
                    ["top_k", *(["candidates"] if self.method == "hybrid" else []), *(["rerank.candidates"] if self.rerank else [])]
                )
                raise ValueError(
                    f"index.search.{visits} is {self.index.search[visits]}: {types} finds no more than it visits, give at least {wanted} ({names})"
                )

    @property
    def vector_depth(self) -> int:
        """Passages that the search of the vectors finds: what is returned, reranked, or fused with BM25, whichever is most."""
        return max(self.depth, self.candidates) if self.method == "hybrid" else self.depth

    @property
    def depth(self) -> int:
        """Passages that the search finds: `top_k`, or what the reranker is given where that is more."""
        return self.top_k if self.rerank is None else max(self.top_k, self.rerank.candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One configuration under test.

    `retrieval` and `generation` override the experiment's; a verdict then needs them in its `subject`.
    """

    __pydantic_config__ = STRICT

    name: str = described("Short name; letters, digits, '-' and '_'.")
    role: Role = described("control (the baseline) or treatment (the custom model).")
    embedding: EmbeddingSpec = described(
        "The arm's embedding model; left out, and only then, where the arm has a retriever of its own (retrieval.retriever).",
        default=EmbeddingSpec(provider="none", model="none"),
    )
    retrieval: RetrievalSpec | None = described("Overrides the experiment's retrieval.", default=None)
    generation: GenerationSpec | None = described("Overrides the experiment's generation.", default=None)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_" for c in self.name):
            raise ValueError(f"arm name {self.name!r}: use letters, digits, '-' and '_'")
        brings_its_own = self.retrieval is not None and self.retrieval.retriever is not None
        if brings_its_own and self.embedding.provider != "none":
            raise ValueError(
                f"arm {self.name!r} has an embedding and a retriever of its own, which embeds by itself: leave one of them out"
            )
        if not brings_its_own and self.embedding.provider == "none":
            raise ValueError(f"arm {self.name!r} has no embedding: name its model, or give it a retriever of its own (retrieval.retriever)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPlan:
    """What is measured; whatever isn't named here is labelled exploratory."""

    __pydantic_config__ = STRICT

    primary: PrimaryMetric = described("The one metric that decides.")
    secondary: tuple[str, ...] = described("Decision metrics besides the primary one; counted where that one is shown.", default=())
    guardrails: tuple[Guardrail, ...] = described("What must not get worse.", default=())
    exploratory: tuple[str, ...] = described("Shown without a claim.", default=())
    similarity: EmbeddingSpec | None = described(
        "The model behind answer_similarity and answer_relevancy; must be neither arm's model.", default=None
    )
    judge: JudgeSpec | None = described("The LLM behind judged metrics.", default=None)

    def __post_init__(self) -> None:
        check_roles(self.primary, self.secondary, self.guardrails, self.exploratory)
        for name in ("answer_similarity", "answer_relevancy"):
            if self.similarity is None and name in self.names:
                raise ValueError(f"{name} needs metrics.similarity: a model that is neither arm's")
        judged = [name for name in self.names if metric_named(name).judge is not None]
        if judged and self.judge is None:
            raise ValueError(f"{judged[0]} needs metrics.judge: the LLM that judges")

    def judgments_of(self, name: str) -> int:
        """How often each answer is judged on this metric."""
        given = {} if self.judge is None else self.judge.repetitions
        decides = name in (self.primary.name, *self.secondary)
        return given.get(name, 3 if decides else 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric asked for, once, the primary first."""
        return names_of(self.primary, self.secondary, self.guardrails, self.exploratory)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPlan:
    """How the verdict is reached."""

    __pydantic_config__ = STRICT

    alpha: float = described("Two-sided error rate of the primary test; intervals cover 1 - alpha.", default=0.05)
    power: float = described("Power that planned sizes and the MDE refer to.", default=0.8)
    resamples: int = described("Sign flips and bootstrap resamples.", default=10_000)
    correction: Literal["holm", "none"] = described("Over the secondary metrics, behind the primary one.", default="holm")
    seed: int = described("Seed of every random step of the analysis.", default=7)
    min_queries: int = described("No verdict below this number of scored queries.", default=100)
    cluster: str = described(
        "auto: cluster-robust where queries share a source document; none; or the name of a query tag to cluster by.", default="auto"
    )
    assumed_sd: float = described("Standard deviation of paired differences assumed for the MDE before the run.", default=0.2)
    latency_queries: int = described("Queries timed one at a time, arms in turn, for latency.", default=100)
    gate: Literal["adopt", "no-regression"] = described(
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

    __pydantic_config__ = STRICT

    milvus: str = described("A Milvus Lite file, or the http://host:19530 of a server.", default=".ragtrial/milvus.db")
    milvus_token_env: str = described("The environment variable that holds the Milvus token.", default="RAGTRIAL_MILVUS_TOKEN")
    sql: str = described("SQLAlchemy URL; SQLite paths are relative to the experiment file.", default="sqlite:///.ragtrial/ragtrial.db")
    vectors: str = described("Folder of the vector cache.", default=".ragtrial/vectors")
    calls: str = described("Folder of the cache of LLM calls: what was paid for once is not paid for again.", default=".ragtrial/calls")
    registry: str = described("Folder of the model registry.", default=".ragtrial/models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Two arms, the data, and the plan."""

    __pydantic_config__ = STRICT

    name: str = described("Short name; letters, digits, '-' and '_'.")
    hypothesis: str = described("What you expect, in one sentence.", default="")
    data: DataSpec = described("Corpus and gold set.")
    chunking: ChunkingSpec = described("How documents become passages.", default_factory=ChunkingSpec)
    arms: tuple[Arm, ...] = described("One control and one treatment.")
    subject: tuple[Aspect, ...] = described(
        "What the arms may differ in; anything else that differs refuses the verdict.", default=("embedding",)
    )
    references: tuple[ReferenceName, ...] = described(
        "Lines shown beside the arms: bm25 (a free method), shuffled-context (the floor of the answer metrics).",
        default=("bm25", "shuffled-context"),
    )
    retrieval: RetrievalSpec = described("How passages are searched.", default_factory=RetrievalSpec)
    generation: GenerationSpec = described("How answers are made.", default_factory=GenerationSpec)
    repetitions: int = described("Times each query runs through each arm; averaged before the test.", default=1)
    metrics: MetricsPlan = described("What is measured.")
    analysis: AnalysisPlan = described("How the verdict is reached.", default_factory=AnalysisPlan)
    llm: LlmSpec = described("What the calls to LLMs may take.", default_factory=LlmSpec)
    stores: StoresSpec = described("Where things are kept.", default_factory=StoresSpec)
    execution: Execution = described(
        "Where the corpus is embedded: in this process, or on Ray (extra 'ray'); the vectors are the same.", default="local"
    )
    ray: RaySpec = described("How `execution: ray` embeds the corpus.", default_factory=RaySpec)
    training: TrainingSpec | None = described("How `ragtrial train` makes the custom model.", default=None)
    live: LiveSpec | None = described("How `ragtrial serve` splits live traffic between the arms, and what decides there.", default=None)
    monitor: MonitorSpec | None = described("What `ragtrial monitor` watches, and when it raises an alert.", default=None)

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
            if metric_named(name).kind == "feedback":
                raise ValueError(f"metric {name!r} is what users do: it is measured on live traffic only (live.metrics)")
        self._check_plan_of_work()
        self._check_retrievers()
        if self.live is not None:
            self._check_live(self.live)

    def _check_plan_of_work(self) -> None:
        grouped = any(self.retrieval_of(arm).index.partition_by != "none" for arm in self.arms)
        if self.execution == "ray" and self.ray.write == "bulk-import" and grouped:
            raise ValueError(
                "ray.write is 'bulk-import' and index.partition_by is 'group', whose import has not been tried: use write: upsert"
            )
        if self.training is not None and self.training.data is None and not self.training.pairs:
            raise ValueError("training: there is nothing to train on: give data (judgments), pairs (files of `ragtrial pairs`), or both")

    def _check_retrievers(self) -> None:
        """What arms with a retriever of their own need, said before anything is asked."""
        if self.retrieval.retriever is not None:
            raise ValueError("retrieval.retriever belongs to an arm: give it as arms[].retrieval.retriever")
        for arm in self.arms:
            brings_its_own = self.retrieval_of(arm).retriever is not None
            missing = [f"'{aspect}'" for aspect in ("embedding", "retrieval") if aspect not in self.subject]
            if brings_its_own and missing:
                raise ValueError(
                    f"arm {arm.name!r} brings a retriever of its own, whose model and search nobody can compare: add {' and '.join(missing)} to subject"
                )
            if not brings_its_own and self.generation_of(arm).provider == OWN_ANSWERS:
                raise ValueError(
                    f"generation.provider of arm {arm.name!r} is {OWN_ANSWERS!r}, but it has no retrieval.retriever that could answer"
                )
            if self.generation_of(arm).provider == OWN_ANSWERS and "citation_support" in self.metrics.names:
                raise ValueError(
                    f"citation_support is planned, and nothing is known of what the pipeline of arm {arm.name!r} cites: leave it out"
                )

    def _check_live(self, live: LiveSpec) -> None:
        names = {arm.name for arm in self.arms}
        strangers = sorted({arm for arm in live.overrides.values() if arm not in names})
        if strangers:
            raise ValueError(f"live.overrides names the arm {strangers[0]!r}: there are {', '.join(sorted(names))}")
        if "interleaved" in names:
            raise ValueError("an arm is called 'interleaved', which is how answers from both rankings are logged: choose another name")
        for name in live.metrics.names:
            self._check_cutoff(name)
            if metric_named(name).judge is not None and self.metrics.judge is None:
                raise ValueError(f"live metric {name!r} needs metrics.judge: the LLM that judges")
            if name in ("answer_similarity", "answer_relevancy") and self.metrics.similarity is None:
                raise ValueError(f"live metric {name!r} needs metrics.similarity: a model that is neither arm's")

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

    @property
    def judged(self) -> tuple[str, ...]:
        """Names of the planned metrics that ask an LLM or come from RAGAS."""
        return tuple(name for name in self.metrics.names if metric_named(name).judge is not None)

    @property
    def asks_llm(self) -> bool:
        """Whether anything in it calls an LLM."""
        return bool(self.judged) or any(self.generation_of(arm).provider == "openai-compatible" for arm in self.arms)

    @property
    def reference_lines(self) -> tuple[ReferenceName, ...]:
        """Lines beside the arms; where they don't answer there is no answer whose floor could be shown."""
        return tuple(name for name in self.references if self.references_answer or name != "shuffled-context")

    @property
    def references_answer(self) -> bool:
        """Whether reference lines generate answers, as control does: what costs nothing always, an LLM where it is asked to."""
        spec = self.generation_of(self.control)
        if spec.provider in ("none", OWN_ANSWERS):  # a pipeline can't answer from another line's passages
            return False
        return spec.provider != "openai-compatible" or spec.references == "answer"

    def generation_of(self, arm: Arm) -> GenerationSpec:
        """The generation that holds for this arm."""
        return arm.generation or self.generation

    def plan_digest(self) -> str:
        """Digest of what an evaluation planned before its data: without stores, `execution`, training, limits of LLM calls, `live` and `monitor`."""
        planned = [self.name, self.hypothesis, self.data, self.chunking, self.arms, self.subject, self.references]
        return digest([*planned, self.retrieval, self.generation, self.repetitions, self.metrics, self.analysis])

    def live_digest(self) -> str:
        """Digest of everything that a live experiment planned before its data: what both arms are made of, and `live` itself."""
        judged = [self.metrics.judge, self.metrics.similarity]
        planned = [self.name, self.data, self.chunking, self.arms, self.subject, self.retrieval, self.generation]
        return digest([*planned, *judged, self.analysis, self.live])
