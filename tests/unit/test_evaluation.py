"""The gold set through both arms: in batches, resumable, each answer made once, latency only where a query was asked alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from ragtrial.contracts import Retrieved, Scorer
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.data import DataSpec
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Score, ScoreTable
from ragtrial.domain.trial import Answer, Trial
from ragtrial.errors import StoreError
from ragtrial.evaluation import BATCH_SIZE, Key, Line, evaluate, order_of
from ragtrial.scoring.lexical import LexicalScorer
from ragtrial.scoring.operation import OperationScorer
from ragtrial.scoring.retrieval import RetrievalScorer
from unit.parts import Failing, Quoting, dense, pipeline, world

MODEL = EmbeddingSpec(provider="hashing", model="x")
EXPERIMENT = Experiment(
    name="trial",
    data=DataSpec(path="data"),
    arms=(Arm(name="baseline", role="control", embedding=MODEL), Arm(name="custom", role="treatment", embedding=MODEL)),
    metrics=MetricsPlan(primary=PrimaryMetric(name="nDCG@3")),
)


def scorers() -> tuple[Scorer, ...]:
    return (
        RetrievalScorer([metric_named("nDCG@3")]),
        LexicalScorer([metric_named("answer_f1")]),
        OperationScorer([metric_named("latency_ms")]),
    )


def lines_of(corpus: Corpus, generator: Quoting, *, custom: tuple[str, int] = ("b", 16), timed: bool = True) -> list[Line]:
    """Both arms with one generator, and the shuffled-context line; `custom` is its model and dimension."""
    models = {"baseline": ("a", 512), "custom": custom}
    arms = [
        pipeline(corpus, arm=arm, retriever=dense(corpus, model=model, dimension=dimension), generator=generator)
        for arm, (model, dimension) in models.items()
    ]
    lines = [Line(pipeline=arm, timed=arm if timed else None, scorers=scorers()) for arm in arms]
    shuffled = pipeline(corpus, arm="shuffled-context", generator=generator)
    return [*lines, Line(pipeline=shuffled, scorers=scorers()[1:2], borrows=True, is_arm=False)]


class Log:
    """A database with one evaluation in it."""

    def __init__(self, folder: Path, gold: GoldSet, corpus: Corpus) -> None:
        self.url, self.gold, self.corpus = f"sqlite:///{folder / 'log.db'}", gold, corpus
        evaluation = Evaluation(
            evaluation_id="e1",
            experiment=EXPERIMENT.name,
            plan_digest=EXPERIMENT.plan_digest(),
            config_digest="c1",
            corpus_fingerprint=corpus.fingerprint,
            gold_fingerprint=gold.fingerprint,
            n_queries=len(gold.queries),
            arms=tuple(ArmFacts(arm=name, role=role) for name, role in (("baseline", "control"), ("custom", "treatment"))),
            parity=ParityCertificate(ok=True, digest="d"),
            started_at="2026-11-01T11:00:00+00:00",
        )
        with Recorder(self.url) as recorder:
            recorder.open_evaluation(evaluation, experiment=EXPERIMENT, gold=gold, n_trials_planned=1)

    def run(self, lines: Sequence[Line], *, n_timed: int = 0, repetitions: int = 1, seed: int = 7, since: float = 0.0) -> None:
        with Recorder(self.url) as recorder, Reader(self.url) as reader:
            recorder.resume("e1")
            done: set[Key] = reader.done("e1")
            evaluate(
                evaluation_id="e1",
                queries=order_of(self.gold, seed=seed),
                gold=self.gold,
                lines=lines,
                passages=self.corpus.by_id,
                repetitions=repetitions,
                n_timed=n_timed,
                recorder=recorder,
                done=done,
                since=since,
            )

    def trials(self, arm: str | None = None) -> tuple[Trial, ...]:
        with Reader(self.url) as reader:
            return reader.trials("e1", arm)

    def scores(self, metric: str) -> ScoreTable:
        with Reader(self.url) as reader:
            return reader.scores("e1", [metric])[metric]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    corpus, gold = world(8)
    return Log(tmp_path, gold, corpus)


def test_every_query_goes_once_through_every_line(log: Log) -> None:
    log.run(lines_of(log.corpus, Quoting()))
    keys = [(trial.arm, trial.query_id) for trial in log.trials()]
    assert sorted(keys) == sorted((arm, f"q{i:03}") for arm in ("baseline", "custom", "shuffled-context") for i in range(8))


def test_the_order_is_random_fixed_by_the_seed_and_a_limit_is_its_beginning() -> None:
    _corpus, gold = world(50)
    order = order_of(gold, seed=3)
    assert order == order_of(gold, seed=3)
    assert order != order_of(gold, seed=4)
    assert order != gold.queries
    assert sorted(order, key=lambda query: query.query_id) == list(gold.queries)
    assert order_of(gold, seed=3, limit=10) == order[:10]


def test_an_answer_that_both_arms_would_get_is_made_once_and_marked(log: Log) -> None:
    generator = Quoting()
    log.run(lines_of(log.corpus, generator, custom=("a", 512), timed=False)[:2])  # both arms with one model: the same passages
    assert len(generator.calls) == 8  # 8 queries, 2 arms
    assert [trial.answer_shared for trial in log.trials()] == [True] * 16
    by_query = {trial.query_id: trial.answer for trial in log.trials("baseline")}
    assert all(trial.answer == by_query[trial.query_id] for trial in log.trials("custom"))


def test_an_answer_is_shared_only_where_the_arms_read_the_same_passages_in_the_same_order(log: Log) -> None:
    generator = Quoting()
    log.run(lines_of(log.corpus, generator, timed=False)[:2])
    read = {arm: {t.query_id: t.ranking.passage_ids[:2] for t in log.trials(arm) if t.ranking} for arm in ("baseline", "custom")}
    same = {query_id for query_id in read["baseline"] if read["baseline"][query_id] == read["custom"][query_id]}
    assert 0 < len(same) < 8, "the test needs both kinds of query"
    assert {trial.query_id for trial in log.trials() if trial.answer_shared} == same
    assert len(generator.calls) == 16 - len(same)


def test_arms_take_turns_at_being_answered_and_judged_first(log: Log) -> None:
    class Watching(OperationScorer):
        """Keeps the order in which it is given the trials."""

        seen: list[tuple[str, str]]

        def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
            self.seen = [(trial.query_id, trial.arm) for trial in trials]
            return super().score(trials, gold)

    generator, scorer = Quoting(), Watching([metric_named("failed")])
    lines = lines_of(log.corpus, generator, timed=False)[:2]
    log.run([dataclasses.replace(line, scorers=(scorer,)) for line in lines])
    order = [query.query_id for query in order_of(log.gold, seed=7)]
    turns = [("baseline", "custom"), ("custom", "baseline")] * 4
    assert scorer.seen == [(query_id, arm) for query_id, turn in zip(order, turns, strict=True) for arm in turn]
    read = {(t.query_id, t.arm): t.ranking.passage_ids[:2] for t in log.trials() if t.ranking}
    wanted = [(query_id, read[query_id, arm]) for query_id, turn in zip(order, turns, strict=True) for arm in turn]
    assert generator.calls == list(dict.fromkeys(wanted)), "the second one finds the prompt in the provider's own cache, and is cheaper"


def test_generators_that_differ_share_nothing(log: Log) -> None:
    one, other = Quoting(), Quoting(settings={"temperature": "0.7"})
    arms = [pipeline(log.corpus, arm=arm, generator=g) for arm, g in (("baseline", one), ("custom", other))]
    log.run([Line(pipeline=arm, scorers=scorers()) for arm in arms])
    assert (len(one.calls), len(other.calls)) == (8, 8)
    assert not any(trial.answer_shared for trial in log.trials())


def test_repetitions_ask_the_generator_again_and_are_averaged(log: Log) -> None:
    class Moody(Quoting):
        """Right in the first repetition, silent in the second."""

        def generate(self, query: Query, passages: Sequence) -> Answer:  # type: ignore[type-arg]
            answer = super().generate(query, passages)
            again = sum(asked == query.query_id for asked, _ in self.calls) > 1
            return Answer(text="", finish_reason="abstained", generator=self.version) if again else answer

    generator = Moody()
    log.run(lines_of(log.corpus, generator, custom=("a", 512), timed=False)[:2], repetitions=2)
    assert len(generator.calls) == 16
    assert sorted({trial.repetition for trial in log.trials()}) == [0, 1]
    # the quoted passage is the reference answer word for word: F1 is 1, then 0 for silence; their mean is 0.5
    assert log.scores("answer_f1").per_query("custom") == pytest.approx([0.5] * 8)


def test_the_shuffled_context_line_reads_another_sources_passages(tmp_path: Path) -> None:
    clusters = ["north", "north", "north", "south", "south", "south", "east", "east"]
    corpus, gold = world(8, clusters=clusters)
    log = Log(tmp_path, gold, corpus)
    log.run(lines_of(corpus, Quoting(), timed=False))
    cluster = {query.query_id: query.cluster for query in gold.queries}
    own = {trial.query_id: trial.ranking for trial in log.trials("baseline")}
    borrowed = {trial.query_id: trial.ranking for trial in log.trials("shuffled-context")}
    for query_id, ranking in borrowed.items():
        assert ranking is not None
        lenders = {other for other, theirs in own.items() if theirs is not None and theirs.hits == ranking.hits}
        assert lenders
        assert all(cluster[lender] != cluster[query_id] for lender in lenders)


def test_a_single_query_has_nobody_to_borrow_from_and_says_so(tmp_path: Path) -> None:
    corpus, gold = world(1)
    log = Log(tmp_path, gold, corpus)
    log.run(lines_of(corpus, Quoting(), timed=False))
    (trial,) = log.trials("shuffled-context")
    assert trial.failure is not None
    assert trial.failure.kind == "NoOtherQuery"
    assert log.scores("answer_f1").reasons("shuffled-context") == {"failed: search": 1}


def test_only_queries_asked_alone_have_a_latency_and_the_others_a_reason(log: Log) -> None:
    log.run(lines_of(log.corpus, Quoting()), n_timed=3)
    first = {query.query_id for query in order_of(log.gold, seed=7)[:3]}
    for arm in ("baseline", "custom"):
        assert {trial.query_id for trial in log.trials(arm) if trial.timings is not None} == first
    assert all(trial.timings is None for trial in log.trials("shuffled-context"))
    latency = log.scores("latency_ms")
    assert latency.reasons("baseline") == {"not timed alone": 5}
    assert latency.paired("baseline", "custom").n_scored == 3


class Remembering(Quoting):
    """Answers as a server would whose answers to some queries were kept on another day."""

    def generate_many(self, readings, *, repetition=0):
        answers = (self.generate(query, passages) for query, passages in readings)
        return tuple(
            dataclasses.replace(answer, generate_ms=200.0, made_at=100.0 if query.query_id < "q004" else 300.0)
            for answer, (query, _passages) in zip(answers, readings, strict=True)
        )


def test_the_time_of_an_answer_that_was_made_before_the_evaluation_counts_in_neither_arm(log: Log) -> None:
    log.run(lines_of(log.corpus, Remembering()), n_timed=8, since=200.0)
    assert {trial.query_id for trial in log.trials("custom") if trial.timings is not None} == {"q004", "q005", "q006", "q007"}
    latency = log.scores("latency_ms")
    assert latency.reasons("baseline") == {"not timed alone, or its answer was made before this evaluation": 4}
    assert latency.paired("baseline", "custom").n_scored == 4


def test_only_the_first_repetition_is_timed(log: Log) -> None:
    log.run(lines_of(log.corpus, Quoting()), n_timed=8, repetitions=2)
    assert {trial.repetition for trial in log.trials("baseline") if trial.timings is not None} == {0}


def test_a_query_that_fails_is_logged_with_its_stage_and_the_others_go_on(log: Log) -> None:
    generator = Quoting(fails_on=frozenset({"q001"}))
    broken = Failing(inner=dense(log.corpus), errors={"q005": StoreError("gone")})
    arms = [pipeline(log.corpus, generator=generator), pipeline(log.corpus, arm="custom", retriever=broken, generator=generator)]
    log.run([Line(pipeline=arm, scorers=scorers()) for arm in arms])
    failures = {(t.arm, t.query_id): (t.failure.stage, t.failure.kind) for t in log.trials() if t.failure is not None}
    assert failures == {
        ("baseline", "q001"): ("generate", "InputError"),
        ("custom", "q001"): ("generate", "InputError"),
        ("custom", "q005"): ("search", "StoreError"),
    }
    retrieval = log.scores("nDCG@3").paired("baseline", "custom")
    assert retrieval.n_scored == 8  # a dropped query got nothing, which is 0; a failed answer still has its ranking
    assert retrieval.treatment[5] == 0
    answers = log.scores("answer_f1")
    assert answers.reasons("custom") == {"failed: generate": 1, "failed: search": 1}
    assert answers.paired("baseline", "custom").excluded == {
        "baseline: failed: generate": 1,
        "custom: failed: generate": 1,
        "custom: failed: search": 1,
    }


def test_what_fails_when_asked_alone_is_a_failure_although_its_batch_went_well(log: Log) -> None:
    class Weary:
        """Fails on single queries."""

        def __init__(self) -> None:
            self.inner = dense(log.corpus)

        def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
            if len(queries) == 1:
                raise StoreError("too tired")
            return self.inner.retrieve(queries, top_k=top_k)

    arm = pipeline(log.corpus, retriever=Weary(), generator=Quoting())
    other = pipeline(log.corpus, arm="custom", generator=Quoting())
    log.run([Line(pipeline=arm, timed=arm, scorers=scorers()), Line(pipeline=other, timed=other, scorers=scorers())], n_timed=2)
    failed = {trial.query_id for trial in log.trials("baseline") if trial.failure is not None}
    assert failed == {query.query_id for query in order_of(log.gold, seed=7)[:2]}
    assert not [trial for trial in log.trials("custom") if trial.failure is not None]


def test_what_failed_in_its_batch_has_no_latency_although_it_went_well_alone(log: Log) -> None:
    class Waking:
        """Fails twice, on the batch and on its first query."""

        def __init__(self) -> None:
            self.inner, self.left = dense(log.corpus), 2

        def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
            self.left -= 1
            if self.left >= 0:
                raise StoreError("not yet")
            return self.inner.retrieve(queries, top_k=top_k)

    generator = Quoting()
    arm, other = pipeline(log.corpus, retriever=Waking(), generator=generator), pipeline(log.corpus, arm="custom", generator=Quoting())
    timed = pipeline(log.corpus, generator=generator)
    log.run([Line(pipeline=arm, timed=timed, scorers=scorers()), Line(pipeline=other, timed=other, scorers=scorers())], n_timed=8)
    (failed,) = [trial for trial in log.trials("baseline") if trial.failure is not None]
    assert failed.timings is None
    assert log.scores("latency_ms").reasons("baseline") == {"failed: search": 1}


def test_batches_are_of_nearly_equal_size(tmp_path: Path) -> None:
    n = 2 * BATCH_SIZE + 1  # cut at BATCH_SIZE, the last batch would hold a single query
    corpus, gold = world(n)
    log, counting = Log(tmp_path, gold, corpus), Failing(inner=dense(corpus), errors={})
    log.run([Line(pipeline=pipeline(corpus, retriever=counting), scorers=())])
    assert sum(counting.batches) == n
    assert counting.batches == [86, 86, 85]  # 257 in three


def test_an_interrupted_evaluation_goes_on_with_the_same_batches_to_the_same_result(tmp_path: Path) -> None:
    n = 2 * BATCH_SIZE + 40
    corpus, gold = world(n, clusters=[f"c{i % 40}" for i in range(n)])

    class Killed(BaseException):
        """What no part of the program catches."""

    class Dying:
        def __init__(self, calls: int) -> None:
            self.inner, self.left = dense(corpus, model="b", dimension=16), calls

        def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return self.inner.retrieve(queries, top_k=top_k)

    (tmp_path / "whole").mkdir()
    whole = Log(tmp_path / "whole", gold, corpus)
    whole.run(lines_of(corpus, Quoting(), timed=False))

    part = Log(tmp_path, gold, corpus)
    lines = lines_of(corpus, Quoting(), timed=False)
    dying = pipeline(corpus, arm="custom", retriever=Dying(2), generator=Quoting())
    with pytest.raises(Killed):
        part.run([lines[0], Line(pipeline=dying, scorers=scorers()), lines[2]])
    logged = part.trials()
    assert 0 < len(logged) < len(whole.trials())
    assert len(logged) % 3 == 0, "a batch is logged in all lines, or in none"

    generator = Quoting()
    part.run(lines_of(corpus, generator, timed=False))
    assert part.trials() == whole.trials()
    assert not {query_id for query_id, _ in generator.calls} & {trial.query_id for trial in logged}, "nothing is answered twice"
    assert list(part.scores("nDCG@3").value) == list(whole.scores("nDCG@3").value)


def test_a_finished_evaluation_has_nothing_left_to_ask(log: Log) -> None:
    log.run(lines_of(log.corpus, Quoting()))
    generator = Quoting()
    log.run(lines_of(log.corpus, generator), n_timed=4)
    assert generator.calls == []
