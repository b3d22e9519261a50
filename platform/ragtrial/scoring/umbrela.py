"""Relevance grades by an LLM for retrieved passages that no person judged, kept apart from people's judgments.

The 0 to 3 scale and the steps of the prompt are UMBRELA's (Upadhyay et al. 2024, arXiv 2406.06519), which reproduces Bing's assessor
(Thomas et al. 2023, arXiv 2309.10621); the wording, the fences and the form of the answer are ours.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.score import Opinion
from ragtrial.domain.trial import Ranking
from ragtrial.llm.chat import ChatRequest, Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prompt import bundled_prompt
from ragtrial.scoring.fencing import fence
from ragtrial.scoring.judge import judge_version, opinion_of
from ragtrial.scoring.rubrics import Finding
from ragtrial.scoring.verdicts import closed_object, read_object, read_text

GRADES = (0, 1, 2, 3)
_SCHEMA = closed_object({"rationale": {"type": "string"}, "grade": {"type": "integer", "enum": list(GRADES)}})
_PURPOSE = "passage_relevance"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineJudgment:
    """A passage's relevance as an LLM sees it: not a `domain.gold.Judgment`, so that the two can't be mixed by accident.

    Attributes:
        query_id: The query.
        passage_id: The passage.
        grade: 0 to 3.
        judge: Name and version of the judge.
        opinion: What it said.

    Raises:
        ValueError: A grade off the scale.
    """

    query_id: str
    passage_id: str
    grade: int
    judge: str
    opinion: Opinion

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ValueError(f"grade {self.grade!r} of {self.passage_id!r} for {self.query_id!r} is not on the scale from 0 to 3")


def holes(
    rankings_by_arm: Mapping[str, Sequence[Ranking]], qrels: Mapping[str, Mapping[str, int]], *, depth: int
) -> tuple[tuple[str, str], ...]:
    """The distinct (query id, passage id) pairs that some arm retrieved and nobody judged, pooled over the arms.

    Pooled, so that neither arm's passages are judged more thoroughly than the other's (Buckley and Voorhees 2004, on holes).

    Args:
        rankings_by_arm: Each arm's rankings.
        qrels: People's grades by query and passage; a query that isn't in it has none.
        depth: How many of a ranking's first passages count.

    Returns:
        By query in the order they are first met, then by the best rank in any arm, then in the order of the arms.
    """
    best: dict[str, dict[str, int]] = {}
    for rankings in rankings_by_arm.values():
        for ranking in rankings:
            found = best.setdefault(ranking.query_id, {})
            for rank, passage_id in enumerate(ranking.passage_ids[:depth]):
                if passage_id not in qrels.get(ranking.query_id, {}):
                    found[passage_id] = min(rank, found.get(passage_id, rank))
    return tuple((query_id, passage_id) for query_id, found in best.items() for passage_id in sorted(found, key=found.__getitem__))


class RelevanceJudge:
    """Grades passages for queries; it is not told which arm retrieved them, or at which rank.

    Args:
        gate: What every call goes through.
        endpoint: Server and model of the judge.
        sampling: Temperature, seed, length.
    """

    def __init__(self, *, gate: Gate, endpoint: Endpoint, sampling: Sampling) -> None:
        self._gate, self._endpoint, self._sampling = gate, endpoint, sampling
        self._prompt = bundled_prompt("ragtrial.scoring", "relevance-1")
        self.version = judge_version("umbrela/1", endpoint, sampling, [self._prompt.version])

    def judge(
        self, pairs: Sequence[tuple[Query, Passage]], progress: Progress = no_progress, *, repetition: int = 0
    ) -> tuple[Opinion, ...]:
        """An opinion for each pair in order: the grade as value, 0 to 3, and as verdict; or the reason why there is none.

        Args:
            pairs: Equal ones are asked once.
            progress: Told the number of pairs judged.
            repetition: From 0; another one asks anew.

        Raises:
            StoppedError: The gate stopped the run; what was answered is in its cache.
        """
        if not pairs:
            return ()
        requests = [self._request(query, passage, repetition) for query, passage in pairs]
        outcomes = self._gate.complete(requests, accept=read_grade, progress=progress("judging passages", len(requests)))
        return tuple(
            opinion_of([outcome], _finding, key=_key(request), repetition=repetition)
            for request, outcome in zip(requests, outcomes, strict=True)
        )

    def judgments(self, pairs: Sequence[tuple[Query, Passage]], opinions: Sequence[Opinion]) -> tuple[MachineJudgment, ...]:
        """The pairs that got a grade, under this judge's name; the others stay holes."""
        return tuple(
            MachineJudgment(
                query_id=query.query_id, passage_id=passage.passage_id, grade=int(opinion.value), judge=self.version, opinion=opinion
            )
            for (query, passage), opinion in zip(pairs, opinions, strict=True)
            if opinion.value is not None
        )

    def _request(self, query: Query, passage: Passage, repetition: int) -> ChatRequest:
        fenced = fence([("QUESTION", query.text), ("PASSAGE", passage.content)])
        values = {"code": fenced.code, "question": fenced.blocks[0], "passage": fenced.blocks[1]}
        return ChatRequest(
            endpoint=self._endpoint,
            system=self._prompt.system,
            user=self._prompt.fill(values),
            prompt=self._prompt.version,
            sampling=self._sampling,
            schema=_SCHEMA,
            repetition=repetition,
            purpose=_PURPOSE,
        )


def read_grade(text: str) -> tuple[str, int]:
    """Rationale and grade.

    Raises:
        ValueError: No such object, or the grade is not one of the scale.
    """
    found = read_object(text, required=("rationale", "grade"))
    grade = found["grade"]
    if isinstance(grade, str) and grade.strip().isdecimal():
        grade = int(grade)
    if isinstance(grade, bool) or not isinstance(grade, int) or grade not in GRADES:
        raise ValueError(f"grade {str(grade)[:40]!r} is none of 0, 1, 2, 3")
    return read_text(found["rationale"], name="rationale"), grade


def _finding(texts: Sequence[str]) -> Finding:
    rationale, grade = read_grade(texts[0])
    return Finding(value=float(grade), verdict=str(grade), rationale=rationale)


def _key(request: ChatRequest) -> str:
    return hashlib.sha256(json.dumps([_PURPOSE, request.key]).encode()).hexdigest()
