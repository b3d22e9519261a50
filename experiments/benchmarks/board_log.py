"""A log as large as the dashboard has to bear, with a planted effect: live trials, and an offline evaluation with 20 metrics.

Live: users with a heavy tail of queries over thirty days, half of them in each arm; the treatment's answers are scored higher (`--lift`), voted
up more often and 15 % slower. A third of the queries is in the gold set and has an nDCG@10. Offline: every query in both arms, ten hits each, 20
metrics, one of them by a judge that was asked twice, a handful of tags. All rows are what the product itself would write.

    python experiments/benchmarks/board_log.py --url sqlite:////tmp/board.db
    python experiments/benchmarks/board_log.py --url postgresql+psycopg://user@host/database --live 100000 --queries 5000
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
from live_log import trial_of
from measuring import REPOSITORY
from sqlalchemy import insert, text

from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveScoreRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.live_rows import trial_row
from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.evaluation import ArmFacts, Evaluation, IndexFacts
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.generation import JudgeSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.label import LABEL_WORDS
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.score import Opinion, Score, score_of
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Timings, Trial, Usage
from ragtrial.formats.experiment import load_experiment

METRICS = (
    *("nDCG@10", "nDCG@5", "nDCG@3", "R@1", "R@3", "R@5", "R@10", "RR@10", "AP@10", "P@1", "P@3", "P@5", "Success@1", "Success@5"),
    *("answer_f1", "answer_rouge_l", "judge_correctness", "citation_support", "latency_ms", "cost_usd"),
)
TOPICS = ("gates", "yard", "billing", "safety", "customs", "acronyms")
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30
_AT_ONCE = 20_000
_PASSAGES = 2_000
_JUDGED, _JUDGE = "judge_correctness", "judge/1 planted 0123abcd"
_ANSWERS = {"correct": "until noon", "partly": "until one", "wrong": "on Sundays"}


def live_experiment() -> Experiment:
    """The live demo's plan, at a size that needs a million trials."""
    found = load_experiment(REPOSITORY / "experiments" / "live-demo.yaml").experiment
    assert found.live is not None
    return dataclasses.replace(found, name="board-live", live=dataclasses.replace(found.live, units_planned=80_000))


