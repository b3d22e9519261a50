"""OpenTelemetry's SDK, set up where an OTLP endpoint is named; without one, spans cost next to nothing and go nowhere."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ragtrial import __version__
from ragtrial.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span


def trace_to(endpoint: str, *, experiment: str) -> Callable[[], None]:
    """Send the spans of this process to an OTLP/HTTP collector; the result sends what is left and ends it.

    Args:
        endpoint: Address of the collector, e.g. `http://localhost:4318`; `/v1/traces` is added.
        experiment: Goes with every span.

    Raises:
        InputError: The endpoint is no HTTP address.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise InputError(f"OTLP endpoint {endpoint!r}: give an HTTP address, e.g. http://localhost:4318")
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class WithoutQueryString(BatchSpanProcessor):
        """Takes the query string off server spans: none of our routes has text there, but a client's mistake may."""

        def on_start(self, span: "Span", parent_context: "Context | None" = None) -> None:
            if span.attributes and "url.query" in span.attributes:
                span.set_attribute("url.query", "REDACTED")
            super().on_start(span, parent_context)

    named = {"service.name": "ragtrial", "service.version": __version__, "ragtrial.experiment": experiment}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(WithoutQueryString(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown
