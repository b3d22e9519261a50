"""The one gate to language models, for generators and judges alike.

Bounded and adaptive concurrency, retries of what is transient, a circuit breaker, a spending cap, and the cache in front of all of it.
It runs an event loop on a thread of its own, so that callers need none.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from ragtrial.errors import StoppedError
from ragtrial.llm.breaker import Breaker
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Accept, CallFailure, ChatRequest, Completion, Endpoint, Outcome
from ragtrial.llm.client import AttemptError, ChatClient, Reply
from ragtrial.llm.limiter import AdaptiveLimiter
from ragtrial.llm.prices import PriceTable
from ragtrial.llm.spending import Budget, Spending

T = TypeVar("T")
_SAY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a gate may do.

    Attributes:
        concurrency: Most calls in flight to one endpoint.
        timeout_s: For one attempt.
        attempts: Tries of one call in all.
        backoff_s: First waiting time between them; it doubles, with full jitter, up to a minute.
        max_wait_s: Longest waiting time that a server may ask for; beyond it the run stops, to be resumed.
        patience_s: How long an endpoint may be dead until the run stops, to be resumed.
        run_timeout_s: For all calls of the gate together; None is no limit.
        max_cost_usd: The spending cap; None is no cap.
    """

    concurrency: int = 16
    timeout_s: float = 60.0
    attempts: int = 8
    backoff_s: float = 0.5
    max_wait_s: float = 120.0
    patience_s: float = 120.0
    run_timeout_s: float | None = None
    max_cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What belongs to one endpoint."""

    client: ChatClient
    limiter: AdaptiveLimiter
    breaker: Breaker


def _silent(text: str) -> None:
    del text


class Gate:
    """Asks language models, and keeps what they said.

    Args:
        limits: See `Limits`.
        prices: For costs and the cap.
        cache: None asks anew each time.
        notify: Told in a line what slows the calls down (rate limits, dead endpoints), at most every 5 s; from another thread.
    """

    def __init__(
        self, limits: Limits, *, prices: PriceTable, cache: CallCache | None = None, notify: Callable[[str], None] = _silent
    ) -> None:
        self.limits, self.prices, self.cache = limits, prices, cache
        self.spending = Spending()
        self._notify = notify
        self._said_at = -_SAY_EVERY_S
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-gate", daemon=True)
        self._lines: dict[Endpoint, _Line] = {}
        self._budget = Budget(limits.max_cost_usd, prices)
        self._flights: dict[str, asyncio.Future[Outcome]] = {}
        self._held: set[asyncio.Task[Any]] = set()
        self._stop: StoppedError | None = None
        self._deadline: float | None = None
        self._pending: list[tuple[ChatRequest, Completion, asyncio.Future[None]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def complete(
        self, requests: Sequence[ChatRequest], *, accept: Accept | None = None, progress: Callable[[int], None] | None = None
    ) -> tuple[Outcome, ...]:
        """A completion or a failure for each request, in their order; the calls run side by side.

        Args:
            requests: Equal ones are asked once.
            accept: Raises ValueError on a text that can't be used: such an answer is `malformed`, counted, and not kept.
            progress: Called with the number of requests done since its last call; from another thread.

        Raises:
            StoppedError: The spending cap or the time limit is reached, an endpoint is dead, or it refuses every call. What was
                answered until then is in the cache.
            InputError: There is a cap and a model without a price.
        """
        return self.gather([partial(self.ask, request, accept=accept) for request in requests], progress=progress)

    def gather(self, asks: Sequence[Callable[[], Awaitable[T]]], *, progress: Callable[[int], None] | None = None) -> tuple[T, ...]:
        """The results of coroutines that call `ask`, run side by side on the gate's loop, in their order.

        Raises:
            StoppedError: As `complete`.
        """
        future: Future[tuple[T, ...]] = asyncio.run_coroutine_threadsafe(self._gather(asks, progress), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def ask(self, request: ChatRequest, *, accept: Accept | None = None) -> Outcome:
        """One request, from a coroutine on the gate's loop.

        Raises:
            StoppedError: As `complete`.
        """
        kept = None if self.cache is None else self.cache.get(request.key)
        if kept is not None and _usable(kept, accept):
            self.spending.reused(kept)
            return kept
        flight = self._flights.get(request.key)
        if flight is not None:
            self.spending.shared += 1
            outcome = await asyncio.shield(flight)
            return replace(outcome, from_cache=True) if isinstance(outcome, Completion) else outcome
        flight = self._loop.create_future()
        self._flights[request.key] = flight
        try:
            outcome = await self._tried(request, accept)
        except BaseException as error:
            flight.set_exception(error if isinstance(error, Exception) else self._stop or StoppedError("the run was interrupted"))
            flight.exception()  # seen, so that nobody need wait for it
            raise
        else:
            flight.set_result(outcome)
            return outcome
        finally:
            del self._flights[request.key]

    async def _gather(self, asks: Sequence[Callable[[], Awaitable[T]]], progress: Callable[[int], None] | None) -> tuple[T, ...]:
        if self._stop is not None:
            raise self._stop
        if self._deadline is None and self.limits.run_timeout_s is not None:
            self._deadline = time.monotonic() + self.limits.run_timeout_s
            self._loop.call_later(self.limits.run_timeout_s, self._time_is_up)

        async def one(ask: Callable[[], Awaitable[T]]) -> T:
            result = await ask()
            if progress is not None:
                progress(1)
            return result

        results = await asyncio.gather(*(one(ask) for ask in asks), return_exceptions=True)
        if self._stop is not None:
            raise self._stop
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return tuple(results)  # type: ignore[arg-type]  # no exception is among them

    async def _tried(self, request: ChatRequest, accept: Accept | None) -> Outcome:
        """The request with its retries."""
        line = self._line(request.endpoint)
        attempts = 0
        try:
            async for attempt in self._retrying():
                with attempt:
                    attempts += 1
                    completion = await self._attempt(line, request, accept, attempts)
        except AttemptError as error:
            if error.fatal:
                self._halt(f"{error.message}. Mend it and resume; nothing that was answered is lost")
                raise self._stop or StoppedError(error.message) from error
            self.spending.failed[error.kind] += 1
            return CallFailure(key=request.key, kind=error.kind, message=error.message, attempts=attempts)
        return completion

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, AttemptError) and error.transient),
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_random_exponential(multiplier=self.limits.backoff_s, max=60),
            before_sleep=self._count_retry,
            sleep=self._sleep,
            reraise=True,
        )

    def _count_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, AttemptError):
            self.spending.retried[error.kind] += 1

    async def _sleep(self, seconds: float) -> None:
        await self._interruptible(asyncio.sleep(seconds))

    async def _interruptible(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait, unless the run stops: only calls in flight are let to their end."""
        if self._stop is not None:
            waiting.close()
            raise self._stop
        task = asyncio.ensure_future(waiting)
        self._held.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            if self._stop is not None:
                raise self._stop from None
            raise
        finally:
            self._held.discard(task)

    async def _attempt(self, line: _Line, request: ChatRequest, accept: Accept | None, number: int) -> Completion:
        """One attempt; its place is given back when its answer is on disk, so that a kill costs no more answers than there are places."""
        if not line.limiter.take():
            await self._interruptible(line.limiter.acquire())
        try:
            if not line.breaker.is_open:
                return await self._paid(line, request, accept, number)
            probe = await self._interruptible(line.breaker.admit())
            try:
                return await self._paid(line, request, accept, number)
            finally:
                if probe:
                    line.breaker.settle()
        finally:
            line.limiter.release()

    async def _paid(self, line: _Line, request: ChatRequest, accept: Accept | None, number: int) -> Completion:
        """One attempt within the budget, checked and stored."""
        reserved = await self._interruptible(self._budget.reserve(request)) if self._budget.cap_usd is not None else 0.0
        if reserved is None:
            spent, most = self._budget.spent_usd, self._budget.most(request)
            self._halt(
                f"the spending cap of {self._budget.cap_usd:g} USD is reached: {spent:.4f} USD are spent, and the next call may cost "
                f"{most:.4f}. Raise llm.max_cost_usd and resume; nothing that was answered is lost"
            )
        if self._stop is not None:
            raise self._stop
        cost: float | None = None  # where the endpoint doesn't say it, all that was set aside counts
        try:
            self.spending.attempts += 1
            reply = await self._sent(line, request)
            completion = replace(reply.completion, attempts=number)
            _check(completion, accept)
            cost = completion.cost_usd
        except AttemptError as error:
            cost = error.cost_usd or 0.0
            self.spending.cost_usd += cost
            raise
        finally:
            self._budget.settle(reserved or 0.0, cost)
        await self._stored(request, completion)
        self.spending.paid(completion)
        return completion

    async def _sent(self, line: _Line, request: ChatRequest) -> Reply:
        """One attempt in flight, and what it teaches about the endpoint."""
        try:
            reply = await line.client.attempt(request)
        except AttemptError as error:
            if error.kind == "rate_limit" and not error.fatal:
                self._slow_down(line, request.endpoint, error)
            elif error.transient:
                self._mark_failed(line, request.endpoint, error)
            else:
                line.breaker.succeeded()
            raise
        line.breaker.succeeded()
        line.limiter.succeeded()
        if reply.hold_s > 0:
            line.limiter.pause(min(reply.hold_s, self.limits.max_wait_s))
            self._say(f"{request.endpoint.name}: its quota is used up for now, waiting {reply.hold_s:.1f} s")
        return reply

    def _slow_down(self, line: _Line, endpoint: Endpoint, error: AttemptError) -> None:
        line.breaker.succeeded()
        line.limiter.refused()
        wait = error.retry_after_s
        if wait is not None and wait > self.limits.max_wait_s:
            self._halt(
                f"{endpoint.name} asks to wait {wait:,.0f} s, more than llm.max_wait_s ({self.limits.max_wait_s:,.0f} s): resume later, "
                "nothing that was answered is lost"
            )
            return
        if wait:
            line.limiter.pause(wait)
        asked = f", waiting {wait:.1f} s as it asks" if wait else ""
        self._say(f"{endpoint.name}: too many requests (429){asked}; at most {line.limiter.size} at once now")

    def _mark_failed(self, line: _Line, endpoint: Endpoint, error: AttemptError) -> None:
        if line.breaker.failed():
            self._say(f"{endpoint.name}: {error.message}; it seems to be down, so one call at a time probes it")
        if line.breaker.is_dead:
            self._halt(
                f"{endpoint.name} does not answer ({error.kind}: {error.message}): look after it and resume, nothing answered is lost"
            )

    def _halt(self, message: str) -> None:
        """Let no further call out, and wake those that wait."""
        if self._stop is None:
            self._stop = StoppedError(message)
        for task in tuple(self._held):
            task.cancel()

    def _time_is_up(self) -> None:
        self._halt(f"llm.run_timeout_s ({self.limits.run_timeout_s:g} s) is over: resume, nothing that was answered is lost")

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            self._notify(text)

    def _line(self, endpoint: Endpoint) -> _Line:
        if endpoint not in self._lines:
            client = ChatClient(endpoint, self.prices, timeout_s=self.limits.timeout_s, connections=self.limits.concurrency)
            self._lines[endpoint] = _Line(
                client=client, limiter=AdaptiveLimiter(self.limits.concurrency), breaker=Breaker(patience_s=self.limits.patience_s)
            )
        return self._lines[endpoint]

    async def _stored(self, request: ChatRequest, completion: Completion) -> None:
        """On disk before it counts as answered; what comes in together is written in one transaction."""
        if self.cache is None:
            return
        written = self._loop.create_future()
        self._pending.append((request, completion, written))
        if self._committer is None:
            self._committer = self._loop.create_task(self._commit(self.cache))
        await written

    async def _commit(self, cache: CallCache) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await asyncio.to_thread(cache.put, [(request, completion) for request, completion, _ in batch])
            except Exception as error:  # noqa: BLE001  # whoever waits for the write must hear of it
                for _, _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for _, _, written in batch:
                    if not written.done():
                        written.set_result(None)
        self._committer = None

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for line in self._lines.values():
            await line.client.close()
        await self._loop.shutdown_default_executor()


def _check(completion: Completion, accept: Accept | None) -> None:
    """Raise where the text can't be used."""
    if accept is None:
        return
    try:
        accept(completion.text)
    except ValueError as error:
        raise AttemptError("malformed", str(error)[:300], cost_usd=completion.cost_usd) from error


def _usable(completion: Completion, accept: Accept | None) -> bool:
    try:
        _check(completion, accept)
    except AttemptError:
        return False
    return True