def fill_live(url: str, n_trials: int, *, lift: float, seed: int) -> int:
    """Log live trials with scores and votes.

    Returns:
        The experiment's number in the log.
    """
    with LiveRecorder(url, live_experiment(), facts=_facts()) as recorder:
        live_id = recorder.live_id
    engine = open_engine(url)
    rng = np.random.default_rng(seed)
    n_units = max(200, n_trials // 10)
    weights = rng.pareto(1.6, n_units) + 0.2
    units = rng.choice(n_units, size=n_trials, p=weights / weights.sum())
    treated = rng.random(n_units) < 0.5
    taste = rng.normal(0.0, 0.08, n_units)
    at = np.sort(BEGIN.timestamp() + DAYS * 86_400 * rng.random(n_trials))
    for trials, scores, votes in _live_rows(live_id, units, treated, taste, at, lift=lift, rng=rng):
        with engine.begin() as connection:
            for table, rows in ((LiveTrialRow, trials), (LiveScoreRow, scores), (LiveVoteRow, votes)):
                if rows:
                    connection.execute(insert(table), rows)
    if engine.dialect.name == "postgresql":  # trials came with numbers: the next one that a service logs needs a new one
        with engine.begin() as connection:
            connection.execute(text("SELECT setval(pg_get_serial_sequence('live_trials', 'id'), (SELECT max(id) FROM live_trials))"))
    engine.dispose()
    return live_id


def _live_rows(
    live_id: int, units: Any, treated: Any, taste: Any, at: Any, *, lift: float, rng: np.random.Generator
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]]:
    """Rows of trials, scores and votes, some thousands at a time."""
    pattern = trial_row(live_id, trial_of("pattern0"))
    pattern.update({name: json.loads(pattern[name]) for name in ("hits", "cited")})  # the recorder writes JSON itself, inserts do here
    names = [sha256(f"unit {unit}".encode()).hexdigest()[:32] for unit in range(len(treated))]
    for begin in range(0, len(units), _AT_ONCE):
        some = range(begin, min(begin + _AT_ONCE, len(units)))
        size = len(some)
        waits, luck, voted, gold = rng.lognormal(4.0, 0.35, size), rng.random(size), rng.random(size), rng.random(size)
        trials, scores, votes = [], [], []
        for place, number in enumerate(some):
            unit = int(units[number])
            custom = bool(treated[unit])
            failed = luck[place] < 0.004
            waited = float(waits[place]) * (1.15 if custom else 1.0)
            trials.append(
                {
                    **pattern,
                    "id": number + 1,
                    "trial_id": f"trial_{number:09}",
                    "request_id": f"trial_{number:09}",
                    "unit": names[unit],
                    "arm": "custom" if custom else "baseline",
                    "assigned_arm": "custom" if custom else "baseline",
                    "bucket": unit % 10_000,
                    "at": float(at[number]),
                    "waited_ms": waited,
                    "embed_ms": None if failed else 0.3 * waited,
                    "search_ms": None if failed else 0.2 * waited,
                    "generate_ms": None if failed else 0.5 * waited,
                    "solicited": bool(luck[place] > 0.95),
                    "cost_usd": None if failed else 0.0004,
                    "idempotency_key": None,
                    "gold_query_id": f"q{number % 977:05}" if gold[place] < 1 / 3 else None,
                    **(_failure() if failed else {}),
                }
            )
            if failed:
                continue
            if gold[place] < 1 / 3:
                value = float(np.clip(0.55 + taste[unit] + (lift if custom else 0.0) + rng.normal(0, 0.25), 0, 1))
                scores.append(_score(live_id, number + 1, value, float(at[number])))
            if voted[place] < 0.08:
                up = voted[place] < (0.058 if custom else 0.052)
                votes.append(_vote(live_id, number + 1, "up" if up else "down", float(at[number]) + 20))
        yield trials, scores, votes


def _failure() -> dict[str, Any]:
    nothing = dict.fromkeys(("n_hits", "hits", "cited", "answer_text", "finish_reason", "generator", "prompt_tokens", "completion_tokens"))
    return {**nothing, "failure_stage": "generate", "failure_kind": "TimeoutError", "failure_message": "no answer within 10 s"}


def _score(live_id: int, trial: int, value: float, at: float) -> dict[str, Any]:
    row = {"trial": trial, "metric": "nDCG@10", "live_id": live_id, "value": value, "unscored": None, "scorer": "ir_measures/1"}
    return {**row, "n_calls": 0, "cost_usd": None, "at": at, "opinions": None}


def _vote(live_id: int, trial: int, thumb: str, at: float) -> dict[str, Any]:
    row = {"live_id": live_id, "trial": trial, "key": f"vote-{trial}", "thumb": thumb, "passage_id": None, "team": None, "late": False}
    return {**row, "at": at, "tags": [], "comment": ""}


def _facts() -> dict[str, Any]:
    return {"parity": {"ok": True, "digest": "planted", "declared": ["embedding"], "undeclared": []}, "environment": {"python": "3.11"}}


def offline_experiment() -> Experiment:
    """The demo's plan with 20 metrics."""
    found = load_experiment(REPOSITORY / "experiments" / "demo.yaml").experiment
    planned = {found.metrics.primary.name, *found.metrics.secondary, *(each.name for each in found.metrics.guardrails)}
    more = tuple(name for name in METRICS if name not in planned)
    judge = JudgeSpec(model="planted", repetitions={_JUDGED: 2})
    return dataclasses.replace(found, name="board-offline", metrics=dataclasses.replace(found.metrics, exploratory=more, judge=judge))


