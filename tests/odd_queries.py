"""An evaluation and live traffic whose texts are what people and documents really hold: very long, from right to left, unbroken, markup."""

import contextlib
import dataclasses
import functools
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import Experiment, MetricsPlan
from ragtrial.domain.generation import JudgeSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.live import Assignment, LiveMetrics, LiveSpec
from ragtrial.domain.live_trial import LiveTrial, SignalEvent, StoredQuery, Vote
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Opinion, Score
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial, Usage
from ragtrial.splitting import pseudonym
from ragtrial.suite.concluding import conclude_into
from unit.db import samples

EVALUATION = "odd-1"
NAME = "odd"
START = 1_800_000_000.0
MARKUP = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> **bold** [link](http://evil.example/a) "
    "![image](http://evil.example/i.png) $x^2$ :red[no] `code` <b>&amp;</b>"
)
LONG = " ".join(f"How does rule {n} apply when a vessel is late, and who pays for it?" for n in range(1, 33))[:2000]
ARABIC = "متى تفقد السفينة المتأخرة رصيفها، وما معنى PW-9041 في هذه الحالة؟"
UNBROKEN = "Donaudampfschifffahrtsgesellschaft" * 12
QUERIES = {
    "long": LONG,
    "arabic": ARABIC,
    "unbroken": UNBROKEN,
    "markup": MARKUP,
    "failed": "What failed?",
    "empty": "What is there?",
    "open": "Who knows?",
}

PASSAGES = tuple(
    Passage(passage_id=name, document_id=f"doc-{name}", title=title, text=text, start=0, end=len(text))
    for name, title, text in (
        ("p-long", "A long passage", "A berth is kept for two hours. " * 80),
        ("p-arabic", "أرصفة", "تحتفظ السفينة برصيفها ساعتين. " * 12),
        ("p-unbroken", UNBROKEN, UNBROKEN * 3),
        ("p-markup", MARKUP, f"# Heading\n\n{MARKUP}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n</div></details><h1>Not a heading</h1>"),
        ("p-plain", "Gate passes", "Gate passes are issued at the north office."),
        ("p-missed", "Late vessels", "What nobody found: a late vessel keeps its berth."),
    )
)


@dataclass(frozen=True, kw_only=True)
class OddBoard:
    """The database, and the numbers of what is in it."""

    url: str
    live_id: int


def experiment() -> Experiment:
    """Its plan, offline and live."""
    metrics = MetricsPlan(
        primary=PrimaryMetric(name="nDCG@10"),
        secondary=("answer_f1",),
        exploratory=("judge_correctness",),
        judge=JudgeSpec(model="a-judge"),
    )
    live = LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="nDCG@10")), mode="shadow")
    stores = dataclasses.replace(samples.EXPERIMENT.stores, sql="sqlite:///odd.db")
    return dataclasses.replace(samples.EXPERIMENT, name=NAME, live=live, metrics=metrics, stores=stores)


def gold() -> GoldSet:
    """Each query with a relevant passage, but for `open`."""
    tags = {"kind": MARKUP[:40], "Art": "seltsam", "وسم": "قيمة"}
    queries = tuple(
        Query(query_id=name, text=text, answers=(MARKUP, ARABIC) if name == "markup" else (), tags=tags) for name, text in QUERIES.items()
    )
    judged = [("p-long", 0), ("p-arabic", 1), ("p-missed", 2)]
    judgments = [Judgment(query_id=name, target_id=target, grade=grade) for name in QUERIES if name != "open" for target, grade in judged]
    return GoldSet(name="odd/test", queries=queries, judgments=tuple(judgments))


def odd_board(folder: Path) -> OddBoard:
    """A copy in `odd.db` in the folder, concluded; it is made once in each process of tests."""
    template, live_id = _template()
    shutil.copy(template, folder / "odd.db")
    return OddBoard(url=f"sqlite:///{folder / 'odd.db'}", live_id=live_id)


@functools.cache
def _template() -> tuple[Path, int]:
    place = Path(tempfile.mkdtemp(prefix="odd-")) / "odd.db"
    url = f"sqlite:///{place}"
    _evaluate(url)
    conclude_into(url, EVALUATION)
    live_id = _serve(url)
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return place, live_id


def _evaluate(url: str) -> None:
    plan, asked = experiment(), gold()
    started = dataclasses.replace(
        samples.evaluation(EVALUATION),
        experiment=NAME,
        plan_digest=plan.plan_digest(),
        gold_fingerprint=asked.fingerprint,
        n_queries=len(asked.queries),
    )
    with Recorder(url) as recorder:
        recorder.open_evaluation(started, experiment=plan, gold=asked, n_trials_planned=3 * len(QUERIES), passages=PASSAGES)
        recorder.append(EVALUATION, [(trial, _scores(trial)) for name in QUERIES for trial in _trials(name)])
        recorder.finish(EVALUATION)


