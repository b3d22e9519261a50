"""The gold set through both arms and the reference lines: paired, in batches, resumable, logged as it goes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ragtrial.contracts import Progress, Scorer, no_progress
from ragtrial.db.recorder import Recorder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Failure, Ranking, Timings, Trial
from ragtrial.pipeline import Pipeline

BATCH_SIZE = 128

Key = tuple[str, str, int]
"""Arm, query id, repetition."""

Logged = tuple[Trial, tuple[Score, ...]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of an evaluation: an arm or a reference, with what scores it.

    Attributes:
        pipeline: What it does with a query.
        scorers: What scores its trials.
        timed: The same pipeline without any cache, for latency; None where latency is not measured.
        borrows: Instead of retrieving, take the first line's passages for another query (the shuffled-context floor).
        is_arm: An arm, not a reference line.
    """

    pipeline: Pipeline
    scorers: tuple[Scorer, ...]
    timed: Pipeline | None = None
    borrows: bool = False
    is_arm: bool = True

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.pipeline.arm


def order_of(gold: GoldSet, *, seed: int, limit: int | None = None) -> tuple[Query, ...]:
    """The gold queries in a random order fixed by the seed; the first `limit` of them are a random sample."""
    order = np.random.default_rng(seed).permutation(len(gold.queries))
    return tuple(gold.queries[i] for i in order[:limit])


def evaluate(
    *,
    evaluation_id: str,
    queries: Sequence[Query],
    gold: GoldSet,
    lines: Sequence[Line],
    passages: Mapping[str, Passage],
    repetitions: int,
    n_timed: int,
    recorder: Recorder,
    done: set[Key],
    since: float = 0.0,
    progress: Progress = no_progress,
) -> None:
    """Run what is not done yet; each batch is one transaction, so that a kill loses at most one batch of work.

    Batches are the same whether or not an earlier run was killed, so the result is too.

    Args:
        evaluation_id: An opened or resumed evaluation.
        queries: From `order_of`.
        gold: With judgments on passages.
        lines: The control arm first.
        passages: The corpus by passage id.
        repetitions: Times each query runs through each line.
        n_timed: The first so many queries are asked once more, alone and arms in turn, for latency.
        recorder: Where trials go.
        done: What is already logged.
        since: When the evaluation began, in seconds since 1970: the time of an answer that a server gave before is of another day, and
            must not stand beside today's of the other arm.
        progress: Told the number of trials done.
    """
    timed_ids = {query.query_id for query in queries[:n_timed]}
    advance = progress("asking the gold queries", len(queries) * len(lines) * repetitions)
    warm = False
    for repetition in range(repetitions):
        for batch in _batches(queries):
            missing = {(line.name, q.query_id, repetition) for line in lines for q in batch} - done
            if missing:
                if not warm and n_timed:
                    _warm_up(lines, batch[0])
                    warm = True
                trials = _run_batch(batch, lines, repetition, timed_ids if repetition == 0 else set(), since)
                logged = [(t, s) for t, s in _scored(trials, lines, gold) if (t.arm, t.query_id, repetition) in missing]
                recorder.append(evaluation_id, logged, _passages_seen(logged, passages))
            advance(len(batch) * len(lines))


def _batches(queries: Sequence[Query]) -> Iterator[Sequence[Query]]:
    """Batches of nearly equal size, at most `BATCH_SIZE`: a last batch of one would have no other query to borrow from."""
    n_batches = math.ceil(len(queries) / BATCH_SIZE)
    for part in np.array_split(np.arange(len(queries)), max(n_batches, 1)):
        yield [queries[i] for i in part]


def _warm_up(lines: Sequence[Line], query: Query) -> None:
    """One untimed query per arm: first calls pay for lazy loading, which is no user's latency."""
    for line in lines:
        if line.timed is not None:
            line.timed.run(query)


def _run_batch(batch: Sequence[Query], lines: Sequence[Line], repetition: int, timed_ids: set[str], since: float) -> list[Trial]:
    """Every line's trials of the batch, line by line."""
    rankings: dict[str, Sequence[Ranking | Failure]] = {}
    for line in lines:
        first = rankings.get(lines[0].name, ())
        rankings[line.name] = _borrowed(batch, first) if line.borrows else line.pipeline.retrieve(batch)
    answers = _answers(batch, lines, rankings, repetition)
    timings = {}
    for turn, query in enumerate(batch):
        if query.query_id in timed_ids:
            working = [line for line in lines if isinstance(rankings[line.name][turn], Ranking)]  # what failed already is not paid for now
            known = {line.name: answers[line.name][turn] for line in working if line.pipeline.waits}
            timings[query.query_id] = _timings(query, working, turn, known)
    trials = []
    for line in lines:
        for position, query in enumerate(batch):
            ranking, answer = rankings[line.name][position], answers[line.name][position]
            alone = timings.get(query.query_id, {}).get(line.name)
            if isinstance(ranking, Ranking) and isinstance(alone, Failure):
                answer = alone  # asked alone it failed, so a user would have got nothing
            shared = line.is_arm and answer is not None and _same_for_arms(position, lines, rankings, query)
            trial = line.pipeline.trial(
                query,
                ranking,
                answer,
                repetition=repetition,
                answer_shared=shared and isinstance(ranking, Ranking),
                timings=alone if isinstance(alone, Timings) and not isinstance(answer, Failure) and not _older(answer, since) else None,
            )
            trials.append(trial)
    return trials


