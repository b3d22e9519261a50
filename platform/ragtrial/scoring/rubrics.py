"""What our own judge is asked about single trials, and how its words become values: correctness and groundedness."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.domain.trial import Answer, Trial
from ragtrial.llm.chat import Accept
from ragtrial.llm.prompt import Prompt
from ragtrial.scoring.fencing import fence
from ragtrial.scoring.grounding import TEXT_MISSING
from ragtrial.scoring.reasons import ABSTAINED, NO_REFERENCE, why_no_answer
from ragtrial.scoring.verdicts import closed_object, read_choice, read_object, read_text, read_verdict, verdict_schema

NO_CLAIM = "the judge found no claim"
"""An answer that states nothing can't be checked; 0 and 1 would both be made up."""

CORRECTNESS = {"correct": 1.0, "partly": 0.5, "wrong": 0.0, "abstained": 0.0}
"""An abstention is worth nothing: a system must not gain by keeping silent."""

SUPPORT = ("supported", "not_supported", "contradicted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of a case.

    Attributes:
        value: Finite, or None.
        unscored: Why there is no value; None where there is one.
        verdict: Of a closed set, where there is one.
        rationale: The judge's reason, or ours where it was not asked.
    """

    value: float | None = None
    unscored: str | None = None
    verdict: str | None = None
    rationale: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """Something for the judge to decide; compared by identity, so that two trials can share one.

    Attributes:
        material: What the case is about, where it is decided without a call: the texts, for its key.
        users: The user messages, one for each call; empty where nothing need be asked.
        schema: JSON schema of each answer.
        read: Raises ValueError on an answer that can't be used.
        decide: The usable answers, one for each call in order, to the finding.
    """

    material: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    read: Accept
    decide: Callable[[Sequence[str]], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A trial's part in a case: of a pair's case, the control's value is the complement of the treatment's."""

    case: Case
    complement: bool = False


class Rubric(Protocol):
    """One metric of the judge."""

    @property
    def metric(self) -> Metric:
        """What it measures."""
        ...

    @property
    def prompt(self) -> Prompt:
        """What it asks with."""
        ...

    def parts(self, trials: Sequence[Trial], queries: Mapping[str, Query]) -> tuple[Part | str, ...]:
        """For each trial its part in a case, or the reason why there is nothing to judge."""
        ...


class CorrectnessRubric:
    """The answer against all reference answers, on a closed set of verdicts; an abstention is one without a call.

    Args:
        prompt: With the places `code`, `question`, `references` and `answer`.
    """

    metric = metric_named("judge_correctness")

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt

    def parts(self, trials: Sequence[Trial], queries: Mapping[str, Query]) -> tuple[Part | str, ...]:
        """See `Rubric`."""
        return tuple(self._part(trial, queries[trial.query_id]) for trial in trials)

    def _part(self, trial: Trial, query: Query) -> Part | str:
        answer = trial.answer
        if answer is None:
            return why_no_answer(trial) or "no answer"
        references = references_of(query)
        if not references:
            return NO_REFERENCE
        if answer.finish_reason == "abstained":
            return Part(case=decided(Finding(value=0.0, verdict="abstained"), query.text, *references))
        fenced = fence([("QUESTION", query.text), *numbered("REFERENCE", references), ("ANSWER", answer.text)])
        values = {"question": fenced.blocks[0], "references": "\n".join(fenced.blocks[1:-1]), "answer": fenced.blocks[-1]}
        user = self.prompt.fill({"code": fenced.code, **values})
        return Part(case=Case(users=(user,), schema=verdict_schema(tuple(CORRECTNESS)), read=_read_correctness, decide=_correctness))


class GroundednessRubric:
    """The share of the answer's claims that the passages support which the generator read; the judge lists the claims.

    Args:
        prompt: With the places `code`, `question`, `passages` and `answer`.
        passages: The corpus by passage id.
        context_passages: How many of the ranking's first passages the generator read.
        context_by_arm: The same for arms whose generator read another number.
    """

    metric = metric_named("judge_groundedness")

    def __init__(
        self, prompt: Prompt, *, passages: Mapping[str, Passage], context_passages: int, context_by_arm: Mapping[str, int] | None = None
    ) -> None:
        self.prompt, self._passages = prompt, passages
        self._context_passages, self._context_by_arm = context_passages, context_by_arm or {}

    def parts(self, trials: Sequence[Trial], queries: Mapping[str, Query]) -> tuple[Part | str, ...]:
        """See `Rubric`."""
        return tuple(self._part(trial, queries[trial.query_id]) for trial in trials)

    def _part(self, trial: Trial, query: Query) -> Part | str:
        answer = trial.answer
        if answer is None or trial.ranking is None:
            return why_no_answer(trial) or "no answer"
        if answer.finish_reason == "abstained":
            return ABSTAINED
        ids = trial.ranking.passage_ids[: self._context_by_arm.get(trial.arm, self._context_passages)]
        if any(passage_id not in self._passages for passage_id in ids):
            return TEXT_MISSING
        if not ids:
            finding = Finding(value=0.0, rationale="there was no passage that the answer could rest on")
            return Part(case=decided(finding, query.text, answer.text))
        return Part(case=self._case(query, answer, [self._passages[passage_id].content for passage_id in ids]))

    def _case(self, query: Query, answer: Answer, passages: Sequence[str]) -> Case:
        fenced = fence([("QUESTION", query.text), *numbered("PASSAGE", passages), ("ANSWER", answer.text)])
        values = {"question": fenced.blocks[0], "passages": "\n".join(fenced.blocks[1:-1]), "answer": fenced.blocks[-1]}
        n_passages = len(passages)
        return Case(
            users=(self.prompt.fill({"code": fenced.code, **values}),),
            schema=_CLAIMS,
            read=lambda text: read_claims(text, n_passages=n_passages),
            decide=lambda texts: _groundedness(read_claims(texts[0], n_passages=n_passages)),
        )


def references_of(query: Query) -> tuple[str, ...]:
    """The query's reference answers that say something."""
    return tuple(answer for answer in query.answers if any(map(str.isalnum, answer)))


def numbered(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Texts with labels for their fences, from 1."""
    return [(f"{label} {number}", text) for number, text in enumerate(texts, 1)]


def decided(finding: Finding, *material: str) -> Case:
    """A case that needs no call."""
    return Case(material=material, read=lambda _text: None, decide=lambda _texts: finding)


def _read_correctness(text: str) -> tuple[str, str]:
    return read_verdict(text, tuple(CORRECTNESS))


def _correctness(texts: Sequence[str]) -> Finding:
    rationale, verdict = _read_correctness(texts[0])
    return Finding(value=CORRECTNESS[verdict], verdict=verdict, rationale=rationale)


_CLAIM = closed_object(
    {
        "claim": {"type": "string"},
        "passages": {"type": "array", "items": {"type": "integer"}},
        "verdict": {"type": "string", "enum": list(SUPPORT)},
    }
)
_CLAIMS = closed_object({"claims": {"type": "array", "items": _CLAIM}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of an answer, as the judge split and found it; `passages` are numbers from 1."""

    text: str
    passages: tuple[int, ...]
    verdict: str


def read_claims(text: str, *, n_passages: int) -> tuple[Claim, ...]:
    """The claims that the judge listed; may be empty.

    Raises:
        ValueError: Not such a list, a verdict out of the set, a passage that wasn't shown, or support from no passage at all.
    """
    claims = read_object(text, required=("claims",))["claims"]
    if not isinstance(claims, list):
        raise ValueError("'claims' is no list")  # noqa: TRY004  # the caller's contract is ValueError
    return tuple(_claim(each, n_passages) for each in claims)


def _claim(found: object, n_passages: int) -> Claim:
    if not isinstance(found, dict) or not {"claim", "passages", "verdict"} <= found.keys():
        raise ValueError("a claim without 'claim', 'passages' and 'verdict'")
    verdict = read_choice(found["verdict"], SUPPORT)
    text = read_text(found["claim"], name="claim")
    passages = found["passages"]
    if not text or not isinstance(passages, list):
        raise ValueError("a claim without a text or without a list of passages")
    numbers = tuple(dict.fromkeys(_number(each) for each in passages))
    if any(not 1 <= number <= n_passages for number in numbers):
        raise ValueError(f"a claim names passage {max(numbers)}, and {n_passages} were shown")
    if verdict == "supported" and not numbers:
        raise ValueError("a claim is called supported, and by no passage")
    return Claim(text=text, passages=numbers, verdict=verdict)


def _number(value: object) -> int:
    if isinstance(value, str) and value.strip("[] ").isdecimal():
        return int(value.strip("[] "))
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"passage {str(value)[:20]!r} is no number")  # noqa: TRY004  # the caller's contract is ValueError
    return value


def _groundedness(claims: Sequence[Claim]) -> Finding:
    if not claims:
        return Finding(unscored=NO_CLAIM)
    lines = [f"{claim.verdict}{''.join(f' [{number}]' for number in claim.passages)}: {claim.text}" for claim in claims]
    supported = sum(claim.verdict == "supported" for claim in claims)
    return Finding(value=supported / len(claims), rationale="\n".join(lines))
