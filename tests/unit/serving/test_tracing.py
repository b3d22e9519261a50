"""Spans of a request, read back from OpenTelemetry's SDK."""

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer, Failure, Usage
from ragtrial.serving.tracing import Tracing
from unit.serving.house import ask, house, serving, unit_in


class Speaking:
    version = "openai-compatible/1 gpt"

    def __init__(self):
        self.settings = {"model": "gpt"}

    def generate(self, query, passages):
        raise NotImplementedError

    def generate_many(self, readings, *, repetition=0):
        raise NotImplementedError


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def test_a_request_is_one_span_with_its_parts_below_it(tmp_path, spans):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            spans.clear()
            return await ask(service, "a private question", unit_in("custom"))

    served = asyncio.run(run())
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"ask", "embed", "retrieve", "generate"}
    root = found["ask"]
    assert root.attributes["ragtrial.trial_id"] == served.trial_id
    assert (root.attributes["ragtrial.arm"], root.attributes["ragtrial.reason"]) == ("custom", "split")
    for name, kind in (("embed", "EMBEDDING"), ("retrieve", "RETRIEVER"), ("generate", "CHAIN")):
        span = found[name]
        assert span.parent.span_id == root.context.span_id
        assert span.attributes["openinference.span.kind"] == kind
        assert span.attributes["ragtrial.experiment"] == "house"
        assert span.start_time <= span.end_time
    assert found["embed"].attributes["gen_ai.operation.name"] == "embeddings"
    assert found["embed"].attributes["gen_ai.request.model"] == "hashing-b"
    assert not any("private" in str(value) for span in found.values() for value in span.attributes.values())


def test_an_llms_span_tells_model_and_tokens_and_texts_only_where_they_are_wanted(spans):
    query = Query(query_id="q", text="a private question")
    answer = Answer(text="an answer", generator="g", usage=Usage(prompt_tokens=10, completion_tokens=3, cost_usd=0.01))
    for capture in (False, True):
        tracing = Tracing(experiment="house", models={}, capture_content=capture)
        with tracing.asking("trial_1", query.text) as span:
            tracing.generated(query, Speaking(), answer, began_ns=1)
            tracing.answered(span, answer.text)
    plain, asked, told, asked_with_text = spans.get_finished_spans()
    assert plain.attributes["openinference.span.kind"] == "LLM"
    assert plain.attributes["gen_ai.request.model"] == "gpt"
    assert (plain.attributes["gen_ai.usage.input_tokens"], plain.attributes["gen_ai.usage.output_tokens"]) == (10, 3)
    assert "input.value" not in {**plain.attributes, **asked.attributes}
    assert (told.attributes["input.value"], told.attributes["output.value"]) == ("a private question", "an answer")
    assert (asked_with_text.attributes["input.value"], asked_with_text.attributes["output.value"]) == ("a private question", "an answer")


def test_a_failure_is_an_error_of_its_span(spans):
    tracing = Tracing(experiment="house", models={"custom": "m"})
    query = Query(query_id="q", text="text")
    with tracing.asking("trial_1", query.text):
        tracing.retrieved(query, {"custom": Failure(stage="embed", kind="ModelError", message="text")}, began_ns=1)
        tracing.retrieved(query, {"custom": Failure(stage="search", kind="StoreError", message="text")}, began_ns=1)
    embed, retrieve, _ = spans.get_finished_spans()
    assert (embed.name, embed.attributes["error.type"], embed.status.description) == ("embed", "ModelError", "embed: ModelError")
    assert (retrieve.name, retrieve.attributes["error.type"]) == ("retrieve", "StoreError")
