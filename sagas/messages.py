"""Messages: what reaches an instance, as its handler sees it (Message) and as its history records
it (Cause).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

P = TypeVar("P")

Kind: TypeAlias = Literal["event", "signal", "timer", "operator", "spawn", "child"]

NULL = Raw(b"null")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Dict keys and sets are written in sorted order, so that equal data is equal bytes in every
# process.
_encoder = msgspec.json.Encoder(order="deterministic")


def to_raw(value: object) -> Raw:
    """``value`` as deterministic JSON; raises TypeError when msgspec can't encode it."""
    if isinstance(value, Raw):
        return value
    return NULL if value is None else Raw(_encoder.encode(value))


class Message(Struct, Generic[P], frozen=True, kw_only=True):
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


class Address(Struct, frozen=True):
    """Which instance: its saga and its key."""

    saga: str
    key: str

    def __str__(self) -> str:
        return f"{self.saga}/{self.key}"


class Cause(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message as it is recorded: payload as raw JSON, ``at`` when the broker stored it, ``seq``
    its sequence.

    ``answers`` names the command this is the result of; ``parent`` who spawned this instance;
    ``epoch`` is the version that set the timer, so that a fired timer is told from a later one with
    the same id.
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