def fill_offline(url: str, n_queries: int, *, lift: float, seed: int) -> str:
    """Log an evaluation of so many queries in both arms, 20 metrics each.

    Returns:
        The evaluation's id.
    """
    experiment, rng = offline_experiment(), np.random.default_rng(seed)
    gold = _gold(n_queries, rng)
    evaluation = _evaluation(experiment, gold)
    passages = [_passage(number) for number in range(_PASSAGES)]
    with Recorder(url) as recorder:
        recorder.open_evaluation(evaluation, experiment=experiment, gold=gold, n_trials_planned=2 * n_queries, passages=passages)
        for begin in range(0, n_queries, 2_000):
            batch = [scored for query in gold.queries[begin : begin + 2_000] for scored in _both(query, lift=lift, rng=rng)]
            recorder.append(evaluation.evaluation_id, batch)
        recorder.finish(evaluation.evaluation_id)
    return evaluation.evaluation_id


def _gold(n_queries: int, rng: np.random.Generator) -> GoldSet:
    topics, hard = rng.integers(len(TOPICS), size=n_queries), rng.random(n_queries) < 0.3
    queries = tuple(
        Query(
            query_id=f"q{number:06}",
            text=f"how does {TOPICS[topics[number]]} procedure {number} apply to a late truck" + " after midnight" * int(number % 3),
            answers=(f"procedure {number} applies until noon",),
            tags={"topic": TOPICS[topics[number]], "difficulty": "hard" if hard[number] else "easy"},
        )
        for number in range(n_queries)
    )
    judgments = tuple(
        Judgment(query_id=query.query_id, target_id=f"p{number % _PASSAGES:05}", grade=1) for number, query in enumerate(queries)
    )
    return GoldSet(name="board", queries=queries, judgments=judgments)


def _passage(number: int) -> Passage:
    text = f"Procedure {number} of the yard: the desk checks the slot, the badge and the seal, in this order."
    return Passage(
        passage_id=f"p{number:05}", document_id=f"d{number // 10:04}", title=f"Procedure {number}", text=text, start=0, end=len(text)
    )


def _both(query: Query, *, lift: float, rng: np.random.Generator) -> Iterator[tuple[Trial, tuple[Score, ...]]]:
    number = int(query.query_id[1:])
    level = float(rng.beta(2, 2))
    hard = query.tags["difficulty"] == "hard"
    said = {word: _opinions(query, word, rng) for word in _ANSWERS}  # an answer that both arms give is judged once
    for arm in ("baseline", "custom"):
        if rng.random() < 0.002:
            failure_of_it = _failed(query, arm)
            yield failure_of_it, tuple(Score(metric=name, unscored="the trial failed", scorer=_scorer(name)) for name in METRICS[14:])
            continue
        gain = lift * (1.8 if hard else 0.7) if arm == "custom" else 0.0
        value = float(np.clip(level + gain + rng.normal(0, 0.12), 0, 1))
        word = "correct" if value > 0.6 else "partly" if value > 0.35 else "wrong"
        trial = _trial(query, arm, number, _ANSWERS[word], found=value > 0.25, rng=rng)
        yield trial, _scores(value, said[word], slow=arm == "custom", rng=rng)


def _opinions(query: Query, word: str, rng: np.random.Generator) -> tuple[Opinion, ...]:
    """What the judge says of an answer, twice: it wavers."""
    words = LABEL_WORDS[_JUDGED]
    verdicts = [word if luck > 0.15 else "partly" for luck in rng.random(2)]
    return tuple(
        Opinion(
            repetition=repetition,
            key=f"{query.query_id} {word} {repetition}",
            value=words[verdict],
            verdict=verdict,
            rationale=f"Against the reference this is {verdict}: the procedure holds until noon, as the rules of the yard say.",
            n_calls=1,
            prompt_tokens=410,
            completion_tokens=30,
            cost_usd=0.0002,
        )
        for repetition, verdict in enumerate(verdicts)
    )


