"""One client's stream of server-sent events, from its first byte to its end.

A stream holds its seat only while it runs, and gives it back without awaiting anything: a clean-up
that awaits inside a cancelled response is itself cancelled. It ends when the client goes, when its
time is over (the client comes back by itself and says what it had last), when the hub stops, and
when one write takes too long: then the connection is cut, since closing it in order would wait for
the very client that does not read.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from server.api.problems import Problem
from server.live.channel import Filter, Listener
from server.live.hub import Hub, reset_frame
from server.live.replay import Replay
from server.live.wire import EXTENSION, Connection
from store.port import StoreError

log = logging.getLogger("snorri.live")

MEDIA_TYPE = "text/event-stream"
RETRY_MIN_MS, RETRY_MAX_MS = 1000, 3000
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back
}


class LiveResponse(Response[None]):
    """The answer of a route that streams the events of ``filter``, after ``after`` if given."""

    def __init__(self, hub: Hub, filter: Filter, after: int | None) -> None:
        super().__init__(None, media_type=MEDIA_TYPE, headers=HEADERS, status_code=200)
        self._hub = hub
        self._filter = filter
        self._after = after

    def to_asgi_response(
        self,
        app: object,
        request: Request[Any, Any, Any],
        *,
        cookies: Iterable[Cookie] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        **_: object,
    ) -> ASGIResponse:
        """See Response: the same headers and cookies, the body written by a Stream."""
        address = request.client.host if request.client is not None else ""
        return _LiveASGIResponse(
            Stream(self._hub, self._filter, self._after, address, request.auth.holds),
            cookies=cookies,
            headers={**(headers or {}), **self.headers},
            is_head_response=is_head_response,
        )


class _LiveASGIResponse(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, stream: Stream, **more: Any) -> None:
        super().__init__(media_type=MEDIA_TYPE, status_code=200, **more)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Seated here and not in the route: a response that is never begun would keep its seat.
        with self._stream.seated(scope):
            await super().__call__(scope, receive, send)

    async def send_body(self, send: Send, receive: Receive) -> None:
        await self._stream.run(send, receive)


class Stream:
    """The writing of one stream; the hub's clock calls ``tick``."""

    def __init__(
        self,
        hub: Hub,
        filter: Filter,
        after: int | None,
        address: str,
        holds: Callable[[], Awaitable[bool]],
    ) -> None:
        self._hub = hub
        self._holds = holds
        self._filter = filter
        self._after = after
        self._address = address
        self._bell = asyncio.Event()
        self._ends_s = 0.0
        self._written_s = 0.0
        self._writing_since_s: float | None = None
        self._checked_s = 0.0
        self._check_due = False
        self._heartbeat_due = False
        self._over = False  # the client is gone, or its time is
        self._cut = False
        self._connection: Connection | None = None
        self._send: Send | None = None
        self._task: asyncio.Task[Any] | None = None

    @contextmanager
    def seated(self, scope: Scope) -> Iterator[None]:
        """Have a seat meanwhile; raises Problem when there is none or the hub is closed."""
        extensions = cast("Mapping[str, Any]", scope.get("extensions") or {})
        self._connection = extensions.get(EXTENSION, {}).get("connection")
        if not self._hub.is_open:
            raise Problem(
                503,
                "no-live-view",
                "There is no live view now",
                "This process is starting or stopping.",
                "Try again in a few seconds; an EventSource does so by itself.",
                {"retryable": True},
                {"Retry-After": "2"},
            )
        with self._hub.seats.seat(self._address):
            yield

    async def run(self, send: Send, receive: Receive) -> None:
        """Write until the end; returns also when the client is cut off."""
        self._send, self._task = send, asyncio.current_task()
        life_s = self._hub.limits.life_s * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        self._ends_s = self._now() + life_s
        self._checked_s = self._now()
        if self._connection is not None:
            self._connection.narrow()
        watch = asyncio.create_task(self._watch(receive))
        self._hub.streams[self] = None
        listener = self._hub.listen(self._filter, self._bell, self._after or 0)
        try:
            if await self._open(listener):
                await self._go_on(listener)
            await self._end()
        except asyncio.CancelledError:
            task = self._task
            if not self._cut or task is None or task.uncancel() > 0:
                raise
        finally:
            watch.cancel()
            self._hub.leave(listener)
            del self._hub.streams[self]

    # --- called by the hub

    def wake(self) -> None:
        """Look whether to go on."""
        self._bell.set()

    def tick(self, now_s: float) -> None:
        """Beat when it was quiet for long, end when the time is over, cut who does not read."""
        limits = self._hub.limits
        if self._writing_since_s is not None:
            limit_s = limits.write_s if self._hub.is_open else limits.goodbye_s
            if now_s - self._writing_since_s > limit_s and not self._cut:
                self._cut_off()
        elif now_s >= self._ends_s:
            self._over = True
            self._bell.set()
        else:
            self._check_due = now_s - self._checked_s >= limits.recheck_s
            self._heartbeat_due = now_s - self._written_s >= limits.heartbeat_s
            if self._check_due or self._heartbeat_due:
                self._bell.set()

    # --- writing

    async def _open(self, listener: Listener) -> bool:
        """The first words, and what was missed; False when the stream has to end here."""
        hub, after, upto = self._hub, self._after, self._hub.last_seq
        retry_ms = random.randint(RETRY_MIN_MS, RETRY_MAX_MS)  # noqa: S311 - jitter
        hello = b": snorri\nretry: %d\n" % retry_ms
        if after is None:
            await self._write(b"%sid: %d\n\n" % (hello, upto))
            return True
        await self._write(hello + b"\n")
        try:
            if after > upto and after > await hub.end_of_log():
                listener.floor = 0
                await self._write(reset_frame("the log has no such event (any more)", upto))
                return True
            replay = Replay(hub, self._filter, after, upto)
            while not replay.done and self._goes_on:
                if page := await replay.page():
                    await self._write(page)
            return self._goes_on
        except StoreError as error:
            log.info("a stream could not be resumed now: %s", error)
            return False

    async def _go_on(self, listener: Listener) -> None:
        while self._goes_on:
            self._bell.clear()
            await self._recheck()
            place = listener.channel.end
            while listener.is_before(place) and self._goes_on:
                if body := listener.take():
                    await self._write(body)
            if self._heartbeat_due and not listener.is_before(listener.channel.end):
                # With the id, so that a quiet stream resumes from here and not from its last event.
                seq = max(self._hub.last_seq, listener.floor)
                await self._write(b": heartbeat\nid: %d\n\n" % seq)
            if self._goes_on:
                await self._bell.wait()

    async def _recheck(self) -> None:
        """End when whoever listens may no longer: logged out, revoked, in another role."""
        if self._check_due:
            self._check_due, self._checked_s = False, self._now()
            if not await self._holds():
                log.info("a stream ends, its client may not listen any more")
                self._over = True

    async def _write(self, body: bytes, more: bool = True) -> None:
        if self._send is None or self._cut:
            return
        self._heartbeat_due = False
        self._writing_since_s = self._now()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._writing_since_s, self._written_s = None, self._now()

    async def _end(self) -> None:
        """The regular end of the answer; the client comes again and says what it had last."""
        await self._write(b"", more=False)

    async def _watch(self, receive: Receive) -> None:
        """Notice that the client has gone."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._over = True
        self._bell.set()

    def _cut_off(self) -> None:
        log.info("a client of the live view does not read; its connection is cut")
        self._cut = self._over = True
        if self._connection is not None:
            self._connection.abort()
        if self._task is not None:
            self._task.cancel()

    @property
    def _goes_on(self) -> bool:
        return not self._over and self._hub.is_open

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
