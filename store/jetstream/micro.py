"""A NATS micro service (ADR-32): found by `nats micro ls`, asked with `nats request`.

Owns a connection of its own, since a ``Link`` takes replies only. Promises: every request is
answered, an error as code and text in the headers of the protocol; a slow request holds up nobody;
the service is there again after a reconnect. What the endpoints mean is known elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct
from nats import errors
from nats.aio.client import Client
from nats.micro.request import Request, ServiceError
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from store.jetstream.login import ANYBODY, Login, LoginClient
from store.jetstream.wire import SIZE_MARGIN
from store.port import Unreachable

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
PROMPT_S = 0.05  # nats.micro serves an endpoint one by one: who takes longer goes on beside it
RUNNING_MAX = 256
TEXT_LENGTH_MAX = 1000


class Failure(Exception):
    """What an endpoint raises to answer with an error: a code of digits and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


Answer = Callable[[bytes, Mapping[str, str]], Awaitable[bytes]]


class MicroEndpoint(Struct, frozen=True):
    """One thing that can be asked: body and headers in, the body of the answer out."""

    name: str
    subject: str
    answer: Answer
    about: str


class MicroService:
    """A running micro service; made by ``open_micro``."""

    def __init__(self, client: Client, service: Service) -> None:
        self._client = client
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Answer what was asked, then leave. A second call does nothing."""
        if self._client.is_closed:
            return
        try:
            if self._client.is_connected:
                await self._service.stop()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=PROMPT_S * 20)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.close()

    async def add(self, endpoint: MicroEndpoint) -> None:
        """Begin to answer on an endpoint's subject."""

        async def handle(request: Request) -> None:
            if len(self._tasks) >= RUNNING_MAX:
                raise ServiceError("429", f"{RUNNING_MAX} requests are running; try again")
            task = asyncio.create_task(self._serve(endpoint, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.wait({task}, timeout=PROMPT_S)
            if task.done():
                task.result()  # an error that was prompt counts in the statistics
            else:
                task.add_done_callback(lambda late: self._apologise(request, late))

        await self._service.add_endpoint(
            EndpointConfig(
                name=endpoint.name,
                subject=endpoint.subject,
                handler=handle,
                metadata={"about": endpoint.about},
            )
        )

    async def _serve(self, endpoint: MicroEndpoint, request: Request) -> None:
        try:
            data = await endpoint.answer(request.data, request.headers or {})
        except Failure as failure:
            raise ServiceError(str(failure.code), _line(str(failure))) from None
        except Exception as error:
            log.exception("the endpoint %s failed", endpoint.name)
            raise ServiceError("500", "a defect of ours; the log of this process has it") from error
        size_max = self._client.max_payload - SIZE_MARGIN
        if len(data) > size_max:
            raise ServiceError(
                "413", f"the answer has {len(data)} bytes, NATS takes {size_max}; ask for less"
            )
        try:
            await request.respond(data)
        except (errors.Error, ValueError) as error:  # nobody waits, or the connection has gone
            log.debug("an answer of %s could not be sent: %s", endpoint.name, error)

    def _apologise(self, request: Request, late: asyncio.Task[None]) -> None:
        if late.cancelled() or not isinstance(error := late.exception(), ServiceError):
            return
        task = asyncio.create_task(request.respond_error(error.code, error.description))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def open_micro(
    url: str,
    endpoints: Sequence[MicroEndpoint],
    *,
    name: str,
    version: str,
    about: str,
    metadata: Mapping[str, str],
    login: Login = ANYBODY,
) -> MicroService:
    """Connect and begin to answer; raises Unreachable and BadLogin."""
    client = LoginClient(login)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await client.connect(
                servers=[part.strip() for part in url.split(",")],
                name=f"{name}-micro",
                tls=client.prepare(),
                inbox_prefix=login.inbox(f"{name}-micro"),
                error_cb=_note,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]  # seconds, as a float too
                pending_size=-1,
            )
        config = ServiceConfig(
            name=name, version=version, description=about, metadata=dict(metadata)
        )
        found = Service(client, config)
        await found.start()
        service = MicroService(client, found)
        for endpoint in endpoints:
            await service.add(endpoint)
        # nats-py may write a PING before subscriptions that wait, so only the second proves them.
        await client.flush()
        await client.flush()
    except (errors.Error, OSError, TimeoutError) as error:
        await client.close()
        raise Unreachable(f"the micro service could not connect to NATS: {error}") from error
    return service


async def _note(error: Exception) -> None:
    if "permissions violation" in str(error).lower():
        log.warning(
            "the micro service is not let in: %s; grant this user to subscribe to it", error
        )
    else:
        log.debug("the connection of the micro service: %s", error)


def _line(text: str) -> str:
    """A text fit for a header: one line of printable ASCII."""
    plain = " ".join(text.split()).encode("ascii", "replace").decode()
    return plain[:TEXT_LENGTH_MAX]