def _trial(query: Query, arm: str, number: int, applies: str, *, found: bool, rng: np.random.Generator) -> Trial:
    others = [int(each) for each in (number * 7 + rng.integers(0, 40, 14)) % _PASSAGES if each != number % _PASSAGES]
    ids = [f"p{each:05}" for each in dict.fromkeys(others)][:9]
    if found:
        ids.insert(int(rng.integers(0, 3)), f"p{number % _PASSAGES:05}")
    hits = tuple(Hit(passage_id=each, similarity=0.9 - 0.01 * rank) for rank, each in enumerate(ids))
    answer = Answer(
        text=f"procedure {number} applies {applies}",
        cited=tuple(ids[:1]),
        generator="extractive/1",
        usage=Usage(prompt_tokens=640, completion_tokens=40, cost_usd=0.0003),
    )
    timings = (
        Timings(embed_ms=float(rng.lognormal(2, 0.2)), search_ms=float(rng.lognormal(1, 0.2)), generate_ms=0.4) if number < 400 else None
    )
    return Trial(arm=arm, query_id=query.query_id, ranking=Ranking(query_id=query.query_id, hits=hits), answer=answer, timings=timings)


def _failed(query: Query, arm: str) -> Trial:
    return Trial(arm=arm, query_id=query.query_id, failure=Failure(stage="search", kind="TimeoutError", message="no hit within 10 s"))


def _scores(value: float, said: tuple[Opinion, ...], *, slow: bool, rng: np.random.Generator) -> tuple[Score, ...]:
    made = []
    for name in METRICS:
        if name == _JUDGED:
            made.append(score_of(name, said, scorer=_JUDGE))
            continue
        if name == "latency_ms":
            score = float(rng.lognormal(2.2, 0.2)) * (1.1 if slow else 1.0)
        elif name == "cost_usd":
            score = 0.0003
        else:
            score = float(np.clip(value + rng.normal(0, 0.05), 0, 1))
        made.append(Score(metric=name, value=score, scorer=_scorer(name)))
    return tuple(made)


def _scorer(metric: str) -> str:
    return _JUDGE if metric == _JUDGED else "planted/1"


def _evaluation(experiment: Experiment, gold: GoldSet) -> Evaluation:
    arms = tuple(
        ArmFacts(
            arm=arm.name,
            role=arm.role,
            model=ModelIdentity(name=f"planted-{arm.name}", revision=arm.name, dimension=384),
            index=IndexFacts(
                collection=f"board_{arm.name}", alias=arm.name, index_type="HNSW", metric="COSINE", n_passages=_PASSAGES,
                bytes=_PASSAGES * 384 * 4, ann_recall=0.998, embed_seconds=12.0, tokens=90 * _PASSAGES,
            ),
        )
        for arm in experiment.arms
    )  # fmt: skip
    return Evaluation(
        evaluation_id=f"board-{len(gold.queries)}",
        experiment=experiment.name,
        plan_digest=experiment.plan_digest(),
        config_digest="planted",
        corpus_fingerprint="planted",
        gold_fingerprint=gold.fingerprint,
        n_queries=len(gold.queries),
        arms=arms,
        parity=ParityCertificate(ok=True, digest="planted", declared=("embedding",), undeclared=()),
        started_at=(BEGIN - timedelta(days=1)).isoformat(),
        checks={"leakage": ("pass", "no gold query is in the training pairs")},
    )


def main() -> None:
    """Fill a database and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="an empty database")
    parser.add_argument("--live", type=int, default=1_000_000, help="live trials")
    parser.add_argument("--queries", type=int, default=50_000, help="offline queries; each is asked in both arms")
    parser.add_argument("--lift", type=float, default=0.03, help="planted gain in nDCG@10")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    fill_offline(arguments.url, arguments.queries, lift=arguments.lift, seed=arguments.seed)
    print(f"{2 * arguments.queries:,} offline trials in {time.perf_counter() - begin:.0f} s", flush=True)
    begin = time.perf_counter()
    fill_live(arguments.url, arguments.live, lift=arguments.lift, seed=arguments.seed)
    print(f"{arguments.live:,} live trials in {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
