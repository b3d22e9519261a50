"""`ragtrial judge-check`: the judge asked again about the same answers (A/A), to see how often it contradicts itself."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ragtrial.analysis.judging import judges_of
from ragtrial.analysis.setting import Setting
from ragtrial.build import Surroundings, build_gate, build_prices
from ragtrial.db.reader import Reader
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.score import LoggedOpinion, Score
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import JudgeQuality
from ragtrial.errors import InputError
from ragtrial.evaluation import order_of
from ragtrial.formats.experiment import ExperimentFile, resolve_path
from ragtrial.llm.cache import CallCache
from ragtrial.scoring.choosing import Judging, build_scorers
from ragtrial.scoring.judge import calls_per_sample, prompt_overhead
from ragtrial.scoring.table import table_of
from ragtrial.suite.calls import CHARS_PER_TOKEN, SECONDS_PER_CALL, CallEstimate, Estimate, judging_of
from ragtrial.suite.concluding import find_evaluation

_JUDGMENT_TOKENS = 160
_TOLERATED_NOISE = 0.1
"""Share of the variance of the difference that the judge's wavering may be: it then widens the interval by 5 %."""
_MOST = 9


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is asked again.

    Attributes:
        file: The experiment.
        evaluation: Whose answers.
        gold: Only the queries drawn.
        trials: Of both arms, with answers; repetition 0.
        passages: Texts by id.
        metrics: Of our own judge.
        first: The first repetition number that the log does not know.
        scorers: Version of what scored each metric in the evaluation.
    """

    file: ExperimentFile
    evaluation: Evaluation
    gold: GoldSet
    trials: tuple[Trial, ...]
    passages: Mapping[str, Passage]
    metrics: tuple[Metric, ...]
    first: int
    scorers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """How one metric's judge agrees with itself.

    Attributes:
        quality: Flips, disagreement, noise, position bias.
        verdicts: How often it gave each verdict (or value), most frequent first.
        failures: Judgments without a value, by reason.
        judged_before: Version of the judge in the evaluation, where it is another one.
        suggested: Judgments of each answer from which its wavering is at most a tenth of the variance; None where that can't be told, or
            where none up to nine suffices.
        advice: What to do, in one sentence.
    """

    quality: JudgeQuality
    verdicts: Mapping[str, int]
    failures: Mapping[str, int]
    judged_before: str | None
    suggested: int | None
    advice: str


def draw(reader: Reader, file: ExperimentFile, evaluation_id: str | None, *, metric: str | None, n_queries: int) -> Sample:
    """A random sample of queries that both arms answered, fixed by the plan's seed.

    Raises:
        InputError: No such evaluation, no metric of our own judge, or nothing was answered.
    """
    experiment = file.experiment
    planned = [metric_named(name) for name in experiment.judged if metric in (None, name)]
    metrics = tuple(each for each in planned if each.judge == "judge" and each.kind == "answer")
    if not metrics:
        what = "no metric is judged by our own judge" if metric is None else f"--metric {metric!r} is no metric of our own judge here"
        judged = ", ".join(experiment.judged) or "none"
        raise InputError(
            f"experiment {experiment.name!r}: {what} (judged are: {judged}); plan judge_correctness, judge_groundedness or judge_preference"
        )
    evaluation = find_evaluation(reader, experiment.name, evaluation_id)
    found, arms = evaluation.evaluation_id, [arm.name for arm in experiment.arms]
    answered = {
        (trial.arm, trial.query_id): trial
        for trial in reader.trials(found)
        if trial.arm in arms and trial.repetition == 0 and trial.answer is not None
    }
    gold = reader.gold(found)
    both = [query for query in order_of(gold, seed=experiment.analysis.seed) if all((arm, query.query_id) in answered for arm in arms)]
    if not both:
        raise InputError(f"evaluation {found!r}: no query was answered in both arms, so there is nothing to judge again")
    drawn = both[:n_queries]
    trials = tuple(answered[arm, query.query_id] for query in drawn for arm in arms)
    read = {hit.passage_id for trial in trials if trial.ranking is not None for hit in trial.ranking.hits}
    opinions = reader.opinions(found, [each.name for each in metrics])
    return Sample(
        file=file,
        evaluation=evaluation,
        gold=dataclasses.replace(gold, queries=tuple(drawn), judgments=()),
        trials=trials,
        passages=reader.passages(found, read),
        metrics=metrics,
        first=1 + max((each.opinion.repetition for each in opinions), default=-1),
        scorers=reader.scorers(found),
    )


def estimate_check(sample: Sample, around: Surroundings, *, repetitions: int) -> Estimate:
    """What the calls may come to, from the lengths of the texts; nothing is asked.

    Raises:
        InputError: The price table can't be read.
    """
    experiment = sample.file.experiment
    judge = experiment.metrics.judge
    model = "" if judge is None else judge.model
    price = build_prices(experiment.llm, around).price(model)
    parts = []
    for metric in sample.metrics:
        calls = calls_per_sample(metric.name) * repetitions
        n_calls = calls * len(sample.trials)
        overhead = prompt_overhead(metric.name) * len(sample.trials)
        prompt_tokens = int((overhead + sum(_material(sample, trial, metric) for trial in sample.trials)) / CHARS_PER_TOKEN * calls)
        completion_tokens = n_calls * _JUDGMENT_TOKENS
        parts.append(
            CallEstimate(
                purpose=metric.name,
                model=model,
                n_calls=n_calls,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                cost_usd=None if price is None else price.cost(prompt_tokens, completion_tokens),
            )
        )
    total = sum(part.n_calls for part in parts)
    return Estimate(parts=tuple(parts), minutes=total * SECONDS_PER_CALL / experiment.llm.concurrency / 60)


def _material(sample: Sample, trial: Trial, metric: Metric) -> int:
    """Characters under judgment."""
    query = next(query for query in sample.gold.queries if query.query_id == trial.query_id)
    size = len(query.text) + (0 if trial.answer is None else len(trial.answer.text))
    if metric.name == "judge_groundedness":
        experiment = sample.file.experiment
        arm = next(arm for arm in experiment.arms if arm.name == trial.arm)
        read = () if trial.ranking is None else trial.ranking.passage_ids[: experiment.generation_of(arm).context_passages]
        return size + sum(len(sample.passages[each].content) for each in read if each in sample.passages)
    return size + sum(map(len, query.answers)) + (size if metric.name == "judge_preference" else 0)


@contextmanager
def _judging(sample: Sample, around: Surroundings, repetitions: int, say: Callable[[str], None]) -> Iterator[Judging]:
    """The experiment's judge over its gate, cap and cache."""
    experiment, folder = sample.file.experiment, sample.file.folder
    with ExitStack() as stack:
        cache = stack.enter_context(CallCache(resolve_path(folder, experiment.stores.calls)))
        gate = stack.enter_context(build_gate(experiment.llm, around, cache=cache, notify=say))
        judging = judging_of(experiment, gate, around)
        if judging is None:
            raise InputError(f"experiment {experiment.name!r} names no judge: give metrics.judge")
        times = {metric.name: repetitions for metric in sample.metrics}
        yield dataclasses.replace(judging, repetitions=times, first_repetition=sample.first)
        say(gate.spending.summary())


