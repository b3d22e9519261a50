"""Which arm's answer is better: both orders asked, arms never named, and the judge's liking for a position measured.

A judge that likes the first (or the last) answer it reads prefers an arm only where the arm keeps a place. Each pair is asked in both
orders, and counts as won only where the same answer wins both (Zheng et al. 2023, "Judging LLM-as-a-Judge", section 3.4).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ragtrial.domain.gold import Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.score import Opinion
from ragtrial.domain.trial import Answer, Trial
from ragtrial.errors import NotEnoughDataError
from ragtrial.llm.prompt import Prompt
from ragtrial.scoring.fencing import fence
from ragtrial.scoring.reasons import why_no_answer
from ragtrial.scoring.rubrics import Case, Finding, Part, decided, numbered, references_of
from ragtrial.scoring.verdicts import read_verdict, verdict_schema

ONLY_ARMS = "only the two arms are compared"
OTHER_ARM = "other arm"
"""Begins the reason of a trial that the other arm has nothing to compare with: `other arm: no trial`."""

CHOICES = ("A", "B", "tie")
Settled = Literal["left", "right", "tie", "inconsistent: first", "inconsistent: second", "undecided: first", "undecided: second"]
_ABSTENTION = "(no answer: it said that it found none)"


def settled(forward: str, backward: str) -> Settled:
    """What both orders of a pair come to.

    Args:
        forward: `A`, `B` or `tie`, where `A` was the left answer and `B` the right one.
        backward: Likewise, where `A` was the right answer and `B` the left one.

    Returns:
        `left` or `right` where the same answer won both times. All others count as a tie: `tie` both times; `inconsistent` where the same
        position won both times; `undecided` where one order was a tie, with the position that won the other.
    """
    if forward == backward:
        return {"A": "inconsistent: first", "B": "inconsistent: second", "tie": "tie"}[forward]  # type: ignore[return-value]  # all three are
    if "tie" in (forward, backward):
        return "undecided: first" if "A" in (forward, backward) else "undecided: second"
    return "left" if forward == "A" else "right"


class PositionBias(NamedTuple):
    """How far the judge goes by the place of an answer.

    Attributes:
        n_pairs: Pairs judged in both orders.
        n_inconsistent: Pairs of which the same position won both orders.
        n_undecided: Pairs of which one order was a tie, and the other was not.
        n_wins: Orders that had a winner.
        n_first: Those of them that the answer shown first won.
    """

    n_pairs: int
    n_inconsistent: int
    n_undecided: int
    n_wins: int
    n_first: int

    @property
    def share_inconsistent(self) -> float:
        """Of the pairs, 0 to 1."""
        return self.n_inconsistent / self.n_pairs

    @property
    def share_first(self) -> float | None:
        """Wins of the first position, of all wins: 0.5 without bias; None where no order had a winner."""
        return self.n_first / self.n_wins if self.n_wins else None


def position_bias(opinions: Sequence[Opinion]) -> PositionBias:
    """The bias over `judge_preference` opinions; both arms' opinions of a pair (equal keys) count once, unasked pairs not at all.

    Raises:
        NotEnoughDataError: No pair was judged in both orders.
    """
    verdicts = {each.key: each.verdict for each in opinions if each.n_calls and each.value is not None and each.verdict is not None}
    counts = Counter(verdicts.values())
    if not counts:
        raise NotEnoughDataError("no pair of answers was judged in both orders: there is no position bias to be seen")
    whole = counts["treatment"] + counts["control"]
    first, second = counts["inconsistent: first"], counts["inconsistent: second"]
    undecided_first, undecided_second = counts["undecided: first"], counts["undecided: second"]
    return PositionBias(
        n_pairs=counts.total(),
        n_inconsistent=first + second,
        n_undecided=undecided_first + undecided_second,
        n_wins=2 * (whole + first + second) + undecided_first + undecided_second,
        n_first=whole + 2 * first + undecided_first,
    )


class PreferenceRubric:
    """The two arms' answers to one query side by side: for the treatment's trial 1 (better), 0.5 or 0, for the control's the complement.

    Reference answers are shown where there are any; passages are not, because they would tell the arms apart. Which answer is left is
    fixed by a hash of the texts, so that it does not follow the arm, and equal pairs are equal questions whichever arm said what.

    Args:
        prompt: With the places `code`, `question`, `references`, `answer_a` and `answer_b`.
        control: The arm's name.
        treatment: The arm's name.
    """

    metric = metric_named("judge_preference")

    def __init__(self, prompt: Prompt, *, control: str, treatment: str) -> None:
        self.prompt, self._control, self._treatment = prompt, control, treatment

    def parts(self, trials: Sequence[Trial], queries: Mapping[str, Query]) -> tuple[Part | str, ...]:
        """See `Rubric`; the trials of both arms are given together."""
        by_place = {(trial.arm, trial.query_id, trial.repetition): trial for trial in trials}
        cases: dict[tuple[str, int], Case] = {}
        return tuple(self._part(trial, queries[trial.query_id], by_place, cases) for trial in trials)

    def _part(
        self, trial: Trial, query: Query, by_place: Mapping[tuple[str, str, int], Trial], cases: dict[tuple[str, int], Case]
    ) -> Part | str:
        reason = why_no_answer(trial)
        if reason is not None:
            return reason
        if trial.arm not in (self._control, self._treatment):
            return ONLY_ARMS
        is_control = trial.arm == self._control
        other = by_place.get((self._treatment if is_control else self._control, trial.query_id, trial.repetition))
        reason = "no trial" if other is None else why_no_answer(other)
        if other is None or other.answer is None or trial.answer is None:
            return f"{OTHER_ARM}: {reason}"
        place = (trial.query_id, trial.repetition)
        if place not in cases:
            control, treatment = (trial.answer, other.answer) if is_control else (other.answer, trial.answer)
            cases[place] = self._case(query, control, treatment)
        return Part(case=cases[place], complement=is_control)

    def _case(self, query: Query, control: Answer, treatment: Answer) -> Case:
        if control.text.split() == treatment.text.split():
            finding = Finding(value=0.5, verdict="tie", rationale="both answers are the same")
            return decided(finding, query.text, " ".join(control.text.split()))
        left, right = sorted((control, treatment), key=lambda answer: _place(query, answer))
        return Case(
            users=(self._asked(query, left, right), self._asked(query, right, left)),
            schema=verdict_schema(CHOICES),
            read=_read,
            decide=lambda texts: _finding(texts, left_is_treatment=left is treatment),
        )

    def _asked(self, query: Query, first: Answer, second: Answer) -> str:
        """One order's question."""
        answers = [
            (f"ANSWER {name}", answer.text if answer.text.strip() else _ABSTENTION) for name, answer in (("A", first), ("B", second))
        ]
        fenced = fence([("QUESTION", query.text), *numbered("REFERENCE", references_of(query)), *answers])
        question, *references, answer_a, answer_b = fenced.blocks
        shown = {"question": question, "references": "\n".join(references) or "There are none.", "answer_a": answer_a, "answer_b": answer_b}
        return self.prompt.fill({"code": fenced.code, **shown})


def _place(query: Query, answer: Answer) -> str:
    return hashlib.sha256(f"{query.text}\0{answer.text}".encode("utf-8", "replace")).hexdigest()


def _read(text: str) -> tuple[str, str]:
    return read_verdict(text, CHOICES)


def _finding(texts: Sequence[str], *, left_is_treatment: bool) -> Finding:
    """Both orders' answers to the treatment's value."""
    (reason, forward), (other_reason, backward) = map(_read, texts)
    rationale = f"A/B: {reason}\nB/A: {other_reason}"
    verdict = settled(forward, backward)
    if verdict not in ("left", "right"):
        return Finding(value=0.5, verdict=verdict, rationale=rationale)
    treatment_won = (verdict == "left") == left_is_treatment
    return Finding(value=float(treatment_won), verdict="treatment" if treatment_won else "control", rationale=rationale)
