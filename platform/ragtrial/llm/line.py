"""What belongs to one endpoint: its client, how much it can take, and whether it is there."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ragtrial.errors import StoppedError
from ragtrial.llm.brake import Brake
from ragtrial.llm.breaker import Breaker
from ragtrial.llm.chat import ChatRequest, Endpoint
from ragtrial.llm.client import AttemptError, ChatClient, Reply
from ragtrial.llm.limiter import AdaptiveLimiter
from ragtrial.llm.prices import PriceTable
from ragtrial.llm.spending import Budget, Spending

_LONGEST_BACKOFF_S = 60.0
_SAFE = "nothing that was answered is lost"


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

    def backoff(self, failures: int) -> float:
        """Longest waiting time in seconds after so many failures (from 1)."""
        return min(_LONGEST_BACKOFF_S, self.backoff_s * 2.0 ** min(failures - 1, 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the lines of a gate share.

    Attributes:
        limits: Of the gate.
        prices: For costs.
        spending: What is counted.
        budget: What holds the cap.
        brake: Pulled where the run has to stop.
        say: Tells the user, now and then.
        notify: Tells the user, every time.
    """

    limits: Limits
    prices: PriceTable
    spending: Spending
    budget: Budget
    brake: Brake
    say: Callable[[str], None]
    notify: Callable[[str], None]


class Line:
    """The way to one endpoint. For one event loop.

    Args:
        endpoint: Who is asked.
        run: What it shares with the other lines.
    """

    def __init__(self, endpoint: Endpoint, run: Run) -> None:
        self._endpoint, self._run = endpoint, run
        limits = run.limits
        self._client = ChatClient(
            endpoint, run.prices, timeout_s=limits.timeout_s, connections=limits.concurrency, sending=self._count, notify=run.notify
        )
        self._limiter = AdaptiveLimiter(limits.concurrency)
        self._breaker = Breaker(patience_s=limits.patience_s)
        self._warming: asyncio.Task[None] | None = None
        self._refusals = 0  # goes up with each crowd that was refused, down with each answer
        self._refused_since: float | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def enter(self, request: ChatRequest) -> None:
        """Wait for a place, and for the endpoint where it seems dead; `leave` must follow."""
        if self._warming is None:
            self._warming = asyncio.get_running_loop().create_task(self._client.warm())
        if not self._warming.done():
            await self._run.brake.wait_for(asyncio.wait([self._warming]))
        if not self._limiter.take():
            await self._run.brake.wait_for(self._limiter.acquire())
        try:
            if self._breaker.is_open:
                await self._run.brake.wait_for(self._breaker.admit(partial(self._probe, request)))
            self._run.brake.check()
        except BaseException:
            self._limiter.release()
            raise

    def leave(self) -> None:
        """Give the place back."""
        self._limiter.release()

    async def send(self, request: ChatRequest) -> Reply:
        """One attempt, and what it teaches about the endpoint.

        Raises:
            AttemptError: Anything but a usable answer.
        """
        sent_at = self._limiter.now()
        try:
            reply = await self._client.attempt(request)
        except AttemptError as error:
            self._learn(error, sent_at)
            raise
        self._breaker.succeeded()
        self._limiter.succeeded()
        self._refusals, self._refused_since = max(0, self._refusals - 1), None
        if reply.hold_s > 0:
            self._limiter.pause(min(reply.hold_s, self._run.limits.max_wait_s))
            self._run.say(f"{self._endpoint.name}: its quota is used up for now, waiting {reply.hold_s:.1f} s")
        return reply

    def _count(self) -> None:
        self._run.spending.attempts += 1

    def _learn(self, error: AttemptError, sent_at: float) -> None:
        if error.fatal:
            self._stop(f"{error.message.rstrip('. ')}. Mend it and resume; {_SAFE}")
        elif error.kind == "rate_limit":
            self._slow_down(error, sent_at)
        elif error.transient or error.kind == "bad_request":
            if self._breaker.failed(unreachable=error.unreachable):
                self._run.say(f"{self._endpoint.name}: {error.message}; calls wait until a probe tells whether it is alive")
        else:
            self._breaker.succeeded()
        if error.kind != "rate_limit":
            self._refused_since = None
            self._pause(error.retry_after_s or 0.0)

    def _slow_down(self, error: AttemptError, sent_at: float) -> None:
        """Fewer calls at once, and a pause: as long as the server asks, or else longer with each crowd that is refused."""
        limits = self._run.limits
        self._breaker.succeeded()
        self._refusals += self._limiter.refused(sent_at)
        now = self._limiter.now()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > limits.patience_s + limits.max_wait_s:
            self._stop(
                f"{self._endpoint.name} has answered nothing but 'too many requests' for {now - self._refused_since:,.0f} s: resume later"
            )
        if error.retry_after_s is None:
            asked = ""
            self._limiter.pause(min(limits.max_wait_s, limits.backoff(self._refusals) * random.uniform(0.5, 1.0)))  # noqa: S311  # jitter
        else:
            asked = f", waiting {error.retry_after_s:.1f} s as it asks"
            self._pause(error.retry_after_s)
        self._run.say(f"{self._endpoint.name}: too many requests (429){asked}; at most {self._limiter.size} at once now")

    def _pause(self, seconds: float) -> None:
        if seconds > self._run.limits.max_wait_s:
            self._stop(
                f"{self._endpoint.name} asks to wait {seconds:,.0f} s, more than llm.max_wait_s ({self._run.limits.max_wait_s:,.0f} s): "
                "resume later"
            )
        elif seconds:
            self._limiter.pause(seconds)

    async def _probe(self, request: ChatRequest) -> None:
        """Ask the same way, with next to no material: what fails now is the endpoint's fault, or that of the settings."""
        run, small = self._run, replace(request, user="Answer with the word yes.", repetition=0)
        number = await run.budget.reserve(small)
        if number is None:  # no money for a probe: let the call itself find that out
            self._breaker.succeeded()
            return
        cost: float | None = None
        try:
            cost = (await self._client.attempt(small)).completion.cost_usd
        except AttemptError as error:
            cost = error.cost_usd
            self._learn_from_probe(error)
        else:
            self._breaker.succeeded()
        finally:
            run.budget.settle(number, cost)
            run.spending.billed(cost)

    def _learn_from_probe(self, error: AttemptError) -> None:
        if error.kind == "bad_request" or error.fatal:
            self._stop(f"{self._endpoint.name} refuses every call ({error.message}). Mend it and resume; {_SAFE}")
        elif error.kind == "rate_limit":
            self._slow_down(error, self._limiter.now())
        elif not error.transient:
            self._breaker.succeeded()
        elif self._breaker.is_dead:
            self._stop(
                f"{self._endpoint.name} does not answer ({error.kind}: {error.message}): start it, or mend its base_url, and resume (--resume); {_SAFE}"
            )
        else:
            self._breaker.probe_failed()

    def _stop(self, message: str) -> None:
        self._run.brake.pull(StoppedError(message if _SAFE in message else f"{message}; {_SAFE}"))
