"""What a publisher writes and gets back: a new event, its checks, and the receipt. Pure.

Everything that the broker or an engine would refuse later is refused here at once, with a reason,
so that a wrong event never becomes a dead letter. Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from sagas.messages import to_raw
from sagas.names import BadName, check_key, check_name
from store.codec import MSG_ID
from store.port import NO_HEADERS, Headers, Outgoing
from store.subjects import Names

ID_BYTES_MAX = 256
SERVER_HEADERS = "nats-"  # names that give orders to the server; none of them is a publisher's


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event to publish. ``payload``: JSON text as bytes or Raw, or any value msgspec can write.

    ``key`` orders it among the events with the same key, ``id`` makes a repetition harmless.
    """

    type: str
    payload: object = None
    key: str | None = None
    id: str | None = None
    headers: Mapping[str, str] = NO_HEADERS


class Published(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="published"
):
    """The event is stored as ``seq``; ``duplicate`` when its id was stored shortly before."""

    seq: int
    duplicate: bool = False


class Rejected(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="rejected"
):
    """The event is not known to be stored; ``retryable`` when the same may go through later.

    Repeat a retryable one with an ``id``: after a lost answer the first may be stored after all.
    """

    reason: str
    retryable: bool = False


Receipt: TypeAlias = Published | Rejected


class Refusal(ValueError):
    """An event that can't be published as it is; the message says what to correct."""


def to_outgoing(names: Names, event: NewEvent, size_max: int) -> Outgoing:
    """The message of an event, its id among the headers; raises Refusal.

    ``size_max`` is what the broker takes, headers included.
    """
    try:
        type = check_name(event.type, "event type")
        key = check_key(event.key) if event.key is not None else None
    except BadName as error:
        raise Refusal(str(error)) from None
    payload = _json(event.payload)
    headers = _headers(event.headers, event.id)
    size = len(payload) + 12 + sum(len(n) + len(v.encode()) + 4 for n, v in headers)
    if size > size_max:
        raise Refusal(
            f"the event has {size} bytes, the broker takes {size_max}; store the data elsewhere "
            "and send a reference"
        )
    return Outgoing(names.event(type, key), payload, headers)


def split_id(message: Outgoing) -> tuple[Headers, str]:
    """The headers without the message id, and the id or an empty text."""
    headers = dict(message.headers)
    return headers, headers.pop(MSG_ID, "")


def _json(payload: object) -> bytes:
    if not isinstance(payload, (bytes, Raw)):
        try:
            return bytes(to_raw(payload))
        except (TypeError, ValueError, RecursionError) as error:
            raise Refusal(f"the payload can't be written as JSON: {error}") from None
    text = bytes(payload)
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"the payload is not JSON: {error}; check quotes and commas") from None
    return text


def _headers(given: Mapping[str, str], id: str | None) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not plain or name.lower().startswith(SERVER_HEADERS):
            raise Refusal(
                f"the header {name!r} can't be set; use letters, digits and '-', and no Nats-…"
                " (the id has an argument of its own)"
            )
        pairs.append((name, _line(value, f"header {name}")))
    if id is not None:
        if not 1 <= len(id.encode("utf-8", "replace")) <= ID_BYTES_MAX:
            raise Refusal(f"the id must have 1 to {ID_BYTES_MAX} bytes; shorten it or leave it out")
        pairs.append((MSG_ID, _line(id, "id")))
    return tuple(pairs)


def _line(value: str, what: str) -> str:
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise Refusal(
            f"the {what} must be printable ASCII on one line without spaces around; got {value!r}"
        )
    return value
