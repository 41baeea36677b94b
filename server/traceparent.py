"""W3C trace context as our headers carry it: read it, begin a span in it. Pure but for chance.

Only ``traceparent`` version 00 is written; a header that is none is as good as no header.
"""

from __future__ import annotations

import re
import secrets

from msgspec import Struct

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION_INVALID = "ff"
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
SAMPLED = 1


class TraceContext(Struct, frozen=True):
    """One span of one trace: ids as lower-case hex digits, ``flags`` as a number."""

    trace: str
    span: str
    flags: int = SAMPLED

    @property
    def header(self) -> str:
        """The value of a ``traceparent`` header."""
        return f"00-{self.trace}-{self.span}-{self.flags:02x}"

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & SAMPLED)

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace, secrets.token_hex(8), self.flags)


def read_traceparent(text: str) -> TraceContext | None:
    """The context of a header, or None when it is empty or none."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or text[:2] == _VERSION_INVALID or (text[:2] == "00" and found[4]):
        return None
    trace, span = found[1], found[2]
    if trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return TraceContext(trace, span, int(found[3], 16))


def clean_traceparent(text: str) -> str:
    """A header as we hand it on, empty for none that can be read."""
    context = read_traceparent(text)
    return context.header if context is not None else ""


def new_trace() -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8))
