"""One connection to NATS: raw sinks for reading, one mailbox for replies, writes that never haunt.

``Link`` is a thin layer on the client of nats-py, whose private parts it uses where the public ones
lose data or time; the version is pinned and every use is covered by a test. Promises:

- a message for a *sink* goes from the parser to a plain function, as bytes, in order, unqueued;
- nothing is kept back over a disconnect: what was not on the wire is dropped and its waiters fail
  at once, so no write can appear long after it was given up;
- callbacks never raise into the read loop, and the connection comes back by itself, with jitter,
  unless it was closed or the server refused our credentials (``closed`` tells a supervisor).

It knows subjects and bytes, no stream and no error code.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from nats import errors

from store.jetstream import wire
from store.jetstream.login import ANYBODY, Login
from store.jetstream.parser import LinkParser, Message, RunSink, Sink, info_of, one_by_one
from store.jetstream.roaming import PING_INTERVAL_CLUSTER_S, PING_INTERVAL_S, RoamingClient
from store.port import Denied, Unreachable

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
CLOSE_S = 2.0
_UNSENT_BYTES_MAX = 16 * 1024 * 1024  # over this a writer waits for the socket


class NoResponders(Unreachable):
    """Nobody answers now: no such stream, or it has no leader. Nothing was stored."""


class Reply(NamedTuple):
    """An answer: ``header`` is its raw block (empty when it has none)."""

    header: bytes
    data: bytes


class Waiter(NamedTuple):
    """Who waits for replies to a token; ``offer`` sees each and settles the future."""

    future: asyncio.Future[Any]
    offer: Callable[[Reply], None]
    subject: str


class Link(RoamingClient):
    """A connection to NATS; made by ``dial``, never by hand."""

    def __init__(self, login: Login = ANYBODY) -> None:
        super().__init__(login, awaiting=lambda: bool(self._waiters))
        self.closed = asyncio.Event()
        self.reconnected: list[Callable[[], None]] = []
        self.disconnected: list[Callable[[], None]] = []
        self.problem = ""  # the last thing the server or the socket complained of
        self.refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.may_tidy = True  # until the server denies us to remove a consumer
        self._sink_by_sid: dict[int, RunSink] = {}
        self._waiters: dict[bytes, Waiter] = {}
        self._tokens = 0
        self.prefix = ""  # of all inboxes of this connection
        self._mailbox = b""
        self._deaf = ""  # why no answer can reach us
        self._out: list[bytes] = []
        self._out_due = False
        self._ps = LinkParser(self._dispatch, self._control)  # type: ignore[assignment]

    # --- what others use

    @property
    def size_max(self) -> int:
        """Bytes one message may have, headers included."""
        return self.max_payload - wire.SIZE_MARGIN

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server said of itself when we connected (the INFO document)."""
        return self._server_info

    async def attach(self, subject: str, sink: Sink) -> int:
        """Subscribe ``sink`` to ``subject`` (wildcards allowed); the number is for ``detach``."""
        return await self.attach_runs(subject, one_by_one(sink))

    async def attach_runs(self, subject: str, sink: RunSink) -> int:
        """The same for one that takes all that has come together at once, which costs less."""
        subscription = await self.subscribe(subject)  # pyright: ignore[reportUnknownMemberType]
        sid = subscription._id  # pyright: ignore[reportPrivateUsage]
        self._sink_by_sid[sid] = sink
        return sid

    async def detach(self, sid: int) -> None:
        """End a subscription made by ``attach``; does nothing when it has ended."""
        self._sink_by_sid.pop(sid, None)
        if self._subs.pop(sid, None) is not None and self.is_connected:
            await self._send_unsubscribe(sid)

    def post(self, commands: bytes) -> None:
        """Send prebuilt commands; raises Unreachable when there is no connection.

        All that is posted within one turn of the event loop goes out in one write.
        """
        if not self.is_connected:
            raise Unreachable(
                "not connected to NATS; nothing was sent. It reconnects by itself: try again"
            )
        self._out.append(commands)
        if not self._out_due:
            self._out_due = True
            asyncio.get_running_loop().call_soon(self._write_out)

    async def settle(self) -> None:
        """Wait while the socket is far behind; at once otherwise. Never raises."""
        transport = self._tcp()
        if transport is not None and transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            try:
                await self._transport.drain()  # pyright: ignore[reportOptionalMemberAccess]
            except OSError as error:
                self._note(error)

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Reply:
        """Publish and wait for one reply.

        Raises NoResponders, Unreachable, MessageTooLarge and Refused.
        """

        def build(inbox: str) -> bytes:
            return wire.message(subject, inbox, headers, payload, self.size_max)

        return await self.exchange(subject, build, timeout_s)

    async def exchange(
        self,
        subject: str,
        build: Callable[[str], bytes],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Reply:
        """Send what ``build`` makes for an inbox, wait for a reply that is more than an empty ack.

        Raises NoResponders, and Unreachable for a time-out or a lost connection.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def offer(reply: Reply) -> None:
            if future.done() or not (reply.data or reply.header):
                return  # late, or the empty ack of the first message of a batch
            if not reply.data and wire.status_of(reply.header) == 503:
                future.set_exception(
                    NoResponders(
                        f"nobody answers to {subject}: the stream does not exist or has no leader "
                        "now; try again, and see `snorri doctor` when it stays"
                    )
                )
            else:
                future.set_result(reply)

        return await self.wait(subject, build, Waiter(future, offer, subject), timeout_s)

    async def wait(
        self, subject: str, build: Callable[[str], bytes], waiter: Waiter, timeout_s: float
    ) -> Any:
        """Register ``waiter`` under a fresh inbox, send, and wait for its future."""
        if self._deaf:
            raise Denied(self._deaf)
        self._tokens += 1
        token = b"%x" % self._tokens
        commands = build((self._mailbox + token).decode())
        self.post(commands)
        self._waiters[token] = waiter
        timer = asyncio.get_running_loop().call_later(timeout_s, _expire, waiter, timeout_s)
        try:
            return await waiter.future
        finally:
            timer.cancel()
            self._waiters.pop(token, None)

    async def hang_up(self) -> None:
        """Close for good; what was posted is written first. Idempotent and never raises."""
        self.stay()
        self._write_out()
        self._fail_waiters("the connection was closed")
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.close()
        except (OSError, RuntimeError, AssertionError, errors.Error) as error:
            # The peer may be gone already, which uvloop tells with a RuntimeError, or nothing was
            # ever connected, which nats-py asserts, or a TLS peer never says that it has closed.
            self._note(error)
            if (transport := self._tcp()) is not None:
                transport.abort()
        self.closed.set()

    # --- reading: called by the parser of nats-py

    def _dispatch(self, sid: int, run: list[Message]) -> None:
        sink = self._sink_by_sid.get(sid)
        if sink is None:
            return  # detached a moment ago; we have no other kind of subscription
        try:
            sink(run)
        except Exception:
            log.exception("a reader failed; %d messages are skipped", len(run))

    async def _control(self, word: bytes, text: str) -> None:
        try:
            match word:
                case b"PING":
                    await self._process_ping()
                case b"PONG":
                    await self._process_pong()
                case b"INFO":
                    await self._process_info(info_of(text))
                case _:
                    await self._process_err(text.lower())
        except Exception as error:  # any other would end the parent's read loop without a reconnect
            raise errors.ProtocolError from error

    def _deliver(self, subject: bytes, reply: bytes, header: bytes, data: bytes) -> None:
        waiter = self._waiters.get(subject[len(self._mailbox) :])
        if waiter is not None:
            waiter.offer(Reply(header, data))

    async def _process_pong(self) -> None:
        # The parent's sets the result of a future that may have been cancelled, which ends its read
        # loop.
        self._pings_outstanding = 0
        self._pongs_received += 1
        pongs = cast("list[asyncio.Future[bool]]", getattr(self, "_pongs", []))
        if pongs:
            future = pongs.pop(0)
            if not future.done():
                future.set_result(True)

    async def _process_err(self, err_msg: str) -> None:
        # The parent closes for good on any error it does not know; only refused credentials deserve
        # that.
        if "permissions violation" in err_msg:
            self._deny(err_msg)
        elif "authorization violation" in err_msg:
            await super()._process_err(err_msg)
        else:
            self._note(errors.Error(err_msg))
            await self._process_op_err(errors.Error(err_msg))

    def _deny(self, message: str) -> None:
        self.problem = message
        words = (
            f"NATS denies it: {message}; connect as a user of another role (SNORRI_NATS_CREDS, "
            "made by `snorri nats-users`), or grant this user the subject"
        )
        # The server writes the subject in quotes and nats-py lower-cases the line.
        deaf = f'subscription to "{self._mailbox.decode().lower()}' in message
        if deaf:
            self._deaf = words
        told = False
        for waiter in list(self._waiters.values()):
            if (deaf or f'"{waiter.subject.lower()}"' in message) and not waiter.future.done():
                waiter.future.set_exception(Denied(words))
                told = True
        if "$js.api.consumer.delete." in message:
            self.may_tidy = False
        elif not told:
            log.warning("%s", words)

    # --- writing

    def _write_out(self) -> None:
        self._out_due = False
        out, self._out = self._out, []
        if not out or self._transport is None or not self.is_connected:
            return  # dropped on purpose: the waiters fail when the disconnect is noticed
        try:
            if self._pending:  # subscriptions of ours that the client's flusher has not sent yet
                out = [*self._pending, *out]
                self._pending = []
                self._pending_data_size = 0
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        except (OSError, RuntimeError, AttributeError) as error:
            self._note(error)

    def _tcp(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    # --- the connection's life

    async def _process_op_err(self, e: Exception) -> None:
        # Abort, so that unsent bytes die now: the parent waits for them to be flushed, on a dead
        # network for many minutes.
        if not self.is_closed and not self.is_reconnecting:
            transport = self._tcp()
            if transport is not None:
                transport.abort()
            self._fail_waiters("the connection was lost")
        await super()._process_op_err(e)

    def _fail_waiters(self, why: str) -> None:
        self._out.clear()
        for waiter in list(self._waiters.values()):
            if not waiter.future.done():
                waiter.future.set_exception(
                    Unreachable(
                        f"{why} before an answer came; the outcome is unknown: read it back"
                    )
                )

    def _note(self, error: BaseException) -> None:
        self.problem = str(error) or type(error).__name__
        log.debug("NATS connection: %s", self.problem)

    def _call_all(self, listeners: list[Callable[[], None]]) -> None:
        for listener in list(listeners):
            try:
                listener()
            except Exception:
                log.exception("a listener of the connection failed")

    async def _on_error(self, error: Exception) -> None:
        self._note(error)
        if "authorization" in str(error).lower() and not self.refusal.done():
            self.refusal.set_result(str(error))

    async def _on_disconnected(self) -> None:
        self._fail_waiters("the connection was lost")
        self._call_all(self.disconnected)

    async def _on_reconnected(self) -> None:
        self._attempts = 0
        log.info("reconnected to NATS")
        self._call_all(self.reconnected)

    async def _on_closed(self) -> None:
        self._fail_waiters("the connection was closed")
        self.closed.set()

    def unique(self) -> str:
        """A name that nobody else has, fit for consumers and subjects."""
        return self._nuid.next().decode()

    async def open_mailbox(self, prefix: str) -> None:
        """Subscribe to the inbox that all replies come to; called once, by ``dial``."""
        self.prefix = prefix
        self._mailbox = f"{prefix}.{self.unique()}.".encode()
        await self.attach(f"{self._mailbox.decode()}*", self._deliver)

    async def start(self, url: str, name: str, inbox: str) -> None:
        """Connect with the settings that every writer of ours needs; called once, by ``dial``."""
        servers = [part.strip() for part in url.split(",")]
        random.shuffle(servers)  # so that clients are spread over a cluster
        alone = len(servers) == 1
        await self.connect(
            servers=servers,
            name=name,
            tls=self.prepare(),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            lame_duck_mode_cb=self._on_lame_duck,
            reconnect_to_server_handler=self._next_server,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # between first attempts; seconds
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL_S if alone else PING_INTERVAL_CLUSTER_S,
            max_outstanding_pings=2,
            pending_size=-1,
            inbox_prefix=inbox,
        )


def _expire(waiter: Waiter, timeout_s: float) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(
            Unreachable(
                f"NATS did not answer {waiter.subject} within {timeout_s:g} s; the outcome is "
                "unknown: read it back before repeating"
            )
        )
