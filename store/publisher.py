"""``create_publisher``: publish events from any program, with receipts instead of exceptions.

    async with create_publisher("nats://127.0.0.1:4222") as publisher:
        receipt = await publisher.publish("OrderCreated", {"orderId": "o-1"}, key="o-1")

Over NATS, or over HTTP with ``base_url``. Promises a ``Published`` or a ``Rejected`` for every
event, an unreachable broker included. It connects when it is first used and never makes streams: a
missing installation is a rejection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import httpx

from store.events import NewEvent, Published, Receipt, Rejected
from store.http_publishing import (
    ATTEMPTS,
    RETRIED_STATUSES,
    TIMEOUT_S,
    HttpLine,
    HttpOptions,
)
from store.jetstream.backend import connect_door
from store.jetstream.login import ANYBODY, Login
from store.port import NO_HEADERS, Backend, StoreError, TopologyDrift
from store.publishing import EventPublisher, Mode
from store.room import RoomReader
from store.subjects import Names

__all__ = ["NewEvent", "Published", "Publisher", "Receipt", "Rejected", "create_publisher"]


class Line(Protocol):
    """A way to where events are stored."""

    async def publish_many(self, messages: Sequence[NewEvent], mode: Mode) -> list[Receipt]:
        """A receipt for each event; never raises for one that was not stored."""
        ...

    async def close(self) -> None:
        """End it; never raises."""
        ...


class Open(Protocol):
    """Opens a backend; raises StoreError."""

    async def __call__(self) -> Backend: ...


class Publisher:
    """Publishes events; made by ``create_publisher``. Close it, or use it with ``async with``."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._closed = False

    async def publish(
        self,
        type: str,
        payload: object = None,
        key: str | None = None,
        id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Receipt:
        """Publish one event; see NewEvent for what it may hold."""
        event = NewEvent(type=type, payload=payload, key=key, id=id, headers=headers)
        return (await self.publish_many([event]))[0]

    async def publish_many(
        self, messages: Sequence[NewEvent], mode: Mode = "sequential"
    ) -> list[Receipt]:
        """Publish events, a receipt for each; the modes stand at EventPublisher.publish_many."""
        if self._closed:
            closed = "this publisher is closed; make a new one with create_publisher()"
            return [Rejected(reason=closed)] * len(messages)
        return await self._line.publish_many(messages, mode)

    async def close(self) -> None:
        """End the connection; later publishes are rejected. A second call does nothing."""
        if not self._closed:
            self._closed = True
            await self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class NatsLine:
    """Publishes straight to the stream, through a backend that is opened when first needed."""

    def __init__(self, open: Open, names: Names) -> None:
        self._open = open
        self._names = names
        self._backend: Backend | None = None
        self._events: EventPublisher | None = None
        self._closed = False
        self._opening = asyncio.Lock()

    async def publish_many(self, messages: Sequence[NewEvent], mode: Mode) -> list[Receipt]:
        """Receipts in the order of the events; all are rejected while there is no connection."""
        try:
            events = await self._ready()
        except StoreError as error:
            lasting = self._closed or isinstance(error, TopologyDrift)
            return [Rejected(reason=str(error), retryable=not lasting)] * len(messages)
        if len(messages) == 1:
            one = messages[0]
            return [
                await events.publish(
                    one.type, one.payload, key=one.key, id=one.id, headers=one.headers
                )
            ]
        return await events.publish_many(messages, mode)

    async def close(self) -> None:
        """End the connection; one that is being opened is waited for."""
        self._closed = True
        async with self._opening:
            backend, self._backend, self._events = self._backend, None, None
        if backend is not None:
            await backend.close()

    async def _ready(self) -> EventPublisher:
        async with self._opening:
            if self._closed:
                raise StoreError("this publisher is closed; make a new one with create_publisher()")
            if self._events is None:
                self._backend = await self._open()
                self._events = EventPublisher(
                    *(self._backend.door, self._names, self._backend.payload_max),
                    room=RoomReader(self._backend.meta),
                )
            return self._events


def create_publisher(
    nats_url: str | None = None,
    base_url: str | None = None,
    *,
    creds: str | None = None,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    names: Names | None = None,
    name: str = "snorri-publisher",
    token: str | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    retry_statuses: frozenset[int] = RETRIED_STATUSES,
    attempts: int = ATTEMPTS,
    timeout_s: float = TIMEOUT_S,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Publisher:
    """A publisher over NATS (``nats_url``) or over the HTTP API (``base_url``).

    Over NATS ``names`` says which installation when namespace or bucket are not the usual ones, and
    ``creds`` and ``name`` who connects; ``tls_ca``, ``tls_cert`` and ``tls_key`` are files for TLS
    as in the settings. Over HTTP ``token``, ``headers``, ``retry_statuses``, ``attempts``,
    ``timeout_s`` and ``tls_ca`` mean what HttpOptions says, and ``transport`` may replace the
    network. Raises ValueError unless exactly one address is given, and for one that is none.
    """
    if nats_url is not None and base_url is None:
        login = Login(creds=creds, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
        return publisher_over_nats(nats_url, names or Names(), login=login, name=name)
    if nats_url is None and base_url is not None:
        options = HttpOptions(
            headers=headers,
            token=token,
            retry_statuses=frozenset(retry_statuses),
            attempts=attempts,
            timeout_s=timeout_s,
            tls_ca=tls_ca,
        )
        return Publisher(HttpLine(base_url, options, transport))
    raise ValueError("give one address: create_publisher(nats_url=…) or (base_url=…)")


def publisher_over_nats(
    nats_url: str, names: Names, *, login: Login = ANYBODY, name: str = "snorri-publisher"
) -> Publisher:
    """A publisher for the installation of ``names``."""

    async def open_nats() -> Backend:
        return await connect_door(nats_url, names, login=login, name=name)

    return Publisher(NatsLine(open_nats, names))
