"""What tests of the live view share: revisions to write, a served hub, and clients that read SSE.

Revisions are written as the engine writes them, one batch with a position behind each, so that a
test decides what happens and when. Clients speak HTTP over a plain socket: an SSE client has to be
able to stop reading, to vanish and to come back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from sagas.instance import Failure, Instance, Status, document_hash, encode
from sagas.messages import Cause
from server.access.access import Access, Standing
from server.access.middleware import STANDING
from server.access.roles import Identity
from server.api.deps import Deps
from server.api.service import ApiService
from server.live.hub import Hub
from server.live.limits import Limits
from server.loading import load_samples
from server.settings import Settings
from store.client import SagaClient
from store.codec import DeadLetter, Position
from store.port import Backend, Committed, Outgoing
from store.projection.port import Progress
from store.subjects import Names
from tests.app_kit import quick_app

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
WITHIN_S = 15.0


class Event(Struct, frozen=True):
    """One event as a client sees it."""

    name: str
    data: Any
    id: int | None


class Writer:
    """Writes revisions of instances as an engine does; remembers what it wrote."""

    def __init__(self, backend: Backend, names: Names, *, own_clock: bool = False) -> None:
        self._own_clock = own_clock
        self.backend = backend
        self.names = names
        self._last: dict[tuple[str, str], Instance] = {}
        self.written: list[tuple[int, str, int]] = []  # sequence, key, version

    async def write(
        self,
        *keys: str,
        saga: str = "Shop",
        status: Status = "running",
        state: object = None,
        error: Failure | None = None,
    ) -> int:
        """The next version of each key in one batch; the sequence of the last of them."""
        batch: list[Outgoing] = []
        for key in keys:
            after = self._next(saga, key, status, state, error)
            batch.append(Outgoing(self.names.instance(saga, key), encode(after)))
        position = Position(events=0, signals=0, owner="test", batch="b")
        batch.append(
            Outgoing(
                self.names.position(0),
                msgspec.json.encode(position),
                (("Nats-Rollup", "sub"),),
            )
        )
        outcome = await self.backend.log.commit(batch)
        assert isinstance(outcome, Committed), outcome
        first = outcome.last - outcome.count + 1
        for index, key in enumerate(keys):
            self.written.append((first + index, key, self._last[saga, key].version))
        return outcome.last - 1

    async def letter(self, id: str, *, saga: str = "", reason: str = "") -> int:
        """A dead letter; its sequence."""
        letter = DeadLetter(
            id=id, at=AT, stream="events", seq=3, type="Happened", reason=reason, saga=saga
        )
        subject = self.names.dead_letter(id)
        outcome = await self.backend.log.commit([Outgoing(subject, msgspec.json.encode(letter))])
        assert isinstance(outcome, Committed), outcome
        return outcome.last

    def _next(
        self, saga: str, key: str, status: Status, state: object, error: Failure | None
    ) -> Instance:
        before = self._last.get((saga, key))
        after = Instance(
            v=1,
            saga=saga,
            key=key,
            version=before.version + 1 if before else 1,
            status=status,
            state=Raw(msgspec.json.encode(state if state is not None else {"n": 1})),
            started=AT,
            at=datetime.now(UTC) if self._own_clock else AT,
            cause=Cause(kind="event", type="Happened", id="", seq=1, at=AT),
            effects=(),
            error=error,
            definition="d",
            trace="",
            prev=document_hash(encode(before)) if before else "",
        )
        self._last[saga, key] = structs.replace(after)
        return after


class NoRows:
    """A read model whose progress a test can set."""

    def __init__(self) -> None:
        self.progress = Progress()

    async def fetch(self, sql: str, parameters: object, row: object) -> list[Any]:
        """Nothing."""
        return []

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """At once."""
        return True


class Served(Struct):
    """A hub behind a real HTTP server."""

    hub: Hub
    service: ApiService
    deps: Deps
    read: NoRows

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self.service.address.rpartition(":")[2])

    @property
    def connections(self) -> list[Any]:
        """The sockets of the clients, as the server has them."""
        server: Any = self.service._server
        return [one.transport.get_extra_info("socket") for one in server.server_state.connections]


@asynccontextmanager
async def served(
    writer: Writer, *, limits: Limits | None = None, mask: Any = None
) -> AsyncIterator[Served]:
    """The API with a live view over the writer's installation, on a free port."""
    backend, names, read = writer.backend, writer.names, NoRows()

    def clear(state: bytes) -> bytes:
        return state

    mask = mask or clear
    hub = Hub(backend, names, mask=mask, read=read, limits=limits)
    deps = Deps(
        settings=Settings(),
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=read,
        app=load_samples(),
        mask=mask,
        live=hub,
    )
    service = ApiService(
        _AsRole(quick_app(deps), deps.access), "127.0.0.1", 0, closing=hub.close_streams
    )
    await hub.start()
    await service.start()
    try:
        yield Served(hub, service, deps, read)
    finally:
        await service.stop()
        await hub.stop()


