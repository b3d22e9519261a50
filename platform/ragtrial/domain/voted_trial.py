"""A live query with everything that its user said of the answer and its sources."""

from dataclasses import dataclass

from ragtrial.domain.live_trial import LiveTrial, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedTrial:
    """A served trial that somebody voted on.

    Attributes:
        live_id: The live experiment's number in the log: its name under one plan.
        trial: The trial.
        votes: At least one, with their history, in the order in which they came.
        late: Keys of those that came too late for the analysis.
    """

    live_id: int
    trial: LiveTrial
    votes: tuple[Vote, ...]
    late: frozenset[str] = frozenset()

    @property
    def standing(self) -> dict[str | None, Vote]:
        """What its user says now, by source (None: of the answer): the last vote on each, withdrawn ones left out."""
        last = {vote.passage_id: vote for vote in self.votes}
        return {target: vote for target, vote in last.items() if vote.thumb != "withdrawn"}
