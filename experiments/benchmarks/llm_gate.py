"""The gate to LLMs against a bare `AsyncOpenAI` client and against RAGAS, making as many calls to the same server, in one run.

The server is a process of its own that takes 200 ms for each answer. Ours keeps every answer on disk before it counts; the bare client
(on the SDK's faster transport, behind a semaphore) keeps nothing. RAGAS scores `ContextRecall`, which takes one call a sample, by its
own runner. Then, from the cache: completions and
judged answers per second.

    python experiments/benchmarks/llm_gate.py
    python experiments/benchmarks/llm_gate.py --calls 640 --repeats 5 --without-ragas
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
from measuring import REPOSITORY, ratios, say

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import ChatRequest, Completion, Endpoint, Sampling
from ragtrial.llm.gate import Gate, Limits
from ragtrial.llm.prices import read_prices
from ragtrial.scoring.judge import JudgeScorer

MODEL, KEY = "gpt-4o-mini", "none-needed"
AT_MOST_BARE, AT_MOST_RAGAS, AT_LEAST_CACHED = 1.15, 0.5, 1000.0
SYSTEM = "You judge whether an answer is right."
PASSAGE = "A truck may pass the portal fifteen minutes before its slot; the barrier opens by itself. " * 12
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string"}, "verdict": {"enum": ["correct", "wrong"]}},
    "required": ["rationale", "verdict"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
ANSWER = '{"classifications": [{"statement": "it is so", "reason": "the passage says it", "attributed": 1}], "rationale": "so", "verdict": "correct"}'
_salts = itertools.count()


@contextlib.contextmanager
def server(delay_ms: float) -> Iterator[str]:
    """A scripted server in a process of its own; its address."""
    command = [sys.executable, str(REPOSITORY / "tests" / "scripted_llm.py"), "--delay-ms", str(delay_ms), "--text", ANSWER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def materials(n: int) -> list[str]:
    """What is judged, never the same again."""
    salt = next(_salts)
    return [f"Question {salt}.{number}\n\n{PASSAGE}" for number in range(n)]


def requests_of(url: str, users: list[str]) -> list[ChatRequest]:
    endpoint = Endpoint(base_url=url, model=MODEL, api_key=KEY)
    return [
        ChatRequest(endpoint=endpoint, system=SYSTEM, user=user, prompt="bench/1", sampling=Sampling(), schema=SCHEMA, purpose="bench")
        for user in users
    ]


class Ours:
    """`Gate.complete` with a cache on disk; the gate stays open, as it does for a run."""

    def __init__(self, url: str, cache: CallCache, concurrency: int) -> None:
        self.url = url
        self.gate = Gate(Limits(concurrency=concurrency), prices=read_prices(), cache=cache)

    def __call__(self, n: int) -> None:
        outcomes = self.gate.complete(requests_of(self.url, materials(n)))
        assert all(isinstance(outcome, Completion) for outcome in outcomes)


class Bare:
    """The SDK's client on its faster transport, behind a semaphore."""

    def __init__(self, url: str, concurrency: int) -> None:
        self.loop, self.places = asyncio.new_event_loop(), asyncio.Semaphore(concurrency)
        limits = openai.DEFAULT_CONNECTION_LIMITS.__class__(max_connections=concurrency, max_keepalive_connections=concurrency)
        self.client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, http_client=openai.DefaultAioHttpClient(limits=limits))

    async def _one(self, user: str) -> str:
        async with self.places:
            answer = await self.client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}],
                temperature=0.0,
                max_tokens=512,
                response_format=RESPONSE_FORMAT,  # type: ignore[arg-type]  # a plain dictionary is as good
            )
        return answer.choices[0].message.content or ""

    async def _all(self, n: int) -> None:
        texts = await asyncio.gather(*(self._one(user) for user in materials(n)))
        assert all(texts)

    def __call__(self, n: int) -> None:
        self.loop.run_until_complete(self._all(n))

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())


class Ragas:
    """RAGAS' own way: its runner (`Executor`, which `evaluate()` is made of) over a metric's `ascore`.

    As it comes it has 16 workers, so most of what we gain on it is concurrency; beside that, it with as many workers as we have places.
    """

    def __init__(self, url: str, workers: int | None) -> None:
        os.environ["RAGAS_DO_NOT_TRACK"] = "true"
        from ragas.llms import llm_factory
        from ragas.metrics.collections import ContextRecall
        from ragas.run_config import RunConfig

        self.loop, self.settings = asyncio.new_event_loop(), RunConfig() if workers is None else RunConfig(max_workers=workers)
        self.client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)
        self.metric = ContextRecall(llm=llm_factory(MODEL, client=self.client))

    async def _all(self, n: int) -> None:
        from ragas.executor import Executor

        runner = Executor(show_progress=False, raise_exceptions=True, run_config=self.settings)
        for user in materials(n):
            runner.submit(self.metric.ascore, user_input=user, retrieved_contexts=[PASSAGE], reference="fifteen minutes")
        values = [result.value for result in await runner.aresults()]
        assert len(values) == n
        assert all(value == value for value in values), "ragas could not score"  # NaN is not itself

    def __call__(self, n: int) -> None:
        self.loop.run_until_complete(self._all(n))

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())