def ask_again(sample: Sample, around: Surroundings, *, repetitions: int, say: Callable[[str], None]) -> tuple[SelfCheck, ...]:
    """Judge the sample anew, `repetitions` times each, past what the log and so the cache of calls know.

    Asked twice with nothing logged in between, the second time comes from the cache: a check that was stopped goes on where it was.

    Raises:
        StoppedError: The spending cap is reached, or the endpoint is dead; what was answered is kept.
    """
    corpus = Corpus(name=sample.evaluation.corpus_fingerprint, passages=tuple(sample.passages.values()))
    with _judging(sample, around, repetitions, say) as judging:
        (scorer,) = build_scorers(sample.metrics, corpus=corpus, similarity=None, judging=judging)
        scored = list(zip(sample.trials, scorer.score(sample.trials, sample.gold), strict=True))
        version = scorer.version
    return tuple(
        _check(sample, metric, [(trial, _of(scores, metric)) for trial, scores in scored], version, repetitions)
        for metric in sample.metrics
    )


def _of(scores: Sequence[Score], metric: Metric) -> Score:
    return next(score for score in scores if score.metric == metric.name)


def _check(sample: Sample, metric: Metric, scored: Sequence[tuple[Trial, Score]], version: str, repetitions: int) -> SelfCheck:
    experiment = sample.file.experiment
    table = table_of(metric, sample.gold, [(trial.query_id, trial.arm, score) for trial, score in scored])
    logged = [
        LoggedOpinion(arm=trial.arm, query_id=trial.query_id, trial_repetition=0, metric=metric.name, opinion=opinion)
        for trial, score in scored
        for opinion in score.opinions
    ]
    setting = Setting(
        evaluation=sample.evaluation, experiment=experiment, plan=experiment.analysis, tables={metric.name: table}, failures={}
    )
    found = judges_of(setting, logged, {metric.name: version})
    quality = (
        found[0]
        if found
        else JudgeQuality(metric=metric.name, scorer=version, n_opinions=0, n_unscored=0, why_not="nothing was to be judged")
    )
    asked = {each.opinion.key: each.opinion for each in logged if each.opinion.n_calls}.values()
    verdicts = Counter(opinion.verdict or f"{opinion.value:.2f}" for opinion in asked if opinion.value is not None)
    suggested, advice = _advice(quality, repetitions)
    before = sample.scorers.get(metric.name)
    return SelfCheck(
        quality=quality,
        verdicts=dict(verdicts.most_common()),
        failures=dict(Counter(opinion.unscored for opinion in asked if opinion.unscored is not None).most_common()),
        judged_before=before if before != version else None,
        suggested=suggested,
        advice=advice,
    )


_RARELY = 0.2
"""A judge that may change its mind more often is not known to be steady."""


def _advice(quality: JudgeQuality, repetitions: int) -> tuple[int | None, str]:
    """How many judgments of each answer make the judge's wavering small beside what queries differ."""
    if quality.flipped is None:
        return None, f"how it agrees with itself can't be told: {quality.why_not}"
    if quality.flipped == 0.0:
        high = quality.flipped_high or 0.0
        if high > _RARELY:
            return None, f"it never changed its mind here, but may on up to {high:.0%} of answers: ask about more (--queries) to tell"
        return 1, f"it never changed its mind here (it may on up to {high:.0%} of answers): 1 judgment of each is enough"
    share = quality.noise_share
    if share is None:
        return None, f"how many judgments it takes can't be told: {quality.why_not}"
    tolerated = _TOLERATED_NOISE / (1.0 - _TOLERATED_NOISE)
    wanted = math.inf if share >= 1.0 else math.ceil(round(share * repetitions / ((1.0 - share) * tolerated), 9))
    if wanted > _MOST:
        why = "would make its wavering small beside what queries differ"
        return None, f"not even {_MOST} judgments of each answer {why}: take a steadier judge, or more queries"
    wanted = max(1, int(wanted))
    times = f"{wanted} judgment{'s' if wanted > 1 else ''} of each answer"
    return wanted, f"with {times} its wavering is at most {_TOLERATED_NOISE:.0%} of the variance (metrics.judge.repetitions)"
