"""Messages: what reaches an instance, as its handler sees it (Message) and as its history records
it (Cause).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

P = TypeVar("P")

Kind: TypeAlias = Literal["event", "signal", "timer", "operator", "spawn", "child"]

NULL = Raw(b"null")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEPTH_MAX = 100  # levels of a payload; documents nest it a few levels deeper

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')

# Dict keys and sets are written in sorted order, so that equal data is equal bytes in every
# process.
_encoder = msgspec.json.Encoder(order="deterministic")


def to_raw(value: object) -> Raw:
    """``value`` as deterministic JSON; raises TypeError when msgspec can't encode it."""
    if isinstance(value, Raw):
        return value
    return NULL if value is None else Raw(_encoder.encode(value))


def unreadable(payload: Raw) -> str:
    """Why a payload from outside can't be recorded, or an empty text.

    It becomes part of a document that every reader must be able to read whole, so it has to be JSON
    in UTF-8 and at most ``DEPTH_MAX`` levels deep.
    """
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"its payload is not JSON that can be read: {error}; send UTF-8 JSON"
    # A level is two brackets: their number settles nearly all payloads, most by their length alone.
    if len(payload) > 2 * DEPTH_MAX:
        data = bytes(payload)
        if data.count(b"[") + data.count(b"{") > DEPTH_MAX and _depth(data) > DEPTH_MAX:
            return f"its payload is nested deeper than {DEPTH_MAX} levels; flatten it"
    return ""


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for token in _BRACKETS.finditer(data):
        if token.group() in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token.group() in (b"]", b"}"):
            depth -= 1
    return deepest


class Message(Struct, Generic[P], frozen=True, kw_only=True, gc=False):
    """A message as a handler gets it; ``payload`` is decoded to the type the handler is annotated
    with.

    ``id`` is the publisher's idempotency key or empty, ``at`` the time the broker stored it (UTC),
    ``seq`` its sequence there, ``answers`` the id of the command whose result this is, or empty.
    """

    type: str
    payload: P
    id: str = ""
    kind: Kind = "event"
    seq: int = 0
    at: datetime = EPOCH
    by: str = ""
    reason: str = ""
    answers: str = ""
    traceparent: str = ""


class Address(Struct, frozen=True, gc=False):
    """Which instance: its saga and its key."""

    saga: str
    key: str

    def __str__(self) -> str:
        return f"{self.saga}/{self.key}"


class Cause(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message as it is recorded: payload as raw JSON, ``at`` when the broker stored it, ``seq``
    its sequence.

    ``answers`` names the command this is the result of; ``parent`` who spawned this instance;
    ``epoch`` is the version that set the timer, so that a fired timer is told from a later one with
    the same id. ``execution`` is the record of the attempt behind an answer that was never stored
    as an event, since the engine itself carried out the step; such a message has no ``seq``.
    """

    kind: Kind
    type: str
    id: str
    seq: int
    at: datetime
    payload: Raw = NULL
    by: str = ""
    reason: str = ""
    answers: str = ""
    failed: bool = False
    parent: Address | None = None
    epoch: int = 0
    trace: str = ""
    execution: Raw = NULL

    @property
    def from_outside(self) -> bool:
        """Whether somebody may have sent it twice under its id: an event, an operator's action, a
        start by hand. Internal messages come once, by their position.
        """
        return self.kind in ("event", "operator") or (self.kind == "spawn" and self.parent is None)
