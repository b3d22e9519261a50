"""The service as OpenAI's chat API, so that its clients and common chat front ends take part without a change of code."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response, StreamingResponse

from ragtrial.api.access import Needs
from ragtrial.api.errors import error_response, responses
from ragtrial.api.parts import Parts, parts_of
from ragtrial.api.routes_asking import IdempotencyKey, TrustedUser, ask_service, asserted, source_out
from ragtrial.api.wire import NO_NUL
from ragtrial.api.wire_openai import (
    AnswerMessage,
    Beside,
    ChatChunk,
    ChatIn,
    ChatMessage,
    ChatOut,
    ChatUsage,
    Choice,
    ChunkChoice,
    ModelOut,
    ModelsOut,
)
from ragtrial.domain.access import ApiKey
from ragtrial.errors import InputError
from ragtrial.serving.service import Question, Served

MODEL = "ragtrial"
NO_ANSWER = "The documents hold no answer to this."
"""What a chat shows where the generator abstained; an empty message would look like a fault."""

_EVENT = {"type": "object", "properties": {"data": {"type": "string", "description": "A chunk as JSON, at the end `[DONE]`."}}}

Given = Annotated[Parts, Depends(parts_of)]
Asking = Annotated[ApiKey, Depends(Needs("ask"))]

router = APIRouter(tags=["openai"])


@router.post(
    "/v1/chat/completions",
    summary="Ask, as OpenAI's chat API",
    response_model=ChatOut,
    responses={
        **responses(404, 502),
        200: {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "The answer, or its chunks (`stream`)"},
    },
)
async def chat_completions(
    request: Request, body: ChatIn, parts: Given, key: Asking, idempotency_key: IdempotencyKey = None, user: TrustedUser = None
) -> Any:
    """Answer the last message of the user. The trial is in the database before the first chunk leaves."""
    if body.model not in _names(parts):
        return _no_model(body.model)
    if body.n not in (None, 1):
        return error_response(400, f"n is {body.n}: this service gives one answer", param="n")
    named = _unit(body)
    question = Question(
        text=_question(body.messages),
        unit=asserted(request, user, key) or named,
        caller=key.name,
        idempotency_key=idempotency_key,
        query_at=time.time(),
    )
    served = await ask_service(request, parts, question)
    beside = Beside(
        trial_id=served.trial_id,
        abstained=served.abstained,
        solicit_rating=served.solicited,
        has_unit=bool(question.unit),
        logged=served.logged,
        sources=[source_out(source) for source in served.sources],
        arm=served.arm if key.sees_arms else None,
    )
    text = NO_ANSWER if served.abstained else served.answer
    created = int(question.query_at)
    if body.stream:
        with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        chunks = _chunks(served, text, beside, model=body.model, created=created, with_usage=with_usage)
        return StreamingResponse(_events(chunks), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    choice = Choice(message=AnswerMessage(content=text))
    return ChatOut(id=served.trial_id, created=created, model=body.model, choices=[choice], usage=_usage(served), ragtrial=beside)


@router.get("/v1/models", summary="The service, as a model", responses=responses())
async def models(parts: Given, _key: Asking) -> ModelsOut:
    """One model: which arm answers is not the client's choice."""
    return ModelsOut(data=[_model(MODEL, parts)])


@router.get("/v1/models/{model}", summary="The service, as a model", response_model=ModelOut, responses=responses(404))
async def model(model: Annotated[str, Path(max_length=200, pattern=NO_NUL)], parts: Given, _key: Asking) -> Any:
    """`ragtrial`, or the experiment's name."""
    return _model(model, parts) if model in _names(parts) else _no_model(model)


def _model(name: str, parts: Parts) -> ModelOut:
    return ModelOut(id=name, created=int(parts.started_at), experiment=parts.service.experiment.name)


def _names(parts: Parts) -> tuple[str, str]:
    return MODEL, parts.service.experiment.name


def _no_model(name: str) -> Response:
    return error_response(404, f"there is no model {name!r}: this service is {MODEL!r}", param="model", code="model_not_found")


def _question(messages: list[ChatMessage]) -> str:
    """The text of the last message of the user.

    Raises:
        InputError: There is none, or it has parts that are not text.
    """
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    if last is None or last.content is None:
        raise InputError("messages hold no question: give a message of role 'user' with content")
    if isinstance(last.content, str):
        return last.content
    for part in last.content:
        if part.type != "text" or part.text is None:
            raise InputError(f"a part of the question is of type {part.type!r}: only text is understood")
    return "\n".join(part.text or "" for part in last.content)


def _unit(body: ChatIn) -> str | None:
    """Who asks: metadata.user_id, then user, then safety_identifier.

    Raises:
        InputError: metadata.user_id is no text that can name a unit.
    """
    named = (body.metadata or {}).get("user_id")
    if named is not None and (not isinstance(named, str) or len(named) > 256 or "\0" in named or not _is_text(named)):
        raise InputError("metadata.user_id names the unit: give at most 256 characters of text")
    return named or body.user or body.safety_identifier


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8; half surrogate pairs, which JSON can carry, can't."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _usage(served: Served) -> ChatUsage | None:
    prompt, completion = served.usage.prompt_tokens, served.usage.completion_tokens
    if prompt is None or completion is None:
        return None
    return ChatUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def _chunks(served: Served, text: str, beside: Beside, *, model: str, created: int, with_usage: bool) -> Iterator[ChatChunk]:
    def chunk(*choices: ChunkChoice, usage: ChatUsage | None = None, extra: Beside | None = None) -> ChatChunk:
        return ChatChunk(id=served.trial_id, created=created, model=model, choices=list(choices), usage=usage, ragtrial=extra)

    yield chunk(ChunkChoice(delta={"role": "assistant", "content": ""}))
    for piece in re.findall(r"\s*\S+\s*$|\s*\S+", text) or [text]:
        yield chunk(ChunkChoice(delta={"content": piece}))
    yield chunk(ChunkChoice(delta={}, finish_reason="stop"), extra=beside)
    if with_usage:
        yield chunk(usage=_usage(served))


async def _events(chunks: Iterator[ChatChunk]) -> AsyncIterator[str]:
    for chunk in chunks:
        yield f"data: {chunk.model_dump_json(exclude={'ragtrial'} if chunk.ragtrial is None else None)}\n\n"
    yield "data: [DONE]\n\n"
