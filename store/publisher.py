"""``create_publisher``: publish events from any program, with receipts instead of exceptions.

    async with create_publisher("nats://127.0.0.1:4222") as publisher:
        receipt = await publisher.publish("OrderCreated", {"orderId": "o-1"}, key="o-1")

Promises a ``Published`` or a ``Rejected`` for every event, an unreachable broker included. It
connects when it is first used and never makes streams: a missing installation is a rejection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from store.events import NewEvent, Published, Receipt, Rejected
from store.jetstream.backend import connect
from store.port import NO_HEADERS, Backend, StoreError, TopologyDrift
from store.publishing import EventPublisher, Mode
from store.subjects import Names

__all__ = ["NewEvent", "Published", "Publisher", "Receipt", "Rejected", "create_publisher"]


class Open(Protocol):
    """Opens a backend; raises StoreError."""

    async def __call__(self) -> Backend: ...


class Publisher:
    """Publishes events; made by ``create_publisher``. Close it, or use it with ``async with``."""

    def __init__(self, open: Open, names: Names) -> None:
        self._open = open
        self._names = names
        self._backend: Backend | None = None
        self._events: EventPublisher | None = None
        self._closed = False
        self._opening = asyncio.Lock()

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
        try:
            events = await self._ready()
        except StoreError as error:
            lasting = self._closed or isinstance(error, TopologyDrift)
            rejected = Rejected(reason=str(error), retryable=not lasting)
            return [rejected for _ in messages]
        return await events.publish_many(messages, mode)

    async def close(self) -> None:
        """End the connection; later publishes are rejected. A second call does nothing."""
        self._closed = True
        async with self._opening:
            backend, self._backend, self._events = self._backend, None, None
        if backend is not None:
            await backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ready(self) -> EventPublisher:
        async with self._opening:
            if self._closed:
                raise StoreError("this publisher is closed; make a new one with create_publisher()")
            if self._events is None:
                self._backend = await self._open()
                self._events = EventPublisher(
                    self._backend.door, self._names, self._backend.payload_max
                )
            return self._events


def create_publisher(
    nats_url: str | None = None,
    base_url: str | None = None,
    *,
    creds: str | None = None,
    names: Names | None = None,
    name: str = "snorri-publisher",
) -> Publisher:
    """A publisher over NATS (``nats_url``); raises ValueError unless exactly one address is given.

    ``names`` says which installation when namespace or bucket are not the usual ones.
    """
    if (nats_url is None) == (base_url is None):
        raise ValueError("give one address: create_publisher(nats_url=…) or (base_url=…)")
    if nats_url is None:
        raise ValueError(
            "publishing over HTTP (base_url) needs the API, which this version does not serve yet; "
            "use nats_url=…"
        )
    where = names if names is not None else Names()

    async def open_nats() -> Backend:
        return await connect(nats_url, where, creds=creds, name=name, make=False)

    return Publisher(open_nats, where)
