"""A real HTTP server that speaks the live service's ask, feedback and events, remembers what it acknowledged, and misbehaves on demand."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Sources = Callable[[str, str], list[str]]
"""Query and unit to passage ids, best first; the first one is cited."""
Misdeed = Callable[[str, int], "web.Response | str | None"]
"""Path and number of the request (from 0) to another reply, `hang up after` (does its work and breaks the connection), or None."""


@dataclass(kw_only=True)
class LiveServer:
    """What the service would have in its log.

    Attributes:
        sources: What an answer rests on.
        misdeed: What goes wrong.
        solicits: Every answer asks for a rating.
        experiment: What it says that it serves.
        trials: Trial id by idempotency key.
        asked: Query and unit, by trial.
        votes: Votes by key.
        signals: Signals by key.
        requests: Paths, in order of arrival.
    """

    sources: Sources
    misdeed: Misdeed = lambda _path, _number: None
    solicits: bool = False
    experiment: str = "cranes"
    url: str = ""
    trials: dict[str, str] = field(default_factory=dict)
    asked: dict[str, tuple[str, str]] = field(default_factory=dict)
    votes: dict[str, dict[str, Any]] = field(default_factory=dict)
    signals: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._between])
        app.router.add_post("/v1/ask", self._ask)
        app.router.add_post("/v1/feedback", self._vote)
        app.router.add_post("/v1/events", self._signal)
        app.router.add_get("/v1/experiments/{name}/analysis", self._analysis)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/readyz", self._ready)
        return app

    @web.middleware
    async def _between(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if request.path == "/readyz":
            return await handler(request)
        if request.headers.get("Authorization") != "Bearer right":
            return web.json_response({"error": {"message": "no such key"}}, status=401)
        if request.path == "/v1/models":
            return await handler(request)
        number = len(self.requests)
        self.requests.append(request.path)
        wrong = self.misdeed(request.path, number)
        if isinstance(wrong, web.Response):
            return wrong
        response = await handler(request)
        if wrong == "hang up after" and request.transport is not None:
            request.transport.close()
        return response

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "ragtrial", "object": "model", "created": 0, "owned_by": "ragtrial", "experiment": self.experiment}
        return web.json_response({"object": "list", "data": [model]})

    async def _ask(self, request: web.Request) -> web.Response:
        body, key = await request.json(), request.headers["Idempotency-Key"]
        trial_id = self.trials.setdefault(key, f"trial_{len(self.trials)}")
        self.asked[trial_id] = (body["query"], body["unit"])
        sources = [
            {"passage_id": p, "title": "", "text": p, "cited": not n} for n, p in enumerate(self.sources(body["query"], body["unit"]))
        ]
        answer = {"trial_id": trial_id, "answer": "so it is", "abstained": not sources, "sources": sources, "solicit_rating": self.solicits}
        return web.json_response({**answer, "logged": True, "replayed": False})

    async def _vote(self, request: web.Request) -> web.Response:
        return await self._keep(request, self.votes)

    async def _signal(self, request: web.Request) -> web.Response:
        return await self._keep(request, self.signals)

    async def _keep(self, request: web.Request, kept: dict[str, dict[str, Any]]) -> web.Response:
        body = await request.json()
        if body["trial_id"] not in self.asked:
            return web.json_response({"error": {"message": "unknown trial"}}, status=404)
        outcome = "repeated" if body["key"] in kept else "recorded"
        kept.setdefault(body["key"], body)
        return web.json_response({"outcome": outcome})

    async def _analysis(self, request: web.Request) -> web.Response:
        primary = {"role": "primary", "name": "nDCG@10", "effect": None, "reason": f"{len(self.trials)} trials so far"}
        content = {
            "format": "ragtrial-live/1",
            "experiment": {"name": request.match_info["name"]},
            "metrics": [primary],
            "progress": {"n_units": len({unit for _, unit in self.asked.values()}), "traffic": {"stopped": False}},
            "verdict": {"decision": "too few"},
        }
        return web.json_response(content)


@contextlib.contextmanager
def running(server: LiveServer) -> Iterator[LiveServer]:
    """The server on a free port in a thread of its own, stopped at the end."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(server.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def each(n: int, reply: Callable[[], "web.Response | str"]) -> Misdeed:
    """Every `n`-th request gets this reply."""
    counter = itertools.count(1)
    return lambda _path, _number: reply() if next(counter) % n == 0 else None
