"""One run of an experiment over its gold set, and what was found on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import Conditions, ParityCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What is known of an arm's collection.

    Attributes:
        collection: Its name in Milvus.
        alias: The alias that points to it.
        index_type: As measured, not as asked.
        metric: Similarity.
        n_passages: Vectors in it.
        bytes: Size of the stored vectors, the comparable part of the index's size: n x dimension x 4, a quarter of it for int8, a 32nd for
            binary; 0 without vectors. Milvus Lite has no such types and keeps the codes as float32.
        ann_recall: Share of the exact top k that the index returns on a sample of gold queries; None where not measured.
        embed_seconds: Spent embedding in the run that built it; None where all vectors came from the cache.
        tokens: Passage tokens embedded; None where unknown.
    """

    collection: str
    alias: str
    index_type: str
    metric: str
    n_passages: int
    bytes: int
    ann_recall: float | None = None
    embed_seconds: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFacts:
    """What one arm was made of in one evaluation.

    Attributes:
        arm: Its name.
        model: The embedding model; None for reference lines.
        index: Its collection; None for reference lines.
        role: `control`, `treatment` or `reference`.
        conditions: For the parity certificate; None for reference lines.
        lineage: The model's training record as registered, or None.
    """

    arm: str
    role: str
    model: ModelIdentity | None = None
    index: IndexFacts | None = None
    conditions: Conditions | None = None
    lineage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One run of an experiment.

    Attributes:
        evaluation_id: Unique.
        experiment: Its name.
        plan_digest: Digest of the plan (law 5).
        config_digest: Digest of plan, data and models: evaluations with the same one measure the same thing.
        corpus_fingerprint: Content hash of the passages.
        gold_fingerprint: Content hash of queries and judgments.
        n_queries: Queries asked.
        arms: Both arms, then reference lines.
        parity: The certificate.
        started_at: ISO 8601, UTC.
        finished_at: ISO 8601, UTC; None while it runs or after a kill.
        environment: Versions of Python, ragtrial and the libraries that matter; CPU; seed.
        checks: Findings made before the run that the verdict needs (`leakage`), as name -> (state, detail).
    """

    evaluation_id: str
    experiment: str
    plan_digest: str
    config_digest: str
    corpus_fingerprint: str
    gold_fingerprint: str
    n_queries: int
    arms: tuple[ArmFacts, ...]
    parity: ParityCertificate
    started_at: str
    finished_at: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, tuple[str, str]] = field(default_factory=dict)
