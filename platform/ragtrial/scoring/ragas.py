"""RAGAS' metrics, computed by RAGAS and asked for through our gate.

Written for ragas 0.4.3, through `ragas.metrics.collections` alone. Of RAGAS come the prompts and the arithmetic; its clients, cache and
runner stay unused: the cache's key leaves out model and endpoint, and the runner drops failed rows. RAGAS is imported when a scorer is
made, and nowhere else.
"""

import asyncio
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, TypeVar

from ragtrial.contracts import Embedder
from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Opinion, Score, score_of
from ragtrial.domain.trial import Trial
from ragtrial.errors import CallError, InputError, MissingExtraError, SetupError
from ragtrial.llm.chat import Completion, Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.structured import encodable
from ragtrial.scoring.ragas_llm import NO_NUMBER, SYSTEM, JudgeEmbeddings, NothingToJudgeError, SampleJudge
from ragtrial.scoring.reasons import ABSTAINED, NO_REFERENCE, why_no_answer

NO_PASSAGES = "no passages"
"""Nothing was retrieved, so there is nothing to judge; the retrieval metrics count it as 0."""

TEXT_MISSING = "text of a passage missing"
ONE_JUDGE = f"{NO_NUMBER} (judge missing)"
OUT_OF_RANGE = "ragas returned a number out of range"

_PINS = "pip install 'ragas==0.4.3' 'instructor>=1.17,<2' 'langchain-community<0.4.2' 'openai>=3,<3.3.1'"
_WORD = re.compile(r"\w")
_ROUGE_WORD = re.compile(r"[a-z0-9]")
_ROUNDING = 1e-6
Number = TypeVar("Number", int, float)
_FOREIGN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How one of our metrics is computed.

    Attributes:
        name: The class in `ragas.metrics.collections`.
        needs: What its `ascore` takes.
        calls: Calls to the LLM for one sample, at most; None is one for each passage.
        draws: How often it puts the same question.
        least: Answers without which its number rests on less than it claims.
    """

    name: str
    needs: tuple[str, ...]
    calls: int | None = 0
    draws: int = 1
    least: int = 0


_RULES: Mapping[str, _Rule] = {
    "faithfulness": _Rule(name="Faithfulness", needs=("user_input", "response", "retrieved_contexts"), calls=2, least=2),
    "answer_relevancy": _Rule(name="AnswerRelevancy", needs=("user_input", "response"), calls=3, draws=3, least=3),
    "context_precision": _Rule(name="ContextPrecision", needs=("user_input", "reference", "retrieved_contexts"), calls=None, least=1),
    "context_recall": _Rule(name="ContextRecall", needs=("user_input", "reference", "retrieved_contexts"), calls=1, least=1),
    "factual_correctness": _Rule(name="FactualCorrectness", needs=("response", "reference"), calls=4, least=4),
    "answer_accuracy": _Rule(name="AnswerAccuracy", needs=("user_input", "response", "reference"), calls=2, least=2),
    "ragas_rouge": _Rule(name="RougeScore", needs=("response", "reference")),
    "ragas_chrf": _Rule(name="CHRFScore", needs=("response", "reference")),
    "ragas_string_similarity": _Rule(name="NonLLMStringSimilarity", needs=("response", "reference")),
}


def calls_per_sample(metric_name: str, context_passages: int) -> int:
    """Calls to the LLM for one repetition of one sample, at most, as RAGAS' source has it; 0 for metrics without an LLM.

    Args:
        metric_name: One of the scorer's metrics.
        context_passages: Passages that a sample holds.

    Raises:
        KeyError: RAGAS does not compute the metric here.
    """
    calls = _RULES[metric_name].calls
    return context_passages if calls is None else calls


def check_ragas() -> str | None:
    """What keeps RAGAS from working here, with the pip line that mends it; None where it works. Imports it, which takes seconds."""
    try:
        _load(tuple(_RULES))
    except SetupError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One number to ask RAGAS for.

    Attributes:
        metric: Our name.
        repetition: From 0.
        material: What `ascore` is given.
        references: The reference answers to compare with, of which the best counts; one where a judge is asked.
        key: Equal samples have equal keys, whatever their arm.
    """

    metric: str
    repetition: int
    material: Mapping[str, Any]
    references: tuple[str, ...]
    key: str


@dataclass(kw_only=True)
class _Work:
    """What the samples of one `score` call share: as many run at once as keep the gate busy, and none begins after one broke."""

    places: asyncio.Semaphore
    embeddings: JudgeEmbeddings | None
    broken: Exception | None = field(default=None)


