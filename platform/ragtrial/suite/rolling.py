"""What keeps the dashboard up to date: conclusions of evaluations, sums of the live log, and snapshots of live analyses."""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from ragtrial.contracts import Progress, no_progress
from ragtrial.db import engine as database
from ragtrial.db import schema
from ragtrial.db.conclusions import store_problem
from ragtrial.db.live_board_reader import LiveBoardReader, SnapshotMade
from ragtrial.db.live_news import Beside
from ragtrial.db.live_plans import planned_metrics
from ragtrial.db.live_reader import LiveExperiment, LiveReader
from ragtrial.db.roll_up import RolledUp, RollUp
from ragtrial.errors import InputError, MissingExtraError, RagtrialError, StoreError
from ragtrial.report.live_summary import SNAPSHOT_FORM, read_live_summary
from ragtrial.report.summary import CONCLUSION_FORM
from ragtrial.suite.concluding import conclude_into, unconcluded
from ragtrial.suite.live_snapshots import snapshot_of

PACE = 10.0
"""How many times as long as a snapshot took, the next one waits: snapshots take less than a tenth of a core."""

SHORTEST_PAUSE_S = 5.0
"""Between two snapshots of one experiment."""

_PARTITIONS_EVERY_S = 600.0
_LONGEST_PAUSE_AFTER_FAULTS_S = 60.0
_LONGEST_PAUSE_S = 30.0  # between two passes: a first one may take long, and is no reason to be late afterwards
_TRIES = 3  # at one experiment, where another process is faster
_WAITS = "another process sums its log at this moment: try again when that is done"

logger = logging.getLogger("ragtrial.rolling")