def _answers(
    batch: Sequence[Query], lines: Sequence[Line], rankings: Mapping[str, Sequence[Ranking | Failure]], repetition: int
) -> dict[str, list[Answer | Failure | None]]:
    """Each line's answers, by its name; what reads the same passages in the same order is answered once.

    All lines of one generator are asked together, query by query, so that a slow moment of a server meets the arms alike. Who goes first
    alternates: the second one may find the beginning of its prompt in the provider's own cache, which is cheaper and faster.
    """
    keys = {
        line.name: [
            _answer_key(line.pipeline, query, ranking) if isinstance(ranking, Ranking) else None
            for query, ranking in zip(batch, rankings[line.name], strict=True)
        ]
        for line in lines
    }
    wanted: dict[tuple[str, ...], tuple[Pipeline, Query, Ranking]] = {}
    for position, query in enumerate(batch):
        for line in _in_turn(lines, position):
            key, ranking = keys[line.name][position], rankings[line.name][position]
            if key is not None and isinstance(ranking, Ranking):
                wanted.setdefault(key, (line.pipeline, query, ranking))
    made: dict[tuple[str, ...], Answer | Failure | None] = {}
    for part in _by_generator(wanted):
        pipeline = wanted[part[0]][0]
        made.update(zip(part, pipeline.answers([wanted[key][1:] for key in part], repetition=repetition), strict=True))
    return {name: [None if key is None else made[key] for key in own] for name, own in keys.items()}


def _in_turn(lines: Sequence[T], turn: int) -> Sequence[T]:
    """The lines, the first one first at every other turn."""
    return lines[::-1] if turn % 2 else lines


def _older(answer: Answer | None, since: float) -> bool:
    return answer is not None and answer.made_at is not None and answer.made_at < since


def _by_generator(wanted: Mapping[tuple[str, ...], tuple[Pipeline, Query, Ranking]]) -> list[list[tuple[str, ...]]]:
    """The keys of answers that can be asked for together, in their order."""
    parts: dict[tuple[int, int], list[tuple[str, ...]]] = {}
    for key, (pipeline, _query, _ranking) in wanted.items():
        parts.setdefault((id(pipeline.generator), pipeline.context_passages), []).append(key)
    return list(parts.values())


def _answer_key(pipeline: Pipeline, query: Query, ranking: Ranking) -> tuple[str, ...]:
    """What an answer depends on: generator, its settings, the query, and the passages it reads, in order."""
    if pipeline.generator is None:
        return (pipeline.arm, query.query_id)
    settings = [f"{name}={value}" for name, value in sorted(pipeline.generator.settings.items())]
    return (pipeline.generator.version, *settings, query.query_id, *pipeline.context_of(ranking))


def _same_for_arms(position: int, lines: Sequence[Line], rankings: Mapping[str, Sequence[Ranking | Failure]], query: Query) -> bool:
    keys = set()
    for line in lines:
        ranking = rankings[line.name][position]
        if line.is_arm:
            keys.add(_answer_key(line.pipeline, query, ranking) if isinstance(ranking, Ranking) else ranking)
    return len(keys) == 1


def _borrowed(batch: Sequence[Query], rankings: Sequence[Ranking | Failure]) -> list[Ranking | Failure]:
    """For each query the ranking of the next one in the batch from another source document (the order is random)."""
    result: list[Ranking | Failure] = []
    for position, query in enumerate(batch):
        others = [(position + step) % len(batch) for step in range(1, len(batch))]
        usable = [i for i in others if isinstance(rankings[i], Ranking)]
        apart = [i for i in usable if query.cluster is None or batch[i].cluster != query.cluster]
        if not usable:
            result.append(Failure(stage="search", kind="NoOtherQuery", message="no other query's passages to borrow"))
            continue
        lender = rankings[(apart or usable)[0]]
        result.append(Ranking(query_id=query.query_id, hits=lender.hits) if isinstance(lender, Ranking) else lender)
    return result


def _timings(
    query: Query, lines: Sequence[Line], turn: int, known: Mapping[str, Answer | Failure | None]
) -> dict[str, Timings | Failure | None]:
    """Each arm's timings of the query asked alone, or how it failed; who goes first alternates, so that drift of the machine cancels.

    An answer that is known and was waited for is not asked for again.
    """
    timed = [line for line in _in_turn(lines, turn) if line.timed is not None]
    trials = {line.name: line.timed.run(query, known.get(line.name)) for line in timed if line.timed is not None}
    return {name: trial.failure or trial.timings for name, trial in trials.items()}


def _scored(trials: Sequence[Trial], lines: Sequence[Line], gold: GoldSet) -> list[Logged]:
    """Each trial with its scores; a scorer sees the trials of all its lines at once, query by query, and who goes first alternates."""
    n_queries = len(trials) // len(lines)
    order = [line * n_queries + query for query in range(n_queries) for line in _in_turn(range(len(lines)), query)]
    collected: dict[int, tuple[Score, ...]] = dict.fromkeys(range(len(trials)), ())
    for scorer in dict.fromkeys(scorer for line in lines for scorer in line.scorers):
        own = {line.name for line in lines if scorer in line.scorers}
        places = [place for place in order if trials[place].arm in own]
        for place, scores in zip(places, scorer.score([trials[place] for place in places], gold), strict=True):
            collected[place] += scores
    return [(trial, collected[place]) for place, trial in enumerate(trials)]


def _passages_seen(logged: Sequence[Logged], passages: Mapping[str, Passage]) -> list[Passage]:
    seen = {passage_id for trial, _ in logged if trial.ranking is not None for passage_id in trial.ranking.passage_ids}
    return [passages[passage_id] for passage_id in sorted(seen)]
