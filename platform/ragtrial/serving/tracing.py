"""Spans of what the service does, by OpenTelemetry's API alone: without a configured SDK they cost next to nothing and go nowhere.

Names follow the GenAI semantic conventions (`gen_ai.*`) and OpenInference (`openinference.span.kind`, `input.value`, `output.value`).
Texts of users are left out unless they are asked for.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from ragtrial.contracts import Generator, ManyAtOnce
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer, Failure
from ragtrial.serving.batching import Found

_KIND = "openinference.span.kind"
_FAILED_IN = {"embed": ("embed", "EMBEDDING"), "rerank": ("rerank", "RERANKER")}


class Tracing:
    """Makes the spans of one experiment.

    Args:
        experiment: Its name.
        models: Name of the embedding model, by arm.
        capture_content: Write queries and answers into the spans.
    """

    def __init__(self, *, experiment: str, models: Mapping[str, str], capture_content: bool = False) -> None:
        self._tracer = trace.get_tracer("ragtrial")
        self._experiment, self._models, self._capture = experiment, models, capture_content

    @contextmanager
    def asking(self, trial_id: str, text: str) -> Iterator[Span]:
        """The span around one request; `embed`, `retrieve` and `generate` are its children."""
        with self._tracer.start_as_current_span("ask", kind=SpanKind.INTERNAL) as span:
            if span.is_recording():
                span.set_attributes({_KIND: "CHAIN", "ragtrial.experiment": self._experiment, "ragtrial.trial_id": trial_id})
                if self._capture:
                    span.set_attribute("input.value", text)
            yield span

    @contextmanager
    def judging(self, metrics: int, trials: int) -> Iterator[Span]:
        """The span around one batch of the judge."""
        with self._tracer.start_as_current_span("judge") as span:
            span.set_attributes(
                {_KIND: "EVALUATOR", "ragtrial.experiment": self._experiment, "ragtrial.metrics": metrics, "ragtrial.trials": trials}
            )
            yield span

    def assigned(self, span: Span, *, arm: str, reason: str) -> None:
        """Which arm the request was given, and why."""
        if span.is_recording():
            span.set_attributes({"ragtrial.arm": arm, "ragtrial.reason": reason})

    def answered(self, span: Span, text: str) -> None:
        """What went out."""
        if self._capture and span.is_recording():
            span.set_attribute("output.value", text)

    def retrieved(self, query: Query, found: Mapping[str, Found | Failure], *, began_ns: int) -> None:
        """Spans `embed`, `retrieve` and, where an arm reranks, `rerank`, after the fact.

        They happened on another thread, for several queries together.
        """
        if not trace.get_current_span().is_recording():
            return
        for arm, each in found.items():
            model = self._models.get(arm, "")
            content: dict[str, AttributeValue] = {"input.value": query.text} if self._capture else {}
            if isinstance(each, Failure):
                name, kind = _FAILED_IN.get(each.stage, ("retrieve", "RETRIEVER"))
                self._done(name, began_ns, time.time_ns(), {_KIND: kind, "ragtrial.arm": arm, **content}, failure=each)
                continue
            embedded = each.began_ns + int(each.embed_ms * 1e6)
            embedding: dict[str, AttributeValue] = {
                _KIND: "EMBEDDING",
                "gen_ai.operation.name": "embeddings",
                "gen_ai.request.model": model,
                "embedding.model_name": model,
                "ragtrial.queued_ms": each.queued_ms,
            }
            self._done("embed", each.began_ns, embedded, {**embedding, "ragtrial.arm": arm, **content})
            retrieval: dict[str, AttributeValue] = {_KIND: "RETRIEVER", "ragtrial.arm": arm, "ragtrial.n_passages": len(each.hits)}
            ids = {f"retrieval.documents.{rank}.document.id": hit.passage_id for rank, hit in enumerate(each.hits)}
            ended = embedded + int(each.search_ms * 1e6)
            if each.rerank_ms is not None:
                searched = ended - int(each.rerank_ms * 1e6)
                self._done("rerank", searched, ended, {_KIND: "RERANKER", "ragtrial.arm": arm, **content})
            self._done("retrieve", embedded, searched if each.rerank_ms is not None else ended, {**retrieval, **ids, **content})

    def generated(self, query: Query, generator: Generator, answer: Answer | Failure | None, *, began_ns: int) -> None:
        """Span `generate`: of kind LLM where one was asked."""
        if not trace.get_current_span().is_recording():
            return
        asks_llm = isinstance(generator, ManyAtOnce)
        attributes: dict[str, AttributeValue] = {_KIND: "LLM" if asks_llm else "CHAIN", "ragtrial.generator": generator.version}
        if asks_llm:
            model = generator.settings.get("model", generator.version)
            attributes |= {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "llm.model_name": model}
        if self._capture:
            attributes["input.value"] = query.text
        if isinstance(answer, Answer):
            usage = {
                "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
                "llm.token_count.prompt": answer.usage.prompt_tokens,
                "llm.token_count.completion": answer.usage.completion_tokens,
                "ragtrial.cost_usd": answer.usage.cost_usd,
            }
            attributes |= {name: value for name, value in usage.items() if value is not None}
            attributes["gen_ai.response.finish_reasons"] = (answer.finish_reason,)
            if self._capture:
                attributes["output.value"] = answer.text
        self._done("generate", began_ns, time.time_ns(), attributes, failure=answer if isinstance(answer, Failure) else None)

    def _done(
        self, name: str, start_ns: int, end_ns: int, attributes: Mapping[str, AttributeValue], *, failure: Failure | None = None
    ) -> None:
        span = self._tracer.start_span(name, start_time=start_ns, attributes={**attributes, "ragtrial.experiment": self._experiment})
        if failure is not None:
            span.set_attribute("error.type", failure.kind)
            span.set_status(Status(StatusCode.ERROR, f"{failure.stage}: {failure.kind}"))
        span.end(end_time=end_ns)
