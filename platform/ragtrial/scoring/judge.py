"""Our own LLM judge: correctness against references, groundedness by claim, and preference between the arms."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ragtrial.domain.corpus import Passage
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Opinion, Score, score_of
from ragtrial.domain.trial import Trial
from ragtrial.llm.chat import CallFailure, ChatRequest, Completion, Endpoint, Outcome, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prompt import bundled_prompt
from ragtrial.scoring.preference import PreferenceRubric
from ragtrial.scoring.reasons import JUDGE_FAILED
from ragtrial.scoring.rubrics import Case, CorrectnessRubric, Finding, GroundednessRubric, Part, Rubric

Number = TypeVar("Number", int, float)

_PACKAGE = "ragtrial.scoring"
_PROMPTS = {"judge_correctness": "correctness-1", "judge_groundedness": "groundedness-1", "judge_preference": "preference-1"}


def calls_per_sample(metric_name: str) -> int:
    """Calls that one judgment of one arm's answer takes, at most; a preference takes two, one for each order, for the answers of both arms.

    Raises:
        KeyError: No metric of the judge.
    """
    return dict.fromkeys(_PROMPTS, 1)[metric_name]


def prompt_overhead(metric_name: str) -> int:
    """Bytes of one call's prompt beside the material under judgment and its fences.

    Raises:
        KeyError: No metric of the judge.
    """
    prompt = bundled_prompt(_PACKAGE, _PROMPTS[metric_name])
    return len(prompt.system.encode()) + len(prompt.template.encode())


class JudgeScorer:
    """Asks an LLM about each trial, and about each pair of trials; each repetition asks the same question anew.

    An opinion that could not be had is unscored with the class of the failure; a score is the mean of the opinions that there are.

    Args:
        metrics: Some of `judge_correctness`, `judge_groundedness` and `judge_preference`, in the order wanted.
        gate: What every call goes through.
        endpoint: Server and model of the judge.
        sampling: Temperature, seed, length.
        passages: The corpus by passage id.
        context_passages: How many of a ranking's first passages the generator read.
        context_by_arm: The same for arms whose generator read another number.
        repetitions: By metric name, how often each question is asked; once where the name isn't in it.
        first_repetition: Number of the first of them; above 0 to ask anew what was asked before.
        control: The control arm's name, for preference.
        treatment: The treatment arm's name.

    Raises:
        ValueError: A metric that isn't ours, or fewer than 1 repetition.
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
        control: str,
        treatment: str,
        first_repetition: int = 0,
        context_by_arm: Mapping[str, int] | None = None,
    ) -> None:
        prompts = {name: bundled_prompt(_PACKAGE, prompt) for name, prompt in _PROMPTS.items()}
        rubrics: dict[str, Rubric] = {
            "judge_correctness": CorrectnessRubric(prompts["judge_correctness"]),
            "judge_groundedness": GroundednessRubric(
                prompts["judge_groundedness"], passages=passages, context_passages=context_passages, context_by_arm=context_by_arm
            ),
            "judge_preference": PreferenceRubric(prompts["judge_preference"], control=control, treatment=treatment),
        }
        for metric in metrics:
            if metric.name not in rubrics:
                raise ValueError(f"{metric.name!r} is no metric of the judge: there are {', '.join(rubrics)}")
            if repetitions.get(metric.name, 1) < 1:
                raise ValueError(f"{metric.name!r} must be judged at least once; found {repetitions[metric.name]} repetitions")
        self.metrics = tuple(metrics)
        self._rubrics = {metric.name: rubrics[metric.name] for metric in metrics}
        self._gate, self._endpoint, self._sampling = gate, endpoint, sampling
        self._repetitions = {metric.name: repetitions.get(metric.name, 1) for metric in metrics}
        self._first = first_repetition
        self.version = judge_version("judge/1", endpoint, sampling, [prompt.version for prompt in prompts.values()])

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`. For `judge_preference` give the trials of both arms together.

        Raises:
            StoppedError: The gate stopped the run; what was answered is in its cache.
        """
        queries = {query.query_id: query for query in gold.queries}
        columns = {name: rubric.parts(trials, queries) for name, rubric in self._rubrics.items()}
        opinions = self._opinions(columns)
        return tuple(tuple(self._score(name, column[row], opinions) for name, column in columns.items()) for row in range(len(trials)))

    def _opinions(self, columns: Mapping[str, Sequence[Part | str]]) -> dict[Case, tuple[Opinion, ...]]:
        """Every case's opinions, all calls side by side."""
        cases = {part.case: name for name, column in columns.items() for part in column if isinstance(part, Part)}
        asked = {
            (case, repetition): tuple(self._request(name, case, user, repetition) for user in case.users)
            for case, name in cases.items()
            for repetition in range(self._first, self._first + self._repetitions[name])
        }
        asks: list[Callable[[], Awaitable[Outcome]]] = [
            partial(self._gate.ask, request, accept=case.read) for (case, _), requests in asked.items() for request in requests
        ]
        outcomes = iter(self._gate.gather(asks) if asks else ())
        opinions: dict[Case, list[Opinion]] = {case: [] for case in cases}
        for (case, repetition), requests in asked.items():
            key = self._key(cases[case], case, requests, repetition)
            opinions[case].append(opinion_of([next(outcomes) for _ in requests], case.decide, key=key, repetition=repetition))
        return {case: tuple(each) for case, each in opinions.items()}

    def _request(self, name: str, case: Case, user: str, repetition: int) -> ChatRequest:
        prompt = self._rubrics[name].prompt
        return ChatRequest(
            endpoint=self._endpoint,
            system=prompt.system,
            user=user,
            prompt=prompt.version,
            sampling=self._sampling,
            schema=case.schema,
            repetition=repetition,
            purpose=name,
        )

    def _key(self, name: str, case: Case, requests: Sequence[ChatRequest], repetition: int) -> str:
        """The same for both trials of a pair, and for equal questions about two arms."""
        about: list[object] = [request.key for request in requests] or [self.version, repetition, *case.material]
        return hashlib.sha256(json.dumps([name, *about]).encode()).hexdigest()

    def _score(self, name: str, part: Part | str, opinions: Mapping[Case, Sequence[Opinion]]) -> Score:
        if isinstance(part, str):
            return Score(metric=name, unscored=part, scorer=self.version)
        found = opinions[part.case]
        return score_of(name, [_complement(each) for each in found] if part.complement else found, scorer=self.version)


def judge_version(name: str, endpoint: Endpoint, sampling: Sampling, prompts: Sequence[str]) -> str:
    """Name, model, and a digest that changes with all that a verdict may depend on: model, server, prompts' texts, sampling."""
    content = [endpoint.base_url.rstrip("/"), endpoint.model, endpoint.response_format, sampling, list(prompts)]
    return f"{name} {endpoint.model} {digest(content, length=8)}"


def opinion_of(outcomes: Sequence[Outcome], decide: Callable[[Sequence[str]], Finding], *, key: str, repetition: int) -> Opinion:
    """What the calls of one case came to; where one failed, nothing is decided.

    Args:
        outcomes: Of all its calls, in order; none where nothing had to be asked.
        decide: The completions' texts to the finding.
        key: The opinion's.
        repetition: From 0.
    """
    failed = next((outcome for outcome in outcomes if isinstance(outcome, CallFailure)), None)
    if failed is not None:
        reason, n_calls = f"{JUDGE_FAILED}: {failed.kind}", len(outcomes)
        cost = _total([outcome.cost_usd for outcome in outcomes])
        return Opinion(repetition=repetition, key=key, unscored=reason, rationale=failed.message, n_calls=n_calls, cost_usd=cost)
    completions = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
    finding = decide([completion.text for completion in completions])
    return Opinion(
        repetition=repetition,
        key=key,
        value=finding.value,
        unscored=finding.unscored,
        verdict=finding.verdict,
        rationale=finding.rationale,
        n_calls=len(completions),
        prompt_tokens=_total([each.prompt_tokens for each in completions]),
        completion_tokens=_total([each.completion_tokens for each in completions]),
        cost_usd=_total([each.cost_usd for each in completions]),
    )


def _total(parts: Sequence[Number | None]) -> Number | None:
    """The sum; unknown where a part is."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _complement(opinion: Opinion) -> Opinion:
    """The control's side of a pair's opinion."""
    return opinion if opinion.value is None else replace(opinion, value=1.0 - opinion.value)
