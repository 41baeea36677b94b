"""Goal: a trace context is read as W3C writes it, and nothing else passes for one.

Method: the specification's examples and near misses; the quiet tracing that only hands on.
"""

from __future__ import annotations

import sys

import pytest

from server.errors import SettingsError
from server.otel import make_tracing
from server.traceparent import TraceContext, new_trace, read_traceparent
from server.tracing import QUIET

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("03", True)])
def test_a_header_is_read(flags: str, sampled: bool) -> None:
    context = read_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert context is not None
    assert context == TraceContext(TRACE, SPAN, int(flags, 16))
    assert context.sampled is sampled
    assert context.header == f"00-{TRACE}-{SPAN}-{flags}"


def test_a_later_version_may_have_more_fields() -> None:
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-what-comes") == TraceContext(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_none_is_none(header: str) -> None:
    assert read_traceparent(header) is None


def test_new_spans_are_valid_and_of_the_same_trace() -> None:
    first = new_trace()
    assert read_traceparent(first.header) == first
    child = TraceContext(TRACE, SPAN, 0).child()
    assert (child.trace, child.flags) == (TRACE, 0)
    assert child.span != SPAN
    assert read_traceparent(child.header) == child


@pytest.mark.parametrize(
    ("incoming", "sent"),
    [(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"), ("", ""), ("nonsense", "")],
)
def test_without_traces_the_context_is_only_handed_on(incoming: str, sent: str) -> None:
    with QUIET.publishing("OrderCreated", incoming) as header:
        assert header == sent


def test_a_missing_exporter_is_told_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'snorri\[otel\]'"):
        make_tracing("otlp")
