"""A server that speaks OpenAI's chat protocol over a socket, and misbehaves as it is told.

`ScriptedLlm` runs in a thread of the test; `python scripted_llm.py --delay-ms 200` runs it as a process, for benchmarks and kill tests.
"""

import argparse
import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server does with a request.

    `text` is the model's answer; `raw` the whole body instead of a completion. `abort_after` bytes of the body the connection is cut;
    `trickle_s` is the pause between bytes of the body.
    """

    text: str = "yes"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: str | None = None
    delay_s: float = 0.0
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: Mapping[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})
    model: str = "scripted-model"
    abort_after: int | None = None
    trickle_s: float | None = None

    def body(self) -> str:
        """What goes over the wire."""
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": f"scripted {self.status}", "type": "error", "code": None}})
        message = {"role": "assistant", "content": None if self.refusal else self.text, "refusal": self.refusal}
        return json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": self.model,
                "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": None}],
                "usage": self.usage,
            }
        )


Script = Callable[[dict[str, Any], int], Reply]
"""The request's JSON and its number from 0, to what to do."""


class ScriptedLlm:
    """The server; `script` may be changed while it runs. A `port` that is given is that of a server that was there before."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self._port = port
        self.script: Script = script or (lambda _request, _number: Reply())
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.answered = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self.start(self._port), self._loop).result()
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away, connections and all."""
        if self._runner is None:
            return
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._runner = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def start(self, port: int) -> int:
        """Listen; the port."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/count", self._count)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _count(self, _request: web.Request) -> web.Response:
        counts = {"requests": len(self.requests), "answered": self.answered, "most_in_flight": self.most_in_flight}
        return web.json_response(counts)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        number = len(self.requests)
        self.requests.append(asked)
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._reply(request, self.script(asked, number))
        finally:
            self.in_flight -= 1

    async def _reply(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        body = reply.body().encode()
        if reply.status == 200:
            self.answered += 1
        if reply.abort_after is None and reply.trickle_s is None:
            return web.Response(body=body, status=reply.status, headers=reply.headers, content_type="application/json")
        response = web.StreamResponse(status=reply.status, headers={"content-type": "application/json", "content-length": str(len(body))})
        await response.prepare(request)
        if reply.abort_after is not None:
            await response.write(body[: reply.abort_after])
            if request.transport is not None:
                request.transport.abort()
            return response
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(reply.trickle_s or 0)
        return response


def user_text(asked: Mapping[str, Any]) -> str:
    """What stands in the user's message."""
    return str(asked["messages"][-1]["content"])


def sensible(asked: Mapping[str, Any], delay_s: float = 0.0, otherwise: str = "It is so [1].") -> Reply:
    """An answer of the asked form, deterministic in the request: a value that keeps the schema, or `otherwise` where there is none."""
    wanted = asked.get("response_format", {}).get("json_schema", {}).get("schema")
    text = json.dumps(example(wanted, user_text(asked))) if wanted else otherwise
    n_prompt = sum(len(message["content"]) for message in asked["messages"]) // 4
    usage = {"prompt_tokens": n_prompt, "completion_tokens": len(text) // 4, "total_tokens": n_prompt + len(text) // 4}
    return Reply(text=text, usage=usage, delay_s=delay_s, model=str(asked["model"]))


def example(schema: Mapping[str, Any], salt: str, definitions: Mapping[str, Any] | None = None) -> Any:
    """A value that keeps the schema: a choice by the salt's length where there is one."""
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return example(definitions[re.sub(r".*/", "", schema["$ref"])], salt, definitions)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], salt, definitions)
    if "enum" in schema:
        return schema["enum"][len(salt) % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            return {name: example(part, salt, definitions) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [example(schema["items"], salt, definitions)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "null":
            return None
    return "as the passage says"


async def _serve(port: int, delay_s: float, otherwise: str) -> None:
    server = ScriptedLlm(lambda asked, _number: sensible(asked, delay_s, otherwise))
    print(await server.start(port), flush=True)  # noqa: T201  # whoever started the process waits for the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--text", default="It is so [1].", help="the answer where no schema is asked for")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.delay_ms / 1000, options.text))
