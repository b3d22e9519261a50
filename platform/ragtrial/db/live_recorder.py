"""The only writer of live experiments: one thread, group commit, and futures that resolve when a record is durable."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import Connection, insert, select

from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.group_commit import GroupCommit
from ragtrial.db.live_comparing import compared, preferred
from ragtrial.db.live_erasing import Eraser
from ragtrial.db.live_models import AuditRow, LiveExperimentRow, LiveSignalRow, LiveVoteRow, OutageRow, TrafficStateRow
from ragtrial.db.live_rows import plan_of, score_rows, signal_row, storable, trial_row, vote_row
from ragtrial.db.live_writing import BatchWriter, Log, Record, Said, Scores
from ragtrial.db.partitions import PartitionKeeper, keeping
from ragtrial.db.traffic import change_state, state_row
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_preference import Comparison, Preference
from ragtrial.domain.live_trial import LiveTrial, Outage, SignalEvent, Vote, VoteOutcome
from ragtrial.domain.score import Score
from ragtrial.errors import InputError
from ragtrial.splitting import initial_state

Durability = Literal["process", "power"]

WAIT_SECONDS = 2.0
"""How long a request's record waits for another program that writes to the database."""


class LiveRecorder:
    """Writes one live experiment; several processes may write the same one.

    What is logged, voted, signalled and scored goes to one thread that commits in groups. A future is resolved when its record is
    committed; it fails with `StoreError` when the database refused or was lost, within about 3 s and without being tried again, so that
    the caller can answer 503. Recording goes on by itself as soon as the database is back. Records that failed are not in the log, but
    for those that were just being committed when the database went away: so a request that is tried again needs its idempotency key.

    Args:
        url: SQLAlchemy URL; the schema is brought up to date.
        experiment: With a `live` section. It is registered by its name and `live_digest`, with version 1 of its traffic.
        facts: What else is known of it (parity, models, environment); JSON. Stored at the first start; a start with other facts is noted
            in the audit log.
        max_pending: Records that may wait; more are refused with `QueueFullError`.
        max_batch: Most records of one transaction.
        durability: SQLite only. `power`: what is acknowledged outlives a power cut (synchronous FULL). `process`: it outlives
            `kill -9` of the process, but not a power cut (synchronous NORMAL), for about a fifth of the time of a commit. PostgreSQL
            does what its `synchronous_commit` says.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL, or the experiment has no `live` section.
        MissingExtraError: psycopg is not installed.
        StoreError: The database can't be opened, made or upgraded.
    """

    def __init__(
        self,
        url: str,
        experiment: Experiment,
        *,
        facts: Mapping[str, Any] | None = None,
        max_pending: int = 2000,
        max_batch: int = 500,
        durability: Durability = "power",
        clock: Callable[[], float] = time.time,
    ) -> None:
        first, live = initial_state(experiment), experiment.live
        if live is None:  # `initial_state` has refused it
            raise InputError(f"experiment {experiment.name!r} has no 'live' section")
        schema.upgrade(url)
        self._experiment, self._clock = experiment, clock
        self._name = database.shown(database.parse_url(url))
        self._engine = database.open_engine(url, wait_s=WAIT_SECONDS, synchronous="FULL" if durability == "power" else "NORMAL")
        try:
            self._live_id = self._register(first, dict(facts or {}))
        except BaseException:
            self._engine.dispose()
            raise
        # Connections of its own: one that lay idle for minutes is nothing for a writer that can't wait.
        self._end_keeping = keeping(PartitionKeeper(database.open_engine(url, wait_s=WAIT_SECONDS), name=self._name, clock=clock))
        self._eraser = Eraser(self._engine, name=self._name, clock=clock)
        writer = BatchWriter(self._engine, name=self._name, experiment=experiment.name, late_days=live.late_vote_days)

        def write(records: Sequence[Record]) -> list[object]:
            """Two workers that are told the same of the same trials in another order may wait for each other: PostgreSQL ends one."""
            return database.tried_again(lambda: writer.write(records))

        self._queue: GroupCommit[Record] = GroupCommit(write, name=self._name, max_pending=max_pending, max_batch=max_batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is queued, and let go of the database."""
        self._queue.close()
        self._end_keeping()
        self._engine.dispose()

    @property
    def live_id(self) -> int:
        """The experiment's number in the log."""
        return self._live_id

    @property
    def pending(self) -> int:
        """Records that are not committed yet."""
        return self._queue.pending

    def log(self, *trials: LiveTrial) -> "Future[None]":
        """Log trials: all of this call or none.

        Returns:
            Resolves when they are committed. Fails with `DuplicateRequestError` where a trial of this id, or a request of the same
            caller with the same idempotency key, is there already; with another `StoreError` where the database refuses or is lost.

        Raises:
            QueueFullError: Too much waits; nothing was taken.
            StoreError: The database has not answered for a while, or the recorder is closed.
        """
        return self._queue.submit(Log(rows=tuple(trial_row(self._live_id, trial) for trial in trials)))

    def compare(self, comparison: Comparison) -> "Future[None]":
        """Log a comparison with both its trials: all of it or nothing; as `log`."""
        return self._queue.submit(compared(self._live_id, comparison))

    def prefer(self, preference: Preference) -> "Future[VoteOutcome]":
        """Record which of two answers was preferred.

        Returns:
            Resolves when it is committed: `recorded`, or `repeated` where this key is known for this comparison, and nothing changed.
            Fails with `UnknownComparisonError` where its caller was shown no such comparison, and as `log`.

        Raises:
            QueueFullError: As `log`.
            StoreError: As `log`.
        """
        return self._queue.submit(preferred(preference))

    def vote(self, vote: Vote) -> "Future[VoteOutcome]":
        """Record a vote on a served trial of this experiment, under this plan or another.

        Returns:
            Resolves when it is committed: `recorded`; `repeated` where this key is known for this trial, and nothing changed; `late`
            where it is kept and doesn't count. Fails with `UnknownTrialError` where nobody saw such a trial, with `UnknownSourceError`
            where the passage was not retrieved for it (a failed trial, and one whose texts were erased, take any), and as `log`.

        Raises:
            QueueFullError: As `log`.
            StoreError: As `log`.
        """
        return self._queue.submit(Said(table=LiveVoteRow, trial_id=storable(vote.trial_id), row=vote_row(vote)))

    def signal(self, event: SignalEvent) -> "Future[VoteOutcome]":
        """Record what a user did with an answer; as `vote`."""
        return self._queue.submit(Said(table=LiveSignalRow, trial_id=storable(event.trial_id), row=signal_row(event)))

    def score(self, trial_id: str, scores: Sequence[Score]) -> "Future[None]":
        """Record scores of a trial, served or silent. A metric that the trial has a score of keeps it: the new one is ignored.

        Returns:
            Resolves when they are committed; fails with `UnknownTrialError` where there is no such trial, with `OverloadedError` while an
            import writes scores of the experiment (PostgreSQL), and as `log`.

        Raises:
            QueueFullError: As `log`.
            StoreError: As `log`.
        """
        return self._queue.submit(Scores(trial_id=storable(trial_id), rows=tuple(score_rows(tuple(scores), self._clock()))))

    def change_traffic(
        self,
        *,
        expected_version: int,
        actor: str,
        reason: str,
        share: float | None = None,
        treatment: float | None = None,
        stopped: bool | None = None,
    ) -> TrafficState:
        """Change the traffic, with an entry in the audit log; what is None stays. Durable when it returns.

        Args:
            expected_version: The version that the change was decided on.
            actor: Who changes it.
            reason: Why.
            share: Of the units that take part.
            treatment: Share of those that get the treatment.
            stopped: Everyone gets the baseline.

        Raises:
            ConflictError: Another version is current.
            InputError: A share is out of its range.
            StoreError: The database refused; nothing was changed.
        """
        with self._transaction() as connection:
            return change_state(
                connection,
                self._live_id,
                expected_version=expected_version,
                actor=actor,
                reason=reason,
                share=share,
                treatment=treatment,
                stopped=stopped,
                at=self._clock(),
            )

    def audit(self, *, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Record what somebody did; durable when it returns.

        Raises:
            StoreError: The database refused.
        """
        with self._transaction() as connection:
            self._add_audit(connection, actor=actor, action=action, subject=subject, detail=dict(detail))

    def outage(self, outage: Outage) -> None:
        """Record a time in which the log could not be written, now that it can; durable when it returns.

        Raises:
            StoreError: The database refused.
        """
        with self._transaction() as connection:
            connection.execute(
                insert(OutageRow),
                {
                    "live_id": self._live_id,
                    "start_at": outage.start,
                    "end_at": outage.end,
                    "refused": outage.refused,
                    "unlogged": outage.unlogged,
                    "reason": storable(outage.reason),
                },
            )

    def forget_unit(self, unit: str, *, actor: str = "operator") -> Mapping[str, int]:
        """Erase a unit in all experiments of the database; see `Eraser.forget_unit`."""
        return self._eraser.forget_unit(unit, actor=actor)

    def forget_texts(self, *, before: float, actor: str = "operator") -> int:
        """Erase the texts of this experiment's trials that arrived earlier; see `Eraser.forget_texts`."""
        return self._eraser.forget_texts(before=before, experiment=self._experiment.name, actor=actor)

    def _transaction(self) -> AbstractContextManager[Connection]:
        return database.transaction(self._engine, self._name)

    def _register(self, first: TrafficState, facts: dict[str, Any]) -> int:
        experiment, now = self._experiment, self._clock()
        name, digest = experiment.name, experiment.live_digest()
        known = select(LiveExperimentRow.id, LiveExperimentRow.facts).where(
            LiveExperimentRow.name == name, LiveExperimentRow.live_digest == digest
        )
        with database.transaction(self._engine, self._name) as connection:  # one at a time: several workers start at once
            found = connection.execute(known).first()
            if found is not None:
                if found.facts != facts:
                    row = {"live_id": found.id, "at": now, "actor": "service", "action": "start with other facts", "subject": name}
                    connection.execute(insert(AuditRow), {**row, "detail": facts})
                return int(found.id)
            sql = database.without_password(experiment.stores.sql)
            row = {"name": name, "live_digest": digest, "plan": plan_of(experiment, sql=sql), "facts": facts, "created_at": now}
            made = int(connection.execute(insert(LiveExperimentRow).returning(LiveExperimentRow.id), row).scalar_one())
            connection.execute(insert(TrafficStateRow), {"live_id": made, **state_row(first), "at": now})
            return made

    def _add_audit(self, connection: Connection, *, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
        row = {"live_id": self._live_id, "at": self._clock(), "action": action, "subject": storable(subject), "detail": detail}
        connection.execute(insert(AuditRow), {**row, "actor": storable(actor)})
