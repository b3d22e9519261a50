"""Every error as a response: a status, and a body in OpenAI's shape, which its clients read and nobody else minds.

What was given and can't be used is 400 throughout, whoever found it: the JSON parser, the wire models, or the service.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ragtrial.api.logs import log
from ragtrial.api.wire import ErrorDetail, ErrorOut
from ragtrial.errors import (
    AnswerFailedError,
    ConflictError,
    InputError,
    NotEnoughDataError,
    OverloadedError,
    RagtrialError,
    SetupError,
    StartingError,
    TreatmentStoppedError,
    UnknownComparisonError,
    UnknownSourceError,
    UnknownTrialError,
)

RETRY_S = 1.0
"""When to come back to a store that is out of reach."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "insufficient_permissions",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "answer_failed",
    503: "unavailable",
}
_WORDS = {
    400: "What was given can't be used",
    401: "No key, or one that is unknown or revoked",
    403: "The key's role does not allow it",
    404: "There is no such thing",
    409: "It was changed meanwhile, it is stopped, or there is not enough to go by yet",
    413: "The body is too large",
    429: "More requests than the key may make; see Retry-After",
    500: "A fault of the service, logged under the id in the message",
    502: "The answer failed; the failed trial is logged",
    503: "Too much to do, not warm yet, or a store is out of reach; see Retry-After",
}

_SAID: tuple[tuple[type[RagtrialError], int, str | None, str | None], ...] = (
    (UnknownTrialError, 404, "trial_id", "unknown_trial"),
    (UnknownComparisonError, 404, "comparison_id", "unknown_comparison"),
    (UnknownSourceError, 400, "passage_id", "unknown_source"),
    (InputError, 400, None, None),
    (ConflictError, 409, None, None),
    (TreatmentStoppedError, 409, None, "stopped"),
    (NotEnoughDataError, 409, None, "not_enough_data"),
)
"""Errors whose words are for whoever asked; the first that fits counts."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of these errors, and of those that every route has."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400, 401, 403, 413, 429, 500, 503}):
        found[status] = {"model": ErrorOut, "description": _WORDS[status]}
        if status in (429, 503):
            found[status]["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return found


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    trial_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as it goes over the wire; half surrogate pairs, which JSON can carry and UTF-8 can't, become question marks."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    detail = ErrorDetail(
        message=_encodable(message),
        type=kind,
        param=None if param is None else _encodable(param),
        code=code or _CODES.get(status),
        trial_id=trial_id,
    )
    content = ErrorOut(error=detail).model_dump_json(exclude=None if trial_id is not None else {"error": {"trial_id"}})
    return Response(content, status_code=status, media_type="application/json", headers=dict(headers or {}))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def retry_after(seconds: float) -> dict[str, str]:
    """The header, in whole seconds, at least 1."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def of_ragtrial(error: RagtrialError) -> Response:
    """An error of ours; what may name paths and hosts is said in the log alone."""
    for kind, status, param, code in _SAID:
        if isinstance(error, kind):
            return error_response(status, str(error), param=param, code=code)
    match error:
        case StartingError(retry_after_s=seconds):
            return error_response(503, str(error), code="starting", headers=retry_after(seconds))
        case OverloadedError(retry_after_s=seconds):
            return error_response(503, str(error), code="overloaded", headers=retry_after(seconds))
        case AnswerFailedError():
            return error_response(502, f"the answer failed ({error.failure})", trial_id=error.trial_id)
        case SetupError():
            log.error("a store or model is out of reach", extra={"kind": type(error).__name__, "detail": str(error)})
            return error_response(503, "a store that this needs is out of reach; try again", headers=retry_after(RETRY_S))
    raise error


def problem_of(error: Mapping[str, Any]) -> tuple[str, str]:
    """Where a validation problem is, and what it is, without what was given."""
    if error["type"] == "json_invalid":
        return "", f"the body is no JSON: {error['ctx']['error']} at character {error['loc'][-1]}"
    where, given = ".".join(str(part) for part in error["loc"][1:]), error.get("input")
    if error["type"] in ("string_too_short", "string_pattern_mismatch") and isinstance(given, str):
        if not given.strip():
            return where, f"{where} is blank"
        if "\0" in given:
            return where, f"{where} holds a NUL character, which no database takes"
    return where, f"{where}: {error['msg']}" if where else error["msg"]


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    if not _is_json(request) and any(found["loc"] == ("body",) for found in error.errors()):
        return error_response(400, "send Content-Type: application/json")
    problems = [problem_of(found) for found in error.errors()]
    return error_response(400, "; ".join(message for _, message in problems[:10]), param=problems[0][0] or None)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    unrouted = error.status_code == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase  # the router's own words
    message = "no such route: see /openapi.json" if unrouted else str(error.detail)
    return error_response(error.status_code, message, headers=error.headers)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, RagtrialError)  # noqa: S101
    if isinstance(error, AnswerFailedError):
        request.state.trial_id = error.trial_id
    return of_ragtrial(error)


def handle_errors(app: FastAPI) -> None:
    """Register the handlers; what they don't know is caught by `border.Border`."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RagtrialError, _ours)
