"""The one gate to language models, for generators and judges alike.

Bounded and adaptive concurrency, retries of what is transient, a circuit breaker, a spending cap, and the cache in front of all of it.
It runs an event loop on a thread of its own, so that callers need none.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from ragtrial.errors import StoppedError
from ragtrial.llm.brake import Brake
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import Accept, CallFailure, ChatRequest, Completion, Endpoint, Outcome
from ragtrial.llm.client import AttemptError, Reply
from ragtrial.llm.line import Limits, Line, Run
from ragtrial.llm.prices import PriceTable
from ragtrial.llm.spending import Budget, Spending
from ragtrial.llm.structured import keepable
from ragtrial.llm.writer import Writer

__all__ = ["Gate", "Limits"]

T = TypeVar("T")
_SAY_EVERY_S = 5.0
_CLOSING_S = 5.0


def _silent(text: str) -> None:
    del text


class Gate:
    """Asks language models, and keeps what they said.

    Args:
        limits: See `Limits`.
        prices: For costs and the cap.
        cache: None asks anew each time.
        notify: Told in a line what slows the calls down (rate limits, dead endpoints), at most every 5 s; from another thread.
        settled: Called with 1 for each request that has its outcome, whoever asked for it; from another thread.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        prices: PriceTable,
        cache: CallCache | None = None,
        notify: Callable[[str], None] = _silent,
        settled: Callable[[int], None] | None = None,
    ) -> None:
        self.limits, self.prices, self.cache = limits, prices, cache
        self.spending = Spending()
        self._notify, self._settled = notify, settled
        self._said_at = -_SAY_EVERY_S
        self._brake = Brake()
        self._budget = Budget(limits.max_cost_usd, prices)
        self._run = Run(
            limits=limits,
            prices=prices,
            spending=self.spending,
            budget=self._budget,
            brake=self._brake,
            say=self._say,
            notify=notify,
        )
        self._lines: dict[tuple[Endpoint, str], Line] = {}
        self._flights: dict[str, asyncio.Future[Outcome]] = {}
        self._writer = None if cache is None else Writer(cache, self._brake)
        self._timed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-gate", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what still runs, keep what was answered, close the connections and end the thread."""
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
            StoreError: The cache can't be read or written; nothing is asked any more.
            InputError: There is a cap and a model without a price.
        """
        return self.gather([partial(self.ask, request, accept=accept) for request in requests], progress=progress)

    def gather(self, asks: Sequence[Callable[[], Awaitable[T]]], *, progress: Callable[[int], None] | None = None) -> tuple[T, ...]:
        """The results of coroutines that call `ask`, run side by side on the gate's loop, in their order.

        Raises:
            StoppedError: As `complete`.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the gate's own loop would wait for itself: call ask there")
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
        outcome = await self._settling(request, accept)
        if self._settled is not None:
            self._settled(1)
        return outcome

    async def _settling(self, request: ChatRequest, accept: Accept | None) -> Outcome:
        """From the cache, from another who asks the same now, or from the endpoint."""
        while True:
            kept = None if self.cache is None else self.cache.get(request.key)
            if kept is not None and _usable(kept, accept):
                kept = self._at_todays_price(request, kept)
                self.spending.reused(kept)
                return kept
            flight = self._flights.get(request.key)
            if flight is None:
                return await self._asked(request, accept)
            await asyncio.wait([flight])
            if not flight.cancelled():  # or else whoever asked was cancelled, and it is for the next to ask
                outcome = flight.result()
                self.spending.shared += 1
                return replace(outcome, from_cache=True) if isinstance(outcome, Completion) else outcome

    def _at_todays_price(self, request: ChatRequest, kept: Completion) -> Completion:
        """A completion from the cache, priced as a call of today: the arms' costs must not come from two tables."""
        tokens = (kept.prompt_tokens, kept.completion_tokens, kept.cached_tokens)
        return replace(kept, cost_usd=self.prices.cost(request.endpoint.model, *tokens))

    async def _asked(self, request: ChatRequest, accept: Accept | None) -> Outcome:
        """The request, and the same for all who ask it meanwhile."""
        flight = self._flights[request.key] = self._loop.create_future()
        try:
            outcome = await self._tried(request, accept)
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # seen, so that nobody need wait for it
            raise
        else:
            flight.set_result(outcome)
            return outcome
        finally:
            del self._flights[request.key]

    async def _gather(self, asks: Sequence[Callable[[], Awaitable[T]]], progress: Callable[[int], None] | None) -> tuple[T, ...]:
        self._brake.check()
        if not self._timed and self.limits.run_timeout_s is not None:
            self._timed = True
            self._loop.call_later(self.limits.run_timeout_s, self._time_is_up)

        async def one(ask: Callable[[], Awaitable[T]]) -> T:
            result = await ask()
            if progress is not None:
                progress(1)
            return result

        results = await asyncio.gather(*(one(ask) for ask in asks), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            self._brake.check()
            raise failed[0]
        return tuple(results)  # type: ignore[arg-type]  # no exception is among them

    async def _tried(self, request: ChatRequest, accept: Accept | None) -> Outcome:
        """The request with its retries."""
        line = self._line(request.endpoint)
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(line, request, accept, attempts)
            except AttemptError as error:
                failure = error
            if failure.fatal:
                self._brake.check()  # the line has pulled it, with what to mend
            if not failure.transient or attempts >= self.limits.attempts:
                self.spending.failed[failure.kind] += 1
                return CallFailure(
                    key=request.key, kind=failure.kind, message=keepable(failure.message), attempts=attempts, cost_usd=failure.cost_usd
                )
            self._brake.check()
            self.spending.retried[failure.kind] += 1
            wait = random.uniform(0.0, self.limits.backoff(attempts))  # noqa: S311  # jitter
            await self._brake.wait_for(asyncio.sleep(wait))

    async def _attempt(self, line: Line, request: ChatRequest, accept: Accept | None, number: int) -> Completion:
        """One attempt; its place is given back when its answer is on disk, so that a kill costs no more answers than there are places."""
        self._brake.check()
        await line.enter(request)
        try:
            completion = await self._paid(line, request, accept, number)
            if self._writer is not None:
                await self._writer.store(request, completion)
            self.spending.paid(completion)
            return completion
        finally:
            line.leave()

    async def _paid(self, line: Line, request: ChatRequest, accept: Accept | None, number: int) -> Completion:
        """One attempt within the budget, and checked."""
        reserved = await self._brake.wait_for(self._budget.reserve(request))
        if reserved is None:
            self._brake.pull(StoppedError(self._cap_reached(request)))
        self._brake.check()
        cost: float | None = None  # where nobody says it, all that was set aside counts
        try:
            reply: Reply = await line.send(request)
            cost = reply.completion.cost_usd
            completion = replace(reply.completion, attempts=number)
            _check(completion, accept)
        except AttemptError as error:
            cost = error.cost_usd
            raise
        finally:
            if reserved is not None:
                self._budget.settle(reserved, cost)
            self.spending.billed(cost)
        return completion

    def _cap_reached(self, request: ChatRequest) -> str:
        return (
            f"the spending cap of {self._budget.cap_usd or 0.0:g} USD is reached: {self._budget.spent_usd:.4f} USD are spent, and the next "
            f"call may cost {self._budget.most(request):.4f}. Raise llm.max_cost_usd and resume; nothing that was answered is lost"
        )

    def _time_is_up(self) -> None:
        self._brake.pull(
            StoppedError(f"llm.run_timeout_s ({self.limits.run_timeout_s:g} s) is over: resume, nothing that was answered is lost")
        )

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            self._notify(text)

    def _line(self, endpoint: Endpoint) -> Line:
        name = (endpoint, endpoint.api_key)  # an endpoint is equal to one with another key
        if name not in self._lines:
            self._lines[name] = Line(endpoint, self._run)
        return self._lines[name]

    async def _close(self) -> None:
        writing = None if self._writer is None else self._writer.task
        running = asyncio.all_tasks() - {asyncio.current_task(), writing}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSING_S)
        if self._writer is not None:
            await self._writer.drain()
        for line in self._lines.values():
            await line.close()


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
