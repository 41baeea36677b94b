"""Traces of one order through publish, transitions, commands and jobs: who makes the spans.

``Tracing`` is the quiet one: it makes none and costs nothing. ``server.otel`` has the one that
hands spans to OpenTelemetry; which of them runs is decided by the setting ``traces``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from server.traceparent import read_traceparent


class Tracing:
    """Makes no spans; passes on the trace context that a request brings."""

    @contextmanager
    def publishing(self, type: str, incoming: str = "") -> Iterator[str]:
        """Around the publishing of one event; gives the ``traceparent`` to send with it.

        ``incoming`` is the request's own header. The text is empty when there is nothing to send:
        the engine then begins a trace of its own.
        """
        context = read_traceparent(incoming)
        yield context.header if context is not None else ""


QUIET = Tracing()
