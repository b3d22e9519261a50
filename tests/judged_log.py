"""A log with an evaluation that an LLM judged, written straight into SQL: two arms, and what people would say of each answer."""

import dataclasses
import hashlib
from collections.abc import Sequence

from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.data import DataSpec
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.generation import JudgeSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.label import LABEL_WORDS
from ragtrial.domain.parity import Conditions, certify
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Opinion, Score
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Trial

METRIC, GROUNDED, SCORER = "judge_correctness", "judge_groundedness", "judge/1 gpt-4o-mini 0123abcd"
EVALUATION, ARMS = "judged-1", ("plain-arm", "fancy-arm")
HOSTILE = '<img src="http://outside.example/a.png" onerror="document.title=1"> ![b](http://outside.example/b.png) **bold** $x$'
ARABIC = "المرساة ثقيلة جدا"
RATIONALE = "as the reference has it"
SHARED_EVERY = 5
"""Every fifth query gets the same answer from both arms."""


def draw(*about: object) -> float:
    """A number from 0 to 1 that is always the same for the same things."""
    return int(hashlib.sha256(repr(about).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def truth(answer: str) -> str:
    """What a careful person says of an answer."""
    at = draw(answer, "truth")
    return "correct" if at < 0.4 else "partly" if at < 0.65 else "wrong"


def judged(answer: str, repetition: int) -> str:
    """What the judge says of it: it wavers, and calls half of what the treatment gets wrong right."""
    if draw(answer, repetition) < 0.15:
        return "partly"
    if answer.startswith("Surely") and draw(answer, "kind") < 0.5:
        return "correct"
    return truth(answer)


def answer_of(row: int, arm: str) -> str:
    """What an arm answers to query number `row`; the treatment begins with a flourish."""
    if row % SHARED_EVERY == 0:
        return f"Quay {row} opens at six."
    return f"Quay {row} opens at seven." if arm == ARMS[0] else f"Surely: quay {row} opens at six."


def experiment(name: str = "handbook", *, judges: Sequence[str] = (METRIC, GROUNDED)) -> Experiment:
    """Two arms; judged, unless no metric is."""
    first, *others = judges or ("nDCG@10",)
    return Experiment(
        name=name,
        data=DataSpec(path="somewhere"),
        arms=(
            Arm(name=ARMS[0], role="control", embedding=EmbeddingSpec(provider="hashing", model="a")),
            Arm(name=ARMS[1], role="treatment", embedding=EmbeddingSpec(provider="hashing", model="b")),
        ),
        metrics=MetricsPlan(
            primary=PrimaryMetric(name=first, min_effect=0.02), secondary=tuple(others), judge=JudgeSpec(model="m") if judges else None
        ),
    )


def write(url: str, *, n_queries: int = 60, plan: Experiment | None = None, evaluation_id: str = EVALUATION, finished: bool = True) -> str:
    """Write the evaluation.

    Args:
        url: Of the database.
        n_queries: Asked; one more fails in the treatment.
        plan: From `experiment`.
        evaluation_id: Its id.
        finished: Whether it is.

    Returns:
        The evaluation's id.
    """
    plan = plan or experiment()
    rows = range(n_queries + 1)
    texts = {1: HOSTILE, 2: ARABIC, 3: "how late " * 220}
    queries = tuple(
        Query(query_id=f"q{row}", text=texts.get(row, f"when does quay {row} open"), answers=(f"At six, says rule {row}.",)) for row in rows
    )
    gold = GoldSet(name="g", queries=queries, judgments=(Judgment(query_id="q0", target_id="p0", grade=1),))
    passages = tuple(Passage(passage_id=f"p{row}", document_id="d", text=_passage(row), start=0, end=len(_passage(row))) for row in rows)
    with Recorder(url) as recorder:
        recorder.open_evaluation(
            _evaluation(plan, gold, evaluation_id), experiment=plan, gold=gold, n_trials_planned=2 * len(queries), passages=passages
        )
        batch = [_trial(row, arm, plan, fails=row == n_queries and arm == ARMS[1]) for row in rows for arm in ARMS]
        recorder.append(evaluation_id, batch, passages)
        if finished:
            recorder.finish(evaluation_id)
    return evaluation_id


def _passage(row: int) -> str:
    return f"Rule {row}: quay {row} opens at six. {HOSTILE if row == 1 else ''}" + " It holds on all days of the year." * 60


def _evaluation(plan: Experiment, gold: GoldSet, evaluation_id: str) -> Evaluation:
    alike = Conditions(embedding={"model": "a"}, chunking={}, retrieval={}, generation={}, data={})
    other = dataclasses.replace(alike, embedding={"model": "b"})
    arms = tuple(ArmFacts(arm=arm.name, role=arm.role, conditions=alike) for arm in plan.arms)
    return Evaluation(
        evaluation_id=evaluation_id,
        experiment=plan.name,
        plan_digest=plan.plan_digest(),
        config_digest=f"c-{evaluation_id}",
        corpus_fingerprint="corpus",
        gold_fingerprint=gold.fingerprint,
        n_queries=len(gold.queries),
        arms=arms,
        parity=certify(alike, other, subject=("embedding",)),
        started_at="2026-11-01T11:00:00+00:00",
        environment={},
        checks={},
    )


def _trial(row: int, arm: str, plan: Experiment, *, fails: bool) -> tuple[Trial, tuple[Score, ...]]:
    query_id = f"q{row}"
    ranking = Ranking(query_id=query_id, hits=(Hit(passage_id=f"p{row}", similarity=0.5),))
    names = plan.metrics.names
    if fails:
        failure = Failure(stage="generate", kind="ModelError", message="")
        scores = tuple(Score(metric=name, unscored="failed: generate", scorer=SCORER) for name in names)
        return Trial(arm=arm, query_id=query_id, ranking=ranking, failure=failure), scores
    text = answer_of(row, arm)
    trial = Trial(arm=arm, query_id=query_id, ranking=ranking, answer=Answer(text=text, generator="g/1"))
    return trial, tuple(_score(name, text, query_id) for name in names)


def _score(name: str, text: str, query_id: str) -> Score:
    if name not in LABEL_WORDS:
        return Score(metric=name, value=1.0, scorer="retrieval/1")
    words = list(LABEL_WORDS[name])
    said = [judged(text, repetition) for repetition in range(2)]
    verdicts = [word if word in words else words[0] if word == "correct" else words[2] for word in said]
    opinions = tuple(
        Opinion(
            repetition=repetition,
            key=f"{name} {query_id} {text} {repetition}",
            value=LABEL_WORDS[name][word],
            verdict=word,
            rationale=RATIONALE,
            n_calls=1,
            cost_usd=0.001,
        )
        for repetition, word in enumerate(verdicts)
    )
    return Score(metric=name, value=sum(o.value or 0.0 for o in opinions) / len(opinions), scorer=SCORER, opinions=opinions)