class RagasScorer:
    """Scores metrics of RAGAS, each the mean of its repetitions.

    * `context_precision` and `context_recall` judge the first `context_passages` passages of the ranking against the reference answer. They
      need no answer, so an abstention or a failed generation does not keep them from a score.
    * `faithfulness` judges the answer against the same passages, which are those that the generator read.
    * Of several reference answers a judge gets the first that holds a word: the gold set's main one. Joined, recall would ask for every
      wording at once, and asking for each would multiply the cost. The metrics without an LLM take the best one, as `answer_f1` does.
    * An abstention scores 0 against a reference, as with `answer_f1`: a system must not gain by keeping silent. It states nothing that
      could be faithful or relevant, so `faithfulness` and `answer_relevancy` leave it unscored, as `citation_support` does.
    * A sample whose judge failed in any of its calls is unscored (`judge failed: rate_limit`), also where RAGAS made a number of the rest.
    * A negative mean cosine counts as 0 in `answer_relevancy`, as in `answer_similarity`. `factual_correctness` is rounded by RAGAS to
      two decimals.

    Args:
        metrics: At least one of those that `calls_per_sample` knows.
        gate: What every call goes through.
        endpoint: The judge's server and model.
        sampling: The judge's temperature, seed, length; verdicts with reasons are long, so allow some 2,000 tokens.
        passages: The corpus by passage id.
        context_passages: Passages of a ranking to judge, at least 1.
        context_by_arm: The same for arms whose generator read another number.
        repetitions: Times to ask, by metric name; once where it isn't named, and for metrics without an LLM. A seed grows by 1 with each,
            and by 1 with each of the three questions that `answer_relevancy` has drawn.
        embedder: For `answer_relevancy`; a model that is neither arm's.

    Raises:
        ValueError: A metric that RAGAS does not compute here, or a count below 1.
        InputError: `answer_relevancy` without an embedder.
        MissingExtraError: RAGAS, or what one of the metrics needs beside it, is not installed.
        SetupError: RAGAS is installed and can't be imported.
    """

    deterministic = False

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        gate: Gate,
        endpoint: Endpoint,
        sampling: Sampling,
        passages: Mapping[str, Passage],
        context_passages: int,
        repetitions: Mapping[str, int],
        embedder: Embedder | None,
        context_by_arm: Mapping[str, int] | None = None,
    ) -> None:
        self.metrics = tuple(metrics)
        unknown = [metric.name for metric in self.metrics if metric.name not in _RULES]
        if unknown or not self.metrics:
            raise ValueError(f"RAGAS computes {', '.join(_RULES)}; got {', '.join(map(repr, unknown)) or 'no metric'}")
        if min(context_passages, *repetitions.values(), 1) < 1:
            raise ValueError(f"context_passages and repetitions are at least 1; got {context_passages} and {dict(repetitions)}")
        names = tuple(metric.name for metric in self.metrics)
        if "answer_relevancy" in names and embedder is None:
            raise InputError(
                "'answer_relevancy' compares questions by embedding and no model is given for it: set metrics.similarity to a model that is "
                "neither arm's"
            )
        self._classes = _load(names)
        self._gate, self._endpoint, self._sampling, self._passages = gate, endpoint, sampling, passages
        self._context_passages, self._repetitions, self._embedder = (
            context_passages,
            dict(repetitions),
            embedder if "answer_relevancy" in names else None,
        )
        self._context_by_arm = {arm: n for arm, n in (context_by_arm or {}).items() if n != context_passages}
        self._prompts = f"ragas-{_ragas_version()}"
        self.version = self._named()

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`. All samples run side by side; equal ones, of whatever trial, are asked once.

        Raises:
            StoppedError: The run has to stop; what was answered is in the gate's cache.
            ModelError: The embedding model failed; nothing is scored.
        """
        queries = {query.query_id: query for query in gold.queries}
        plans = [[self._plan(metric.name, trial, queries[trial.query_id]) for metric in self.metrics] for trial in trials]
        samples = {sample.key: sample for row in plans for plan in row if isinstance(plan, tuple) for sample in plan}
        work = _Work(
            places=asyncio.Semaphore(2 * self._gate.limits.concurrency),
            embeddings=None if self._embedder is None else JudgeEmbeddings(self._embedder),
        )
        asks = [partial(self._opinion, sample, work) for sample in samples.values()]
        opinions = dict(zip(samples, self._gate.gather(asks) if asks else (), strict=True))
        return tuple(tuple(plan if isinstance(plan, Score) else self._scored(plan, opinions) for plan in row) for row in plans)

    def _named(self) -> str:
        """Name, RAGAS' version, the judge, and a digest of all that changes scores."""
        embedder = None if self._embedder is None else self._embedder.identity.key
        endpoint = self._endpoint
        settings = [endpoint.base_url.rstrip("/"), endpoint.model, endpoint.response_format, self._sampling]
        context = [self._context_passages, self._context_by_arm] if self._context_by_arm else self._context_passages
        changing = [self._prompts, SYSTEM, settings, context, embedder]
        return f"ragas/{_ragas_version()} {endpoint.model} {digest(changing, length=8)}"

    def _plan(self, name: str, trial: Trial, query: Query) -> Score | tuple[_Sample, ...]:
        """A score where there is nothing to ask, else a sample for each repetition."""
        rule = _RULES[name]
        references = _references(name, query) if "reference" in rule.needs else ()
        reason = self._why_not(rule, trial, references)
        if reason == ABSTAINED and references:
            return Score(metric=name, value=0.0, scorer=self.version)
        if reason is not None:
            return Score(metric=name, unscored=reason, scorer=self.version)
        material: dict[str, Any] = {}
        if "user_input" in rule.needs:
            material["user_input"] = encodable(query.text)
        if "response" in rule.needs and trial.answer is not None:
            material["response"] = encodable(trial.answer.text)
        if "retrieved_contexts" in rule.needs:
            material["retrieved_contexts"] = [encodable(self._passages[passage_id].content) for passage_id in self._context_of(trial)]
        n = self._repetitions.get(name, 1) if rule.calls != 0 else 1
        return tuple(self._sample(name, repetition, material, references) for repetition in range(n))

    def _why_not(self, rule: _Rule, trial: Trial, references: Sequence[str]) -> str | None:
        """Why there is nothing to ask RAGAS; None where there is."""
        about_answer = "response" in rule.needs
        reason = why_no_answer(trial) if about_answer or trial.ranking is None else None
        if reason is None and "reference" in rule.needs and not references:
            reason = NO_REFERENCE
        if reason is None and about_answer and trial.answer is not None and trial.answer.finish_reason == "abstained":
            reason = ABSTAINED
        if reason is None and "retrieved_contexts" in rule.needs:
            context = self._context_of(trial)
            reason = NO_PASSAGES if not context else None if all(each in self._passages for each in context) else TEXT_MISSING
        return reason

    def _context_of(self, trial: Trial) -> tuple[str, ...]:
        n = self._context_by_arm.get(trial.arm, self._context_passages)
        return trial.ranking.passage_ids[:n] if trial.ranking is not None else ()

    def _sample(self, name: str, repetition: int, material: Mapping[str, Any], references: tuple[str, ...]) -> _Sample:
        judge = [self._endpoint.base_url.rstrip("/"), self._endpoint.model, self._sampling]
        key = digest([self.version, name, judge, repetition, material, references], length=64)
        return _Sample(metric=name, repetition=repetition, material=material, references=references, key=key)

    async def _opinion(self, sample: _Sample, work: _Work) -> Opinion:
        """One sample, on the gate's loop."""
        async with work.places:
            if work.broken is not None:
                raise work.broken
            try:
                return await self._asked(sample, work)
            except Exception as error:
                work.broken = error
                raise

    async def _asked(self, sample: _Sample, work: _Work) -> Opinion:
        rule = _RULES[sample.metric]
        judge = SampleJudge(
            gate=self._gate,
            endpoint=self._endpoint,
            sampling=self._sampling,
            metric=sample.metric,
            prompt=f"{self._prompts}/{sample.metric}",
            repetition=sample.repetition,
            draws=rule.draws,
        )
        reason, raw = None, math.nan
        try:
            raw = await self._raw(sample, judge, work)
        except (CallError, NothingToJudgeError):
            pass  # the judge remembers it, as it does where RAGAS swallowed it
        except _FOREIGN as error:
            reason = f"ragas failed: {type(error).__name__}"
        if judge.broken is not None:
            raise judge.broken
        if reason is None and len(judge.completions) < rule.least:
            reason = ONE_JUDGE
        value, why = _checked(sample.metric, raw)
        reason = judge.unscored or reason or why
        return Opinion(
            repetition=sample.repetition,
            key=sample.key,
            value=value if reason is None else None,
            unscored=reason,
            rationale=judge.rationale,
            n_calls=judge.n_calls,
            prompt_tokens=_total(judge, lambda completion: completion.prompt_tokens),
            completion_tokens=_total(judge, lambda completion: completion.completion_tokens),
            cost_usd=_total(judge, lambda completion: completion.cost_usd),
        )

    async def _raw(self, sample: _Sample, judge: SampleJudge, work: _Work) -> float:
        """RAGAS' number, maybe NaN; with several references the best."""
        tools: dict[str, Any] = {} if _RULES[sample.metric].calls == 0 else {"llm": judge}
        if sample.metric == "answer_relevancy":
            tools |= {"embeddings": work.embeddings, "strictness": _RULES[sample.metric].draws}
        metric = self._classes[sample.metric](**tools)
        given: list[Mapping[str, Any]] = [{**sample.material, "reference": reference} for reference in sample.references]
        return max([float((await metric.ascore(**each)).value) for each in given or [sample.material]])

    def _scored(self, plan: Sequence[_Sample], opinions: Mapping[str, Opinion]) -> Score:
        name, found = plan[0].metric, [opinions[sample.key] for sample in plan]
        if _RULES[name].calls == 0:
            return Score(metric=name, value=found[0].value, unscored=found[0].unscored, scorer=self.version)
        return score_of(name, found, scorer=self.version)


def _references(name: str, query: Query) -> tuple[str, ...]:
    """The reference answers to compare with: the first usable one for a judge, all of them where it costs nothing."""
    if name == "ragas_rouge":  # ROUGE sees nothing but ASCII letters and digits: against other scripts it is always 0
        return tuple(encodable(answer) for answer in query.answers if _ROUGE_WORD.search(answer.lower()))
    usable = tuple(encodable(answer) for answer in query.answers if _WORD.search(answer))
    return usable if _RULES[name].calls == 0 else usable[:1]


def _checked(name: str, raw: float) -> tuple[float | None, str | None]:
    """A value from 0 to 1, or the reason why RAGAS' number is none."""
    if math.isnan(raw):
        return None, NO_NUMBER
    lowest = -1.0 if name == "answer_relevancy" else 0.0
    if not lowest - _ROUNDING <= raw <= 1.0 + _ROUNDING:
        return None, OUT_OF_RANGE
    # its average precision divides by the sum plus 1e-10, which leaves 0.99999999995 for 1
    return min(max(round(raw, 9) if name == "context_precision" else raw, 0.0), 1.0), None


def _total(judge: SampleJudge, count: Callable[[Completion], Number | None]) -> Number | None:
    """The sum over the sample's calls; None where it is unknown for any of them."""
    counts = [each for completion in judge.completions if (each := count(completion)) is not None]
    return sum(counts, start=type(counts[0])()) if counts and len(counts) == judge.n_calls else None


def _load(names: Sequence[str]) -> Mapping[str, Any]:
    """RAGAS' classes by our metrics' names.

    Raises:
        MissingExtraError: RAGAS is not installed, or sacrebleu is not, without which `ragas_chrf` can't be computed.
        SetupError: It can't be imported, or is another version than this was written for.
    """
    if find_spec("ragas") is None:
        raise MissingExtraError(package="ragas", extra="ragas", purpose=f"{', '.join(names)} (RAGAS)")
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")  # its telemetry blocks the event loop; it reads this at import
    try:
        from ragas.embeddings.base import BaseRagasEmbedding
        from ragas.llms.base import InstructorBaseRagasLLM
        from ragas.metrics import collections
    except Exception as error:  # a broken installation can raise anything here, and must not look like an error of ours
        raise SetupError(_broken(error)) from error
    InstructorBaseRagasLLM.register(SampleJudge)
    BaseRagasEmbedding.register(JudgeEmbeddings)
    lacking = [_RULES[name].name for name in names if not hasattr(collections, _RULES[name].name)]
    if lacking:
        raise SetupError(f"ragas {_ragas_version()} has no {', '.join(lacking)} in ragas.metrics.collections: {_PINS}")
    if "ragas_chrf" in names and find_spec("sacrebleu") is None:
        raise MissingExtraError(package="sacrebleu", extra="ragas", purpose="ragas_chrf")
    return {name: getattr(collections, _RULES[name].name) for name in names}


def _ragas_version() -> str:
    try:
        return version("ragas")
    except PackageNotFoundError:
        return "unknown"


def _broken(error: Exception) -> str:
    """What is wrong with an installed RAGAS, and what mends it."""
    said = f"ragas {_ragas_version()} is installed, but its import fails ({type(error).__name__}: {error})"
    if isinstance(error, ImportError) and "langchain_community" in f"{error.name} {error}":
        return f"{said}: langchain-community 0.4.2 dropped a module that it needs: pip install 'langchain-community<0.4.2'"
    return f"{said}: {_PINS}"
