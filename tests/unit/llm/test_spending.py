"""What is counted, and a cap that holds whatever happens."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtrial.errors import InputError
from ragtrial.llm.chat import Completion
from ragtrial.llm.spending import Budget, Spending
from unit.llm.asking import PRICES, SCHEMA, ask

URL = "http://somewhere/v1"


def completion(**more: Any) -> Completion:
    return Completion(key="k", text="t", model="m", elapsed_ms=1.0, **more)


def test_the_summary_names_all_that_happened():
    spending = Spending(shared=2, retried=Counter(rate_limit=3, server=1), failed=Counter(malformed=4))
    for _ in range(1500):
        spending.paid(completion(prompt_tokens=10, completion_tokens=1))
        spending.billed(0.001)
    spending.billed(None)
    spending.reused(completion(cost_usd=0.25))
    assert spending.summary() == (
        "1,500 calls to the LLM answered, 3 taken from the cache, tried again: 3 rate_limit, 1 server, failed: 4 malformed, "
        "1.5000 USD, without 1 of unknown cost"
    )
    assert (spending.prompt_tokens, spending.completion_tokens, spending.saved_usd) == (15_000, 1_500, 0.25)


def test_an_unknown_cost_is_not_0_usd():
    spending = Spending()
    assert spending.money() == "0.0000 USD"
    spending.billed(None)
    assert spending.money() == "cost unknown (1 without a price)"


def test_a_reservation_is_no_less_than_the_call_can_cost():
    """One token for each byte, which no byte-level tokenizer exceeds, the schema and the chat's frame among them."""
    budget, request = Budget(1.0, PRICES), ask(URL, "四十箱", schema=SCHEMA)
    n_bytes = len("You answer.") + len("四十箱".encode()) + len('{"type": "object"}')
    assert budget.most(request) > (n_bytes * 1.0 + 50 * 2.0) / 1e6


def test_a_cap_for_a_model_without_a_price_is_refused():
    with pytest.raises(InputError, match=r"'other' has no price: enter it in a price table \(llm\.prices\)"):
        Budget(1.0, PRICES).most(ask(URL, endpoint={"model": "other"}))


def test_without_a_cap_a_price_is_not_needed():
    async def run() -> None:
        budget = Budget(None, PRICES)
        number = await budget.reserve(ask(URL, endpoint={"model": "other"}))
        assert number is not None
        budget.settle(number, 3.0)
        assert budget.spent_usd == 3.0

    asyncio.run(run())


@given(
    share=st.floats(0.0, 30.0),
    costs=st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), min_size=1, max_size=60),
    at_once=st.integers(1, 20),
)
def test_whatever_calls_cost_within_their_reservation_the_cap_holds_and_nobody_waits_for_ever(share: float, costs: list[Any], at_once: int):
    async def run() -> None:
        request = ask(URL)
        most = Budget(None, PRICES).most(request)
        budget, places, went = Budget(share * most, PRICES), asyncio.Semaphore(at_once), 0

        async def call(cost: float | None) -> None:
            nonlocal went
            async with places:
                number = await budget.reserve(request)
                if number is None:
                    return
                went += 1
                await asyncio.sleep(0)
                budget.settle(number, None if cost is None else cost * most)

        await asyncio.wait_for(asyncio.gather(*(call(cost) for cost in costs)), 30)
        assert budget.spent_usd <= budget.cap_usd * (1 + 1e-9)
        if went < len(costs):  # it gave up only where there was truly no room for another
            assert budget.spent_usd + most > budget.cap_usd * (1 - 1e-9)

    asyncio.run(run())
