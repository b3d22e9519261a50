"""A gate to LLMs stops for good where its endpoint is dead; a service goes on, and opens another one after a pause."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Generic, TypeVar

from ragtrial.contracts import ManyAtOnce, Reading, Scorer
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Trial
from ragtrial.errors import CallError, StoppedError

logger = logging.getLogger("ragtrial.serving")
T = TypeVar("T")

PAUSE_S = 5.0


class Renewed(Generic[T]):
    """Something behind a gate, made anew after the gate stopped. From any thread.

    Args:
        make: Makes it; what it needs to be closed goes onto the stack.
        pause_s: After a stop, and before another is made.
        monotonic: Seconds, never set back.

    Raises:
        RagtrialError: Whatever `make` raises the first time.
    """

    def __init__(
        self, make: Callable[[ExitStack], T], *, pause_s: float = PAUSE_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._pause_s, self._monotonic = make, pause_s, monotonic
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._stopped: tuple[float, StoppedError] | None = None
        self._one = make(self._stack)

    def get(self) -> T:
        """The one in use.

        Raises:
            StoppedError: It stopped a moment ago, or can't be made anew.
        """
        with self._lock:
            if self._stopped is not None:
                at, error = self._stopped
                if self._monotonic() - at < self._pause_s:
                    raise StoppedError(str(error))
                self._stack.close()
                self._stack = ExitStack()
                self._one = self._make(self._stack)
                self._stopped = None
            return self._one

    def stopped(self, one: T, error: StoppedError) -> None:
        """`one` is of no use any more."""
        with self._lock:
            if one is self._one and self._stopped is None:
                self._stopped = (self._monotonic(), error)
                logger.warning("calls to the LLM have stopped: %s", error)

    def close(self) -> None:
        """Let go."""
        with self._lock:
            self._stack.close()


class RenewedGenerator:
    """A generator that asks an LLM, for as long as the service runs.

    Args:
        renewed: Makes it.
    """

    def __init__(self, renewed: Renewed[ManyAtOnce]) -> None:
        self._renewed = renewed
        first = renewed.get()
        self.version, self._settings = first.version, first.settings

    @property
    def settings(self) -> Mapping[str, str]:
        """The generator's own."""
        return self._settings

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """See `contracts.Generator`.

        Raises:
            CallError: The call failed for good.
            StoppedError: The endpoint is dead, or the spending cap is reached.
        """
        answer = self.generate_many([(query, passages)])[0]
        if isinstance(answer, CallError):
            raise answer
        return answer

    def generate_many(self, readings: Sequence[Reading], *, repetition: int = 0) -> tuple[Answer | CallError, ...]:
        """See `contracts.ManyAtOnce`."""
        generator = self._renewed.get()
        try:
            return generator.generate_many(readings, repetition=repetition)
        except StoppedError as error:
            self._renewed.stopped(generator, error)
            raise


class RenewedScorer:
    """One of the scorers that share a gate, for as long as the service runs.

    Args:
        renewed: Makes all of them.
        place: Of this one among them.
    """

    deterministic = False

    def __init__(self, renewed: Renewed[Sequence[Scorer]], place: int) -> None:
        self._renewed, self._place = renewed, place
        first = renewed.get()[place]
        self.metrics: tuple[Metric, ...] = first.metrics
        self.version = first.version

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`.

        Raises:
            StoppedError: The endpoint is dead, or the spending cap is reached.
        """
        scorers = self._renewed.get()
        try:
            return scorers[self._place].score(trials, gold)
        except StoppedError as error:
            self._renewed.stopped(scorers, error)
            raise