def cached_per_second(ours: Ours, n: int, repeats: int) -> list[float]:
    """Completions from the cache a second."""
    requests = requests_of(ours.url, materials(n))
    ours.gate.complete(requests)
    rates = []
    for _ in range(repeats):
        fresh = requests_of(ours.url, [request.user for request in requests])  # keys are computed anew
        start = time.perf_counter()
        outcomes = ours.gate.complete(fresh)
        rates.append(n / (time.perf_counter() - start))
        assert all(isinstance(outcome, Completion) and outcome.from_cache for outcome in outcomes)
    return rates


def scorings_per_second(ours: Ours, n: int, repeats: int) -> list[float]:
    """Answers a second that our judge scores where all its calls are in the cache."""
    passage = Passage(passage_id="p", document_id="d", text=PASSAGE, start=0, end=len(PASSAGE))
    queries = tuple(Query(query_id=str(i), text=text[:60], answers=("fifteen minutes",)) for i, text in enumerate(materials(n)))
    gold = GoldSet(name="bench", queries=queries, judgments=())
    ranking = (Hit(passage_id="p", similarity=1.0),)
    trials = [
        Trial(
            arm="a",
            query_id=query.query_id,
            ranking=Ranking(query_id=query.query_id, hits=ranking),
            answer=Answer(text=f"Fifteen minutes, {query.query_id}.", generator="bench/1"),
        )
        for query in queries
    ]
    judge = JudgeScorer(
        [metric_named("judge_correctness")],
        gate=ours.gate,
        endpoint=Endpoint(base_url=ours.url, model=MODEL, api_key=KEY),
        sampling=Sampling(),
        passages={"p": passage},
        context_passages=1,
        repetitions={},
        control="a",
        treatment="b",
    )
    judge.score(trials, gold)
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        rows = judge.score(trials, gold)
        rates.append(n / (time.perf_counter() - start))
        assert all(score.value is not None for row in rows for score in row)
    return rates


def profiled(work: Callable[[], object], ours: Ours) -> None:
    """What the gate's thread does meanwhile, by its own time."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    ours.gate._loop.call_soon_threadsafe(profile.enable)  # noqa: SLF001  # a benchmark may look inside
    work()
    ours.gate._loop.call_soon_threadsafe(profile.disable)  # noqa: SLF001
    time.sleep(0.2)
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1280, help="calls of each run (default 1,280)")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay-ms", type=float, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-ragas", action="store_true", help="leave RAGAS out (it needs the extra [ragas])")
    parser.add_argument("--profile", action="store_true", help="print where the gate's thread spends its time, and measure nothing")
    given = parser.parse_args()
    n = given.calls
    with tempfile.TemporaryDirectory() as folder, server(given.delay_ms) as url, CallCache(Path(folder)) as cache:
        ours, bare = Ours(url, cache, given.concurrency), Bare(url, given.concurrency)
        ours(2 * given.concurrency)
        bare(2 * given.concurrency)
        if given.profile:
            profiled(lambda: ours(n), ours)
        else:
            ideal = n / given.concurrency * given.delay_ms / 1000
            print(f"{n:,} calls of {given.delay_ms:g} ms, {given.concurrency} at once: {ideal:.2f} s at best")
            say("wall time over a bare client's", ratios(lambda: ours(n), lambda: bare(n), repeats=given.repeats), at_most=AT_MOST_BARE)
            for workers in () if given.without_ragas else (None, given.concurrency):
                ragas = Ragas(url, workers)
                ragas(given.concurrency)
                found = ratios(lambda: ours(n), lambda ragas=ragas: ragas(n), repeats=given.repeats)
                ragas.close()
                at_once = "as it comes (16 at once)" if workers is None else f"{workers} at once"
                say(f"wall time over RAGAS' runner, {at_once}", found, at_most=AT_MOST_RAGAS)
            rates = cached_per_second(ours, n, given.repeats)
            print(f"completions from the cache: median {statistics.median(rates):,.0f} a second")
            scorings = statistics.median(scorings_per_second(ours, n, given.repeats))
            print(f"answers judged from the cache: median {scorings:,.0f} a second (goal: at least {AT_LEAST_CACHED:,.0f})")
        ours.gate.close()
        bare.close()


if __name__ == "__main__":
    main()
