"""What all list routes share: limits, cursors, and how far the projections have come.

A cursor is opaque: it names the list and its filters as well as the place, so one that was made up,
cut or taken from another list is refused with the next step and never answered with wrong rows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from server.api.problems import Problem
from store.projection.port import ReadModel
from store.projection.records import Listing
from store.projection.times import BadTime, parse_time
from store.projection.where import Where

T = TypeVar("T")
R = TypeVar("R", bound=Struct)

PAGING = frozenset({"limit", "cursor", "wait_for"})  # all other parameters are filters

LIMIT_MAX = 500
LIMIT_DEFAULT = 50
CURSOR_CHARS_MAX = 1000
WAIT_S = 5.0
SEQ_MAX = 2**53 - 1
_DIGEST_BYTES = 8

Limit = Annotated[
    int, QueryParameter(ge=1, le=LIMIT_MAX, description=f"Rows of a page, 1 to {LIMIT_MAX}")
]
CursorText = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        max_length=CURSOR_CHARS_MAX,
        description="`next` of the page before; only with the same filters",
    ),
]
WaitFor = Annotated[
    int | None,
    QueryParameter(
        name="wait_for",
        ge=0,
        le=SEQ_MAX,
        description="Answer only when the log is applied up to this sequence (`seq` of a write);"
        f" 503 when that takes longer than {WAIT_S:g} s",
    ),
]
Since = Annotated[
    str | None, QueryParameter(description="From then on: ISO 8601, or how long ago: `15m`, `2d`")
]


class Projection(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the answer follows the log: what is newer is not in it."""

    seq: Annotated[int, Meta(description="Sequence of the log that is applied")]
    lag: Annotated[int, Meta(description="Messages that are stored and not applied")]
    lag_seconds: Annotated[float, Meta(description="Age of the oldest of them, 0 for none")]
    rebuilding: Annotated[
        float | None, Meta(description="Part done (0 to 1) while a rebuild runs")
    ] = None
    fault: Annotated[str | None, Meta(description="Why nothing moves, if so")] = None


def projection_of(read: ReadModel) -> Projection:
    """Where the projections stand now."""
    progress = read.progress
    return Projection(
        seq=progress.log_seq,
        lag=progress.lag,
        lag_seconds=round(progress.lag_s, 3),
        rebuilding=progress.rebuilding,
        fault=progress.fault or None,
    )


def moment(name: str, text: str | None, now: datetime) -> datetime | None:
    """The moment a parameter names, None when it is not given; raises Problem."""
    if not text:
        return None
    try:
        return parse_time(text, now)
    except BadTime as error:
        raise Problem(
            400,
            "invalid-request",
            "The request can't be understood",
            f"{name}: {error}.",
            "Correct the time.",
        ) from None


async def settle(read: ReadModel, wait_for: int | None) -> None:
    """Wait until the projections have a sequence of the log; raises Problem when it takes long."""
    if wait_for is None or await read.wait_for(wait_for, WAIT_S):
        return
    now = projection_of(read)
    raise Problem(
        503,
        "projection-behind",
        "The list is not that far yet",
        f"The log is applied up to {now.seq}, not {wait_for}"
        + (f": {now.fault}" if now.fault else "."),
        "Try again in a moment, or ask for the single instance, which is always current.",
        {"projection": msgspec.to_builtins(now), "retryable": True},
        {"Retry-After": "1"},
    )


async def list_records(
    read: ReadModel,
    listing: Listing[R],
    where: Where,
    *,
    query: bytes,
    limit: int,
    cursor: str | None,
    wait_for: int | None,
) -> tuple[list[R], str | None]:
    """A page of records and the cursor of the next; ``query`` is the request's query string, whose
    filters the cursor is tied to. Raises Problem, ReadError.
    """
    pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
    scope = f"{listing.relation} {sorted(pair for pair in pairs if pair[0] not in PAGING)!r}"
    place = read_cursor(cursor, scope, listing.place_type) if cursor is not None else None
    await settle(read, wait_for)
    rows, next = await listing.page(read, where, place, limit)
    return rows, make_cursor(scope, next) if next is not None else None


def make_cursor(scope: str, place: object) -> str:
    """The cursor of a place within ``scope``: the list with its filters, as any text."""
    body = msgspec.json.encode(place)
    return base64.urlsafe_b64encode(_digest(scope, body) + body).rstrip(b"=").decode()


def read_cursor(cursor: str, scope: str, place: type[T]) -> T:
    """The place of a cursor; raises Problem when it is none of this list with these filters."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        data = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
        digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if digest == _digest(scope, body):
            return msgspec.json.decode(body, type=place)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        pass
    raise Problem(
        400,
        "bad-cursor",
        "The cursor can't be used",
        "The cursor was not made by this list with these filters.",
        "Send `next` of the page before unchanged and with the same filters, or leave it out to"
        " begin at the first page.",
    )


def _digest(scope: str, body: bytes) -> bytes:
    scoped = scope.encode(errors="surrogatepass") + b"\0" + body
    return hashlib.blake2b(scoped, digest_size=_DIGEST_BYTES, person=b"snorri cursor").digest()