Say = Callable[[str], None]
SnapshotState = Literal["made", "current", "waits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledLive:
    """What was done for one live experiment.

    Attributes:
        name: Of the experiment.
        live_id: Its number.
        rolled: What the roll-up did.
        rolled_s: How long that took.
        snapshot: `made`; `current`: nothing is new; `waits`: until the next one is due, or for another process, which sums the rest of the
            log or has stored one meanwhile.
        took_s: How long the snapshot took, also of one that was not stored; 0 where none was made.
        problem: Why the analysis could not be made, or None.
    """

    name: str
    live_id: int
    rolled: RolledUp
    rolled_s: float
    snapshot: SnapshotState
    took_s: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass over a database did.

    Attributes:
        concluded: Ids of the evaluations that were concluded.
        live: Live experiments, in the order in which they were looked at; those that failed are left out.
        errors: What failed, one sentence each.
    """

    concluded: tuple[str, ...] = ()
    live: tuple[RolledLive, ...] = ()
    errors: tuple[str, ...] = ()


class Rolling:
    """Keeps what is derived from one database up to date, pass by pass. Not for several threads at once.

    Args:
        url: SQLAlchemy URL.
        paced: Make a snapshot only when it is due, see `PACE`; the first one of an experiment always is.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
    """

    def __init__(self, url: str, *, paced: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._url, self._paced, self._clock = url, paced, clock
        self._writer = RollUp(url, clock=clock)
        self._reader, self._board = LiveReader(url), LiveBoardReader(url)
        self._known: dict[int, _Known] = {}
        self._not_before = 0.0
        self._failed_too = True
        self._partitions_at = -math.inf
        self._partitions_problem: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        for each in (self._writer, self._reader, self._board):
            each.close()

    def once(self, *, progress: Progress = no_progress, stop: threading.Event | None = None) -> Pass:
        """Conclude what is finished, and roll up all live experiments. What fails for one of them does not stop the others.

        What could not be concluded is tried again by the first pass, and then when its data are other ones.

        Args:
            progress: Told how far long steps are.
            stop: Ends it early, between two experiments.

        Raises:
            StoreError: The database can't be read at all.
        """
        errors: list[str] = []
        live: list[RolledLive] = []
        self._keep_partitions(errors)
        stopped = threading.Event() if stop is None else stop
        found_open, self._failed_too = unconcluded(self._url, failed_too=self._failed_too), False
        concluded = [found for found in found_open if not stopped.is_set() and self._conclude(found, errors)]
        made = self._board.snapshots_made()
        for experiment in _in_turn(self._reader.experiments(), made):
            if stopped.is_set():
                break
            try:
                live.append(self._roll(experiment, made, progress))
            except RagtrialError as error:
                errors.append(f"live experiment {experiment.name!r} is not up to date: {error}")
            except Exception as error:  # a fault of ours in one of them must not stop the others
                logger.exception("live experiment %r can't be brought up to date", experiment.name)
                errors.append(f"live experiment {experiment.name!r} is not up to date: {_unexpected(error)}")
        return Pass(concluded=tuple(concluded), live=tuple(live), errors=tuple(errors))

    def _keep_partitions(self, errors: list[str]) -> None:
        """Now and then, also where nobody serves."""
        if time.monotonic() >= self._partitions_at:
            self._partitions_at = time.monotonic() + _PARTITIONS_EVERY_S
            try:
                self._writer.keep_partitions()
                self._partitions_problem = ()
            except StoreError as error:
                self._partitions_problem = (f"partitions of the live log are not made ahead: {error}",)
        errors += self._partitions_problem

    def one(self, live_id: int, *, anew: bool = False, progress: Progress = no_progress) -> str | None:
        """Bring one live experiment up to date.

        Args:
            live_id: The experiment.
            anew: Analyse it also where nothing seems to be new, as scores of older trials are not looked at to find out. What is closed
                stays as it is stored.
            progress: Told how far long steps are.

        Returns:
            Why its analysis could not be made; None where it was, or where the stored one is up to date.

        Raises:
            StoreError: The database fails.
        """
        live = next(each for each in self._reader.experiments() if each.live_id == live_id)
        for _ in range(_TRIES):
            done = self._roll(live, self._board.snapshots_made(), progress, anew=anew)
            if done.snapshot != "waits":
                return done.problem
        return _WAITS

    def _conclude(self, evaluation_id: str, errors: list[str]) -> bool:
        made_at = self._clock()
        try:
            try:
                conclude_into(self._url, evaluation_id)
            except StoreError:
                raise
            except RagtrialError as error:
                problem = str(error)
            except (ValueError, ArithmeticError, LookupError) as error:
                problem = f"the analysis failed ({type(error).__name__}: {error}); please report this"
            else:
                return True
            store_problem(self._url, evaluation_id, form=CONCLUSION_FORM, made_at=made_at, problem=problem)
        except StoreError as error:
            problem = str(error)
        errors.append(f"evaluation {evaluation_id!r} can't be concluded: {problem}")
        return False

    def _roll(self, live: LiveExperiment, before: Mapping[int, SnapshotMade], progress: Progress, *, anew: bool = False) -> RolledLive:
        known, made = self._known.setdefault(live.live_id, _Known()), before.get(live.live_id)
        begin = time.monotonic()
        rolled = self._writer.roll(live.live_id, progress=progress)
        self._writer.roll_units(live.live_id, progress=progress)
        rolled_s = time.monotonic() - begin
        if made is not None and made.form != SNAPSHOT_FORM and read_live_summary(self._reader, self._board, live.live_id) is None:
            made = None
        problem = None if made is None else made.problem
        done = functools.partial(RolledLive, name=live.name, live_id=live.live_id, rolled=rolled, rolled_s=rolled_s)
        if not rolled.complete:
            return done(snapshot="waits", problem=problem)
        if made is not None and problem is None and live.live_id in self._reader.closed():
            return done(snapshot="current")  # made when all trials were there; the log can't say it again
        is_old = made is None or made.version != rolled.version or (made.due_at is not None and made.due_at <= self._clock())
        if self._paced and made is not None and not self._is_due(made, known):
            return done(snapshot="waits" if is_old else "current", problem=problem)
        known.looked_at = self._clock()
        known.beside = self._board.beside(live.live_id, metrics=planned_metrics(live.plan), before=known.beside)
        digest = known.beside.digest
        if made is not None and not is_old and not anew and made.beside == digest:
            return done(snapshot="current", problem=problem)
        snapshot = snapshot_of(live, self._reader, self._board, version=rolled.version, beside=digest, clock=self._clock)
        stored = self._writer.store_snapshot(live.live_id, snapshot, before=before)
        self._not_before = self._clock() + PACE * snapshot.took_s
        return done(snapshot="made" if stored else "waits", took_s=snapshot.took_s, problem=snapshot.problem)

    def _is_due(self, made: SnapshotMade, known: "_Known") -> bool:
        earliest = max(self._not_before, max(known.looked_at, made.made_at + made.took_s) + SHORTEST_PAUSE_S)
        return self._clock() >= earliest


@dataclass(slots=True)
class _Known:
    """What this process looked at last of one experiment, and when."""

    looked_at: float = 0.0
    beside: Beside | None = None


def _in_turn(found: Iterable[LiveExperiment], made: Mapping[int, SnapshotMade]) -> list[LiveExperiment]:
    """Those without a snapshot first, the newest before all others; then those whose snapshot is oldest."""

    def turn(live: LiveExperiment) -> tuple[float, float]:
        return made[live.live_id].made_at if live.live_id in made else 0.0, -live.created_at

    return sorted(found, key=turn)


def roll_once(url: str, *, progress: Progress = no_progress, clock: Callable[[], float] = time.time) -> Pass:
    """Bring everything that the dashboard reads up to date.

    Args:
        url: SQLAlchemy URL.
        progress: Told how far long steps are.
        clock: Seconds since 1970.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
    """
    with Rolling(url, clock=clock) as rolling:
        return rolling.once(progress=progress)


def roll_for_ever(
    url: str,
    stop: threading.Event,
    *,
    every_s: float = 2.0,
    say: Say = lambda _sentence: None,
    upgrade: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Keep everything that the dashboard reads up to date, until `stop` is set.

    A database that is not there yet, or of an older schema, is waited for. Everything that goes wrong is said once, and tried again; after
    what should not happen at all later and later, up to every minute, and it is in the log (`ragtrial.rolling`) with its number.

    Args:
        url: SQLAlchemy URL.
        stop: Ends it, between two steps.
        every_s: Seconds between two passes, at least; more after long ones, so that summing takes less than a tenth of a core.
        say: Gets one sentence at a time.
        upgrade: Bring a database that is there to this version's schema.
        progress: Told how far long steps are.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
    """
    told, faults = _Told(say), 0
    while not stop.is_set():
        pause_s = every_s
        try:
            missing = _missing(url, upgrade=upgrade)
            told.now([] if missing is None else [missing])
            if missing is None:
                with Rolling(url, paced=True) as rolling:
                    _keep(rolling, stop, every_s=every_s, told=told, progress=progress)
        except StoreError as error:
            told.now([str(error)])
        except (InputError, MissingExtraError):
            raise
        except Exception as error:
            faults += 1
            pause_s = min(every_s * 2 ** min(faults, 10), _LONGEST_PAUSE_AFTER_FAULTS_S)
            logger.exception("keeping the dashboard's numbers up to date has failed %d times; tried again in %.0f s", faults, pause_s)
            told.now([f"the dashboard's numbers are not up to date: {_unexpected(error)}"])
        stop.wait(pause_s)


def _unexpected(error: Exception) -> str:
    return f"{type(error).__name__}: {error}; please report this"


def _keep(rolling: Rolling, stop: threading.Event, *, every_s: float, told: "_Told", progress: Progress) -> None:
    """Pass after pass until `stop` is set.

    Raises:
        StoreError: The database can't be read.
    """
    while not stop.is_set():
        done = rolling.once(progress=progress, stop=stop)
        told.now([*done.errors, *(f"live experiment {live.name!r} has no analysis: {live.problem}" for live in done.live if live.problem)])
        rolled_s = sum(live.rolled_s for live in done.live)
        stop.wait(max(every_s, min(PACE * rolled_s, _LONGEST_PAUSE_S)))


def _missing(url: str, *, upgrade: bool) -> str | None:
    """What has to be there first; None where nothing is missing."""
    revision = schema.current_revision(url)
    name = database.shown(database.parse_url(url))
    if revision is None:
        return f"database {name!r} holds nothing yet: it is filled by ragtrial evaluate or ragtrial serve"
    if revision == schema.HEAD:
        return None
    if not upgrade:
        return f"database {name!r} has schema {revision!r}, and not {schema.HEAD!r}: run `ragtrial db upgrade EXPERIMENT.yaml`"
    schema.upgrade(url)
    return None


class _Told:
    """Says each sentence once, and again when it comes back."""

    def __init__(self, say: Say) -> None:
        self._say, self._standing = say, set[str]()

    def now(self, sentences: Sequence[str]) -> None:
        """These hold now; those that held before and are not among them are over."""
        for sentence in sentences:
            if sentence not in self._standing:
                self._say(sentence)
        self._standing = set(sentences)
