"""What the calls of this process came to, and the cap on it."""

import asyncio
import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, field

from ragtrial.errors import InputError
from ragtrial.llm.chat import ChatRequest, Completion
from ragtrial.llm.prices import PriceTable

_FRAME_TOKENS = 64
"""More than what chat templates put around two messages."""


@dataclass(kw_only=True)
class Spending:
    """Counts since the gate was opened.

    Attributes:
        completions: Answers that were paid for now.
        from_cache: Answers that were not.
        shared: Questions that were asked twice at the same moment, and answered once.
        attempts: Requests that were sent, probes of an endpoint that seemed dead among them.
        retried: Failed attempts that were tried again, by class.
        failed: Calls that failed for good, by class.
        prompt_tokens: Of completions that tell.
        completion_tokens: Of completions that tell.
        cost_usd: Of everything that has a price: completions, and answers that were of no use (refused, cut, malformed).
        saved_usd: What the answers from the cache cost when they were made.
        unpriced: Requests whose cost `cost_usd` leaves out: the model or its tokens have no price, or the provider may bill what never
            arrived (timeouts, cut connections).
    """

    completions: int = 0
    from_cache: int = 0
    shared: int = 0
    attempts: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    unpriced: int = 0

    def paid(self, completion: Completion) -> None:
        """Count an answer that came now; its cost is billed already."""
        self.completions += 1
        self.prompt_tokens += completion.prompt_tokens or 0
        self.completion_tokens += completion.completion_tokens or 0

    def billed(self, cost_usd: float | None) -> None:
        """Count what a request cost, be its answer of use or not; None where that is unknown."""
        self.cost_usd += cost_usd or 0.0
        self.unpriced += cost_usd is None

    def reused(self, completion: Completion) -> None:
        """Count an answer that was there."""
        self.from_cache += 1
        self.saved_usd += completion.cost_usd or 0.0

    def summary(self) -> str:
        """One sentence for people."""
        parts = [f"{self.completions:,} calls to the LLM answered"]
        if self.from_cache or self.shared:
            parts.append(f"{self.from_cache + self.shared:,} taken from the cache")
        if self.retried:
            parts.append("tried again: " + _listed(self.retried))
        if self.failed:
            parts.append("failed: " + _listed(self.failed))
        parts.append(self.money())
        return ", ".join(parts)

    def money(self) -> str:
        """What it cost, as far as prices are known."""
        if self.unpriced and not self.cost_usd:
            return f"cost unknown ({self.unpriced:,} without a price)"
        more = f", without {self.unpriced:,} of unknown cost" if self.unpriced else ""
        return f"{self.cost_usd:,.4f} USD{more}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))


class Budget:
    """A cap that holds: what a call may cost at most is set aside before it is sent. For one event loop.

    Args:
        cap_usd: None is no cap.
        prices: What calls cost.
    """

    def __init__(self, cap_usd: float | None, prices: PriceTable) -> None:
        self.cap_usd, self._prices = cap_usd, prices
        self.spent_usd = 0.0
        self._reserved: dict[int, float] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    async def reserve(self, request: ChatRequest) -> int | None:
        """Set aside what the request may cost, under a number for `settle`; waits while others hold what is left.

        None where the cap is reached.

        Raises:
            InputError: There is a cap, and the model has no price.
        """
        most = 0.0 if self.cap_usd is None else self.most(request)
        while self.cap_usd is not None and self.spent_usd + math.fsum(self._reserved.values()) + most > self.cap_usd:
            if not self._reserved:
                return None
            self._changed.clear()
            await self._changed.wait()
        number = next(self._numbers)
        self._reserved[number] = most
        return number

    def settle(self, number: int, cost_usd: float | None) -> None:
        """The call is over: what it cost; where that is unknown, what was set aside counts."""
        most = self._reserved.pop(number)
        self.spent_usd += most if cost_usd is None else cost_usd
        self._changed.set()

    def most(self, request: ChatRequest) -> float:
        """No less than what the request can cost: tokenizers that work on bytes make no more tokens than there are bytes."""
        price = self._prices.price(request.endpoint.model)
        if price is None:
            raise InputError(
                f"llm.max_cost_usd is set, but {request.endpoint.model!r} has no price: enter it in a price table (llm.prices), "
                "or leave the cap out"
            )
        schema = 0 if request.schema is None else len(json.dumps(request.schema))
        return price.cost(request.n_bytes + schema + _FRAME_TOKENS, request.sampling.max_tokens)