class _AsRole:
    """Takes the word of the header ``Role`` for who somebody is, in place of a login."""

    def __init__(self, app: Any, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        role = dict(scope.get("headers", ())).get(b"role")
        if role is not None:
            identity = Identity(name="test", role=role.decode(), via="token")
            scope[STANDING] = Standing(self._access, scope, identity, "127.0.0.1")
        await self._app(scope, receive, send)


class Client:
    """One SSE client; ``connect`` first, then ``next`` for event after event."""

    def __init__(
        self,
        port: int,
        query: str = "",
        last_event_id: int | str | None = None,
        role: str = "",
    ) -> None:
        self._role = role
        self._port = port
        self._query = query
        self._sent_id = last_event_id
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.last_id: int | None = None
        self.comments: list[str] = []
        self.retry_ms = 0

    async def __aenter__(self) -> Client:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()

    async def connect(self) -> None:
        """Send the request and read the head of the answer and the first words of a stream."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = [f"GET /api/v1/sagas/subscribe{self._query} HTTP/1.1", "Host: localhost"]
        if self._sent_id is not None:
            lines.append(f"Last-Event-ID: {self._sent_id}")
        if self._role:
            lines.append(f"Role: {self._role}")
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {
            name.lower(): value for name, value in (h.split(": ", 1) for h in head[1:] if h)
        }
        if self.status == 200:
            assert await self._block() is None

    async def body(self) -> bytes:
        """The body of an answer that is no stream."""
        assert self._reader is not None
        return await self._reader.readexactly(int(self.headers["content-length"]))

    async def next(self, within_s: float = WITHIN_S) -> Event:
        """The next event; fails when none comes, raises EOFError at the end of the stream."""
        async with asyncio.timeout(within_s):
            while True:
                if (found := await self._block()) is not None:
                    return found

    async def events(self, count: int, within_s: float = WITHIN_S) -> list[Event]:
        """So many events."""
        return [await self.next(within_s) for _ in range(count)]

    async def beat(self, within_s: float = WITHIN_S) -> None:
        """Until a block without an event: a heartbeat."""
        async with asyncio.timeout(within_s):
            assert await self._block() is None

    def vanish(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    def pause(self) -> None:
        """Read nothing any more."""
        assert self._writer is not None
        transport: Any = self._writer.transport
        transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        assert self._writer is not None
        transport: Any = self._writer.transport
        with suppress(RuntimeError):
            transport.resume_reading()

    async def _block(self) -> Event | None:
        name, data, id = "", "", None
        while (line := await self._line()) != "":
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "":
                    self.comments.append(value)
                case "event":
                    name = value
                case "data":
                    data += value
                case "id":
                    id = self.last_id = int(value)
                case "retry":
                    self.retry_ms = int(value)
                case _:
                    raise AssertionError(f"no field of SSE: {line!r}")
        return Event(name, msgspec.json.decode(data), id) if data else None

    async def _line(self) -> str:
        """The next line of the body, out of its chunks."""
        while b"\n" not in self._buffer:
            await self._chunk()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    _buffer = b""

    async def _chunk(self) -> None:
        assert self._reader is not None
        size = int((await self._reader.readline()) or b"0", 16)
        data = await self._reader.readexactly(size + 2)
        if size == 0:
            raise EOFError("the stream has ended")
        self._buffer += data[:-2]


def mask_all(document: bytes) -> bytes:
    """A mask that hides every number of a card."""
    return re.sub(rb"\d{4}-\d{4}", b"masked", document)