def _trials(name: str) -> list[Trial]:
    if name == "failed":
        failed = Trial(arm="custom", query_id=name, failure=Failure(stage="search", kind="StoreError", message=MARKUP))
        return [_trial("baseline", name, "p-long", "p-arabic"), failed, _trial("bm25", name, "p-long")]
    if name == "empty":
        abstained = dataclasses.replace(
            _trial("custom", name, "p-plain"), answer=Answer(text="", finish_reason="abstained", generator="extractive/1")
        )
        return [_trial("baseline", name, answer=None), abstained, _trial("bm25", name)]
    return [
        _trial("baseline", name, "p-long", "p-unbroken", "p-markup", "p-plain"),
        _trial("custom", name, "p-arabic", "p-markup", "p-long", "p-unbroken", answer=f"{MARKUP} {ARABIC}"),
        _trial("bm25", name, "p-markup"),
    ]


def _trial(arm: str, name: str, *passages: str, answer: str | None = "It keeps it for two hours.") -> Trial:
    hits = tuple(Hit(passage_id=passage_id, similarity=0.9 - 0.1 * rank) for rank, passage_id in enumerate(passages))
    usage = Usage(prompt_tokens=1200, cached_tokens=0, completion_tokens=7, cost_usd=0.00012)
    made = None if answer is None else Answer(text=answer, cited=passages[:2], generator="extractive/1", usage=usage)
    timings = Timings(embed_ms=4.25, search_ms=1.5, generate_ms=3.5) if arm != "bm25" else None
    return Trial(arm=arm, query_id=name, ranking=Ranking(query_id=name, hits=hits), answer=made, timings=timings)


def _scores(trial: Trial) -> tuple[Score, ...]:
    if trial.query_id == "open":
        return (Score(metric="nDCG@10", unscored="nothing is relevant", scorer="retrieval/1"),)
    value = 0.0 if trial.failure is not None else {"baseline": 0.25, "custom": 0.75, "bm25": 0.5}[trial.arm]
    opinions = tuple(
        Opinion(repetition=n, key=f"{trial.arm}{trial.query_id}{n}", value=value, verdict="partly", rationale=MARKUP, n_calls=1)
        for n in range(2)
    )
    judged = Score(metric="judge_correctness", value=value, scorer="judge/1", opinions=opinions)
    return (
        Score(metric="nDCG@10", value=value, scorer="retrieval/1"),
        Score(metric="answer_f1", unscored="no reference answer", scorer="lexical/1"),
        Score(metric="latency_ms", unscored="not timed alone", scorer="operation/1"),
        *((judged,) if trial.arm != "bm25" and trial.answer is not None and trial.answer.text else ()),
    )


def _serve(url: str) -> int:
    facts = {"corpus_fingerprint": samples.evaluation().corpus_fingerprint}
    with LiveRecorder(url, experiment(), facts=facts, clock=lambda: START) as recorder:
        for number, (name, text) in enumerate(QUERIES.items()):
            for trial in _live_trials(name, text, START + 60 * number):
                recorder.log(trial).result(10)
        said = Vote(trial_id="t-markup", key="k1", thumb="down", tags=("wrong source",), comment=MARKUP, at=START + 900)
        recorder.vote(said).result(10)
        recorder.vote(dataclasses.replace(said, key="k2", thumb="up", comment="", at=START + 960)).result(10)
        recorder.signal(SignalEvent(trial_id="t-markup", key="k3", signal="copied", at=START + 970)).result(10)
        recorder.vote(Vote(trial_id="t-arabic", key="k4", thumb="down", comment=ARABIC, at=START + 980)).result(10)
        return recorder.live_id


def _live_trials(name: str, text: str, at: float) -> list[LiveTrial]:
    """A served trial, and (but for one) its silent twin."""
    from ragtrial.serving.asking import twin_id

    query = StoredQuery(text=f"{text} (live)", digest="0" * 32, stored="full")
    if name == "empty":
        query = StoredQuery(text=None, digest="0" * 32, stored="hash")
    if name == "long":
        query = dataclasses.replace(query, text=text, gold_query_id="long")
    trial_id = f"t-{name}"
    assignment = Assignment(unit=None, arm="baseline", reason="split", bucket=17, propensity=1.0, version=1)
    baseline, custom, _ = (dataclasses.replace(each, query_id=query.digest) for each in _live(name))
    served = LiveTrial(
        trial_id=trial_id,
        request_id=trial_id,
        experiment=NAME,
        unit=pseudonym(f"user of {name}"),
        assignment=assignment,
        served=True,
        query=query,
        trial=baseline,
        waited_ms=12.5,
        caller="chat",
        at=at,
    )
    twin = dataclasses.replace(served, trial_id=twin_id(trial_id), served=False, trial=custom)
    return [served] if name == "open" else [served, twin]


def _live(name: str) -> list[Trial]:
    made = []
    for trial in _trials(name):
        ranking = None if trial.ranking is None else dataclasses.replace(trial.ranking, query_id="0" * 32)
        made.append(dataclasses.replace(trial, ranking=ranking))
    return made
