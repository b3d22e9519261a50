"""The part of OpenAI's chat API that clients use; what is not listed here is accepted and has no effect."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragtrial.api.wire import NO_NUL, TRIAL, SourceOut


class Lenient(BaseModel):
    """Unknown fields are accepted, as OpenAI's clients send ever new ones; known ones have their types."""

    model_config = ConfigDict(strict=True, extra="allow")


class ContentPart(Lenient):
    """A part of a message; of the question, only text is understood."""

    type: Annotated[str, Field(pattern=NO_NUL)]
    text: Annotated[str | None, Field(pattern=NO_NUL)] = None


class ChatMessage(Lenient):
    """A message of the conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Annotated[str, Field(pattern=NO_NUL)] | list[ContentPart] | None = None


class StreamOptions(Lenient):
    """How to stream."""

    include_usage: bool | None = None


class ChatIn(Lenient):
    """A chat completion. The last message of the user is the question; what was said before is not sent to the arms."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "ragtrial",
                    "messages": [{"role": "user", "content": "When may a truck pass the gate?"}],
                    "metadata": {"user_id": "user-1729"},
                }
            ]
        }
    )

    model: Annotated[str, Field(pattern=NO_NUL, description="`ragtrial`, or the experiment's name.")]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(description="Only 1.")] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="`user_id` is the unit.")] = None
    user: Annotated[str | None, Field(max_length=256, pattern=NO_NUL, description="The unit, where metadata names none.")] = None
    safety_identifier: Annotated[str | None, Field(max_length=256, pattern=NO_NUL, description="The unit, where `user` is none.")] = None


class ChatUsage(BaseModel):
    """Tokens; given only where both are known."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Beside(BaseModel):
    """What OpenAI's shape has no place for."""

    trial_id: str
    abstained: bool
    solicit_rating: bool
    has_unit: Annotated[bool, Field(description="False: no unit came with the request, so it is outside the experiment.")]
    logged: bool
    sources: list[SourceOut]
    arm: Annotated[str | None, Field(description="Null for testers.")] = None


class AnswerMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one choice."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatOut(BaseModel):
    """An answer; its id is the trial's, which votes refer to."""

    id: Annotated[str, Field(examples=[TRIAL])]
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage | None
    ragtrial: Beside


class ChunkChoice(BaseModel):
    """The one choice of a chunk."""

    index: int = 0
    delta: Annotated[dict[Literal["role", "content"], str], Field(description="What the chunk adds.")]
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(BaseModel):
    """A chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    ragtrial: Beside | None = None


class ModelOut(BaseModel):
    """The service, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ragtrial"
    experiment: Annotated[str, Field(description="That this service serves; not OpenAI's.")]


class ModelsOut(BaseModel):
    """All models: one. Which arm answers is not the client's choice."""

    object: Literal["list"] = "list"
    data: list[ModelOut]
