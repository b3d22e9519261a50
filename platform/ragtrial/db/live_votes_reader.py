"""Reading votes with what they were about: the material of training pairs."""

from itertools import groupby

from sqlalchemy import select

from ragtrial.db.live_models import LiveExperimentRow, LiveTrialRow, LiveVoteRow
from ragtrial.db.live_rows import live_trial_of, vote_of
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.voted_trial import VotedTrial


class LiveVotesReader(ReadOnly):
    """Reads what users said of answers; arguments and errors as `LiveReader`'s."""

    def voted(self, experiment: str) -> tuple[VotedTrial, ...]:
        """The trials of an experiment, under all its plans, that were voted on, in the order in which they were logged.

        Who was erased has none.
        """
        trial, vote = LiveTrialRow, LiveVoteRow
        mine = select(LiveExperimentRow.id).where(LiveExperimentRow.name == experiment)
        trials = select(trial.__table__).where(trial.live_id.in_(mine), trial.id.in_(select(vote.trial))).order_by(trial.id)
        votes = select(vote.__table__).where(vote.live_id.in_(mine)).order_by(vote.trial, vote.id)
        with self._transaction() as connection:
            by_trial = {number: tuple(rows) for number, rows in groupby(connection.execute(votes), key=lambda row: row.trial)}
            return tuple(
                VotedTrial(
                    live_id=row.live_id,
                    trial=live_trial_of(row, experiment),
                    votes=tuple(vote_of(each, row.trial_id) for each in by_trial[row.id]),
                    late=frozenset(each.key for each in by_trial[row.id] if each.late),
                )
                for row in connection.execute(trials)
            )
