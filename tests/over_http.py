"""An application on a free port of loopback, and a service behind it that does what its queries say."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import httpx
import uvicorn
from fastapi import FastAPI

from ragtrial.api.logs import log_configuration
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Arm, EmbeddingSpec, Experiment, MetricsPlan
from ragtrial.domain.live import LiveMetrics, LiveSpec, TrafficState
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.trial import Usage
from ragtrial.errors import AnswerFailedError, OverloadedError, StartingError, StoreError
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.service import Question, Readiness, Served, Source


class StandIn:
    """A service that does what its queries say: `fault`, `overloaded`, `starting`, `failing`, `store`, `slow`; anything else is answered.

    Args:
        starts_after_s: How long it takes to get warm.
    """

    def __init__(self, *, starts_after_s: float = 0.0) -> None:
        live = {"metrics": LiveMetrics(primary=PrimaryMetric(name="copied"))}
        model = EmbeddingSpec(provider="hashing", model="a")
        arms = (Arm(name="baseline", role="control", embedding=model), Arm(name="custom", role="treatment", embedding=model))
        metrics = MetricsPlan(primary=PrimaryMetric(name="nDCG@10"))
        self.experiment = Experiment(
            name="stand-in", hypothesis="", data=DataSpec(path="x"), arms=arms, metrics=metrics, live=LiveSpec(**live)
        )
        self.counts = ServingCounts("stand-in")
        self.warm, self.closed, self.asked = False, False, 0
        self._starts_after_s = starts_after_s

    async def start(self) -> None:
        await asyncio.sleep(self._starts_after_s)
        self.warm = True

    async def close(self) -> None:
        self.closed = True

    def ready(self) -> Readiness:
        return Readiness(warm=self.warm)

    def state(self) -> TrafficState:
        return TrafficState(version=1, share=1.0, treatment=0.5)

    async def ask(self, question: Question) -> Served:
        self.asked += 1
        match question.text:
            case "fault":
                raise ZeroDivisionError("a message with the user's secret words")
            case "overloaded":
                raise OverloadedError("too many questions wait", retry_after_s=1.2)
            case "starting":
                raise StartingError("the service is starting", retry_after_s=1.0)
            case "failing":
                raise AnswerFailedError("trial_f", "generate: rate_limit")
            case "store":
                raise StoreError("database '/secret/path' is out of reach")
            case "slow":
                await asyncio.sleep(1.0)
        source = Source(passage_id="p1", title="Quay", text="The quay is long.", cited=True)
        usage = Usage(prompt_tokens=12, completion_tokens=5) if question.text == "tokens" else Usage()
        abstained = question.text == "abstain"
        answer = "" if abstained else f"  Answer to\n{question.text}, for {question.unit}. "
        return Served(
            trial_id="trial_1",
            arm="custom",
            reason="split",
            answer=answer,
            abstained=abstained,
            sources=(source,),
            usage=usage,
            waited_ms=1.0,
        )


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve on a free port, in a thread; the root address."""
    config = uvicorn.Config(app, port=0, log_config=log_configuration("warning"), access_log=False, ws="none", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until_ready(url: str, *, within_s: float = 60.0) -> None:
    """Wait until /readyz says 200."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the service at {url} is not ready after {within_s} s")
