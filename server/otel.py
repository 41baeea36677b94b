"""Spans for OpenTelemetry, an optional part: nothing else of Snorri imports it.

The ids of our spans are on the wire before the spans are made (``server.spans``), so the provider
gets an id generator that gives what it is told. Where spans go and how many is configured by the
standard ``OTEL_*`` environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from jobs.telemetry import BatchCommitted, JobEnded, JobStarted, Telemetry
from server.errors import SettingsError
from server.spans import Span, attempt_context, attempt_spans, transition_spans
from server.traceparent import TraceContext, new_trace, read_traceparent
from server.tracing import Tracing
from store.life import Life

SERVICE = "snorri"
_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class GivenIds(RandomIdGenerator):
    """Gives the ids it was told for the next span, else random ones."""

    def __init__(self) -> None:
        self.next: TraceContext | None = None

    def generate_trace_id(self) -> int:
        """The trace of the next span."""
        return super().generate_trace_id() if self.next is None else int(self.next.trace, 16)

    def generate_span_id(self) -> int:
        """The id of the next span."""
        return super().generate_span_id() if self.next is None else int(self.next.span, 16)


class OtelTracing(Tracing):
    """Hands spans to a provider that was made with ``ids``; a hook of engines and workers, and a
    service: its stop sends what is left.
    """

    name = "tracing"

    def __init__(self, provider: TracerProvider, ids: GivenIds) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer(SERVICE)
        self._life = Life()

    # --- what is told

    def told(self, moment: Telemetry) -> None:
        """Make the spans of a moment."""
        match moment:
            case BatchCommitted():
                now = datetime.now(UTC)
                for transition in moment.transitions:
                    for span in transition_spans(transition, now):
                        self._emit(span)
            case JobStarted():
                self._enter(moment)
            case JobEnded():
                for span in attempt_spans(moment):
                    self._emit(span)
            case _:
                pass

    @contextmanager
    def publishing(self, type: str, incoming: str = "") -> Iterator[str]:
        """Around the publishing of one event, a span of the request's trace or of a new one."""
        parent = read_traceparent(incoming)
        own = parent.child() if parent is not None else new_trace()
        start, error = datetime.now(UTC), ""
        try:
            yield own.header
        except BaseException as raised:
            error = raised.__class__.__name__
            raise
        finally:
            if own.sampled:
                span = Span(
                    name=f"publish {type}",
                    context=own,
                    parent=parent.span if parent is not None else "",
                    start=start,
                    end=datetime.now(UTC),
                    kind="producer",
                    error=error,
                    attributes={"snorri.type": type, "messaging.system": "nats"},
                )
                self._emit(span)

    # --- a service

    async def start(self) -> None:
        """Nothing to do: spans are sent from a thread of the provider."""

    async def stop(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)
        self._life.end()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._life.wait()

    # --- inside

    def _emit(self, span: Span) -> None:
        links = [Link(_context_of(span.link))] if span.link is not None else []
        self._ids.next = span.context
        try:
            made = self._tracer.start_span(
                span.name,
                context=_within(span.context.trace, span.parent),
                kind=_KINDS[span.kind],
                attributes=dict(span.attributes),
                links=links,
                start_time=_ns(span.start),
                record_exception=False,
                set_status_on_exception=False,
            )
        finally:
            self._ids.next = None
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(_ns(span.end))

    @staticmethod
    def _enter(started: JobStarted) -> None:
        """What the job itself traces becomes part of its attempt; the job's task ends it."""
        command = read_traceparent(started.trace)
        if command is not None:
            own = attempt_context(command, started.command, started.attempt)
            span = NonRecordingSpan(_context_of(own))
            contexts.attach(trace.set_span_in_context(span, Context()))


def make_tracing(exporter: str) -> OtelTracing:
    """Tracing to an exporter: ``otlp`` (HTTP) or ``console``. Raises SettingsError."""
    ids = GivenIds()
    resource = Resource.create()  # reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE}))
    provider = TracerProvider(resource=resource, id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    return OtelTracing(provider, ids)


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # pyright: ignore[reportMissingImports]
            OTLPSpanExporter,
        )
    except ImportError:
        raise SettingsError(
            "traces=otlp needs the OTLP exporter; install it with `pip install 'snorri[otel]'`, "
            "or set SNORRI_TRACES=console to see the spans here"
        ) from None
    exporter: SpanExporter = OTLPSpanExporter()
    return exporter


def _within(trace_id: str, parent: str) -> Context:
    """The context of a span's parent; an empty one begins a trace."""
    if not parent:
        return Context()
    context = _context_of(TraceContext(trace_id, parent))
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def _context_of(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace, 16),
        int(context.span, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(context.flags & trace.TraceFlags.SAMPLED),
    )


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
