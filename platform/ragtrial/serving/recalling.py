"""Answers that were given before, for those who were given them: so that a page can be loaded again."""

from collections.abc import Iterable
from dataclasses import dataclass

from ragtrial.db.live_rows import ERASED
from ragtrial.domain.live_trial import Vote
from ragtrial.domain.trial import Trial
from ragtrial.errors import AnswerFailedError, UnknownTrialError
from ragtrial.serving.answering import Answering
from ragtrial.serving.asking import Source, fallback_id
from ragtrial.serving.parts import ServiceParts


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAnswer:
    """An answer as somebody sees it who is not told the arm.

    Attributes:
        text: Empty where it abstained, or where the experiment has no generation; None where it was erased since.
        abstained: The generator found nothing that fits.
        sources: What the generator read; all that was retrieved where there is no generation.
    """

    text: str | None
    abstained: bool
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """An answer that was given before.

    Attributes:
        trial_id: The served trial.
        query: As the log keeps it; None where it keeps the hash alone.
        shown: What its user saw.
        solicited: It asked for a rating.
        votes: The ones that hold now, on the answer (None) and on its sources by `passage_id`; none that were withdrawn.
    """

    trial_id: str
    query: str | None
    shown: ShownAnswer
    solicited: bool
    votes: dict[str | None, Vote]


class Recalling:
    """Finds answers again.

    Args:
        parts: Of the service.
        answering: Knows the passages.
    """

    def __init__(self, parts: ServiceParts, answering: Answering) -> None:
        self._parts, self._answering = parts, answering

    def answer(self, trial_id: str, *, caller: str) -> Recalled:
        """The answer of a served trial that this caller asked for; it blocks.

        Raises:
            UnknownTrialError: There is none, or it is somebody else's.
            AnswerFailedError: There was no answer.
            StoreError: The log can't be read.
        """
        reader, name = self._parts.reader, self._parts.experiment.name
        found = reader.trial(trial_id)
        if found is None or not found.served or found.caller != caller or found.experiment != name:
            raise UnknownTrialError(f"there is no answer {trial_id!r} that you asked for")
        stand_in = None if found.trial.failure is None else reader.trial(fallback_id(trial_id))
        seen = found.trial if stand_in is None else stand_in.trial
        if seen.failure is not None:
            raise AnswerFailedError(trial_id, f"{seen.failure.stage}: {seen.failure.kind}")
        return Recalled(
            trial_id=found.trial_id,
            query=found.query.text,
            shown=shown(seen, self._answering),
            solicited=found.solicited,
            votes=_holding(reader.votes_of(trial_id)),
        )


def shown(trial: Trial, answering: Answering) -> ShownAnswer:
    """What a user sees of a trial that did not fail."""
    answer = trial.answer
    text = "" if answer is None else None if answer.text == ERASED else answer.text
    return ShownAnswer(text=text, abstained=answer is not None and answer.finish_reason == "abstained", sources=answering.sources(trial))


def _holding(votes: Iterable[Vote]) -> dict[str | None, Vote]:
    last = {vote.passage_id: vote for vote in votes}
    return {target: vote for target, vote in last.items() if vote.thumb != "withdrawn"}
