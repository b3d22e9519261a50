"""What machines call: health, readiness, metrics, the OpenAPI document."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from ragtrial.api.access import Needs
from ragtrial.api.errors import RETRY_S, responses, retry_after
from ragtrial.api.parts import Parts, parts_of
from ragtrial.api.wire import HealthOut, ReadyOut

Given = Annotated[Parts, Depends(parts_of)]

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="The process lives")
async def healthz() -> HealthOut:
    """200 while the process lives; it says nothing about models or stores."""
    return HealthOut()


@router.get(
    "/readyz",
    summary="Requests can be answered",
    responses={503: {"model": ReadyOut, "description": "Not warm yet, or a store is out of reach: which one"}},
)
async def readyz(parts: Given, response: Response) -> ReadyOut:
    """200 when the models are warm and the log's database and Milvus answer."""
    found = parts.service.ready()
    if not found.ok:
        response.status_code = 503
        response.headers.update(retry_after(RETRY_S))
    return ReadyOut(
        ready=found.ok,
        warm=found.warm,
        database=_out_of_reach(found.database),
        milvus=_out_of_reach(found.milvus),
        degraded=found.degraded is not None,
    )


def _out_of_reach(said: str | None) -> str | None:
    """Whoever may not read the log is told that, and not what: the message may name hosts and paths."""
    return None if said is None else "out of reach"


@router.get("/openapi.json", include_in_schema=False, dependencies=[Depends(Needs(None))])
async def openapi(request: Request) -> dict[str, Any]:
    """This service as an OpenAPI document."""
    document: dict[str, Any] = request.app.openapi()
    return document


def metrics_router(*, open_to_all: bool) -> APIRouter:
    """`/metrics`, for keys that may read, or for everyone who reaches the port."""
    metrics = APIRouter(tags=["operation"], dependencies=[] if open_to_all else [Depends(Needs("read"))])

    @metrics.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **({} if open_to_all else responses())},
    )
    async def counters(parts: Given) -> Response:
        """Requests by arm and outcome, waits, batches, queues, votes, what was shed; of this worker."""
        return Response(parts.service.counts.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return metrics
