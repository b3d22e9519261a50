"""The HTTP application: routes over a `LiveService`, behind keys."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ragtrial import __version__
from ragtrial.api import routes_asking, routes_comparing, routes_experiments, routes_openai, routes_operation
from ragtrial.api.access import Gatekeeper, KeyGate, Needs, OpenGate
from ragtrial.api.border import MAX_BODY_BYTES, Border
from ragtrial.api.errors import handle_errors
from ragtrial.api.logs import log
from ragtrial.api.parts import Analyse, FreshAnalysis, Parts
from ragtrial.domain.access import ApiKey
from ragtrial.errors import RagtrialError
from ragtrial.serving.service import LiveService

FindKey = Callable[[str], ApiKey | None]
"""Looks up the key behind a token in the database."""

_ABOUT = """Answers questions from one of two arms, logs every trial, and takes votes.

Send `Authorization: Bearer rt_<prefix>_<secret>`. Each route names the scope that it needs; `ragtrial keys create` makes keys.
"""
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """How the service is exposed.

    Attributes:
        open_metrics: `/metrics` needs no key.
        cors_origins: Origins whose pages may call it; empty: none.
        rate_per_minute: Of keys that have no rate of their own; None: no limit.
        max_body_bytes: Larger bodies get 413.
        warm_first: Take connections only when the service is warm, and end the process where it can't be; else take them at once and let
            `/readyz` say when.
    """

    open_metrics: bool = False
    cors_origins: Sequence[str] = ()
    rate_per_minute: int | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    warm_first: bool = False


def create_app(
    service: LiveService,
    keys: FindKey | None,
    *,
    sql_url: str,
    analyse: Analyse | None = None,
    options: ApiOptions = ApiOptions(),
    on_failure: Callable[[RagtrialError], None] | None = None,
    on_close: Callable[[], None] | None = None,
) -> FastAPI:
    """The application; it starts the service when it starts, and closes it when it ends.

    Args:
        service: Not started yet.
        keys: Finds keys; it may block. None admits everyone as admin, to requests for loopback names alone.
        sql_url: The log, for the routes that read it.
        analyse: Analyses the served experiment; it may block.
        options: How it is exposed.
        on_failure: Told once where the service can't be started (without `warm_first`).
        on_close: Called last of all; it may block.
    """
    app = FastAPI(
        title="ragtrial",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # its page loads scripts from another host
        redoc_url=None,
        openapi_url=None,  # behind a key: routes_operation.openapi
        lifespan=_lifespan(service, options, on_failure, on_close),
        # FastAPI makes the server span. Its log records hold what users typed, and spans of its own steps tell nothing here.
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "auto_configure": False, "exclude": _is_probe},
    )
    app.state.parts = Parts(service=service, sql_url=sql_url, analysis=FreshAnalysis(analyse))
    app.state.gate = _gate(keys, options)
    handle_errors(app)
    for router in (
        routes_asking.router,
        routes_comparing.router,
        routes_openai.router,
        routes_experiments.router,
        routes_operation.router,
        routes_operation.metrics_router(open_to_all=options.open_metrics),
    ):
        app.include_router(router)
    if keys is None:  # a web page that gets its name resolved to loopback must not be an admin
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    if options.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Border, max_body_bytes=options.max_body_bytes)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app


def _gate(keys: FindKey | None, options: ApiOptions) -> Gatekeeper:
    if keys is None:
        return OpenGate()
    return KeyGate(keys, per_minute=options.rate_per_minute)


def _is_probe(scope: Any) -> bool:
    return scope.get("path") in ("/healthz", "/readyz", "/metrics")


def _lifespan(
    service: LiveService, options: ApiOptions, on_failure: Callable[[RagtrialError], None] | None, on_close: Callable[[], None] | None
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    async def start() -> None:
        try:
            await service.start()
        except RagtrialError as error:
            log.error("the service can't start", extra={"kind": type(error).__name__, "detail": str(error)})
            if on_failure is not None:
                on_failure(error)
            raise
        log.info("ready", extra={"experiment": service.experiment.name})

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(start())
        if options.warm_first:
            await starting
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await service.close()
            app.state.parts.close()
            if on_close is not None:
                await asyncio.to_thread(on_close)
            log.info("closed; everything that was acknowledged is in the log's database")

    return lifespan


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with each route's scope, and without the 422s that it adds: what can't be used is 400 here."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = FastAPI.openapi(app)
    for route in iter_route_contexts(app.routes):
        for method in set(route.methods or ()) if route.path in document["paths"] else ():
            operation = document["paths"][route.path][method.lower()]
            operation["responses"].pop("422", None)
            scopes = [guard.call.scope for guard in route.dependant.dependencies if isinstance(guard.call, Needs)]
            operation["description"] += f"\n\nScope: {scopes[0] if scopes else 'none'}."
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document
