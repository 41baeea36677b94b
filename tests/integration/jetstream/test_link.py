"""The connection itself: refused credentials, denied subjects, dead and silent servers.

Goal: a caller is never left waiting and never surprised by a late write. Method: real servers with
users, kill -9, and a listener that accepts and says nothing.
"""

from __future__ import annotations

import asyncio

import pytest

from store.jetstream import connect, wire
from store.jetstream.dial import dial
from store.jetstream.link import Link, NoResponders
from store.port import Refused, Unreachable
from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.jetstream.conftest import Configured
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

USERS = """
authorization { users = [
  { user: all, password: secret }
  { user: few, password: secret, permissions: {
      publish: ["allowed.>"], subscribe: ["_INBOX_few.>"] } }
] }
"""


async def test_nobody_there_is_reported_within_the_time() -> None:
    with pytest.raises(Unreachable, match="check that the server runs"):
        await dial("nats://127.0.0.1:1", timeout_s=0.5)


async def test_a_silent_server_is_reported_within_the_time() -> None:
    hung_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        hung_up.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(Unreachable):
        await dial(f"nats://127.0.0.1:{port}", timeout_s=0.5)
    await asyncio.wait_for(hung_up.wait(), 5)
    silent.close()


async def test_what_the_client_itself_refuses_is_unreachable_too() -> None:
    with pytest.raises(Unreachable, match="no connection to NATS"):
        await dial("nats://127.0.0.1:99999", timeout_s=0.5)


async def test_refused_credentials_are_reported_at_once(configured: Configured) -> None:
    address = await configured(USERS)
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match="refused our credentials") as failure:
        await dial(f"nats://all:wrong@{address}", timeout_s=30)
    assert asyncio.get_running_loop().time() - began_s < 5
    assert "wrong" not in str(failure.value)


async def test_a_denied_subject_is_named_at_once(configured: Configured, names: Names) -> None:
    address = await configured(USERS)
    link = await dial(f"nats://few:secret@{address}", name="few")
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(Refused, match="grant this user"):
        await link.ask("Denied.Subject", timeout_s=20)
    assert asyncio.get_running_loop().time() - began_s < 5
    with pytest.raises(NoResponders):  # and the connection is still good
        await link.ask("allowed.subject")
    await link.hang_up()
    with pytest.raises(Refused):
        await connect(f"nats://few:secret@{address}", names, name="few")


async def test_no_responders_are_told_from_a_time_out(link: Link) -> None:
    with pytest.raises(NoResponders):
        await link.ask("nobody.here")
    sid = await link.attach("deaf", lambda *_: None)
    with pytest.raises(Unreachable, match="did not answer") as failure:
        await link.ask("deaf", timeout_s=0.1)
    assert not isinstance(failure.value, NoResponders)
    await link.detach(sid)
    with pytest.raises(NoResponders):
        await link.ask("deaf")


async def test_a_failing_sink_does_not_stop_the_others(link: Link) -> None:
    def fail(*_: bytes) -> None:
        raise RuntimeError("a reader's defect")

    heard: list[tuple[bytes, bytes, bytes]] = []
    await link.attach("both", fail)
    await link.attach(
        "both", lambda subject, _reply, head, data: heard.append((subject, head, data))
    )
    link.post(wire.message("both", "", (("Kept-Case", "a: b"),), b"one", 1000))
    link.post(wire.message("both", "", (), b"two", 1000))
    await eventually(lambda: len(heard) == 2, what="both messages")
    assert [data for _, _, data in heard] == [b"one", b"two"]
    assert wire.headers_of(heard[0][1]) == {"Kept-Case": "a: b"}


@pytest.mark.chaos
async def test_a_killed_server_fails_waiters_at_once_and_leaves_no_ghosts(
    link: Link, nats_server: NatsServer
) -> None:
    heard: list[bytes] = []
    await link.attach("ghost", lambda _s, _r, _h, data: heard.append(data))
    await link.attach("deaf", lambda *_: None)
    waiting = asyncio.create_task(link.ask("deaf", timeout_s=60))
    await link.flush()
    reconnected = asyncio.Event()
    link.reconnected.append(reconnected.set)
    await asyncio.to_thread(nats_server.kill)
    try:
        with pytest.raises(Unreachable, match="connection was lost"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(Unreachable):
            link.post(wire.pub("ghost", "", b"written while away"))
    finally:
        await asyncio.to_thread(nats_server.restart)
    await asyncio.wait_for(reconnected.wait(), 10)
    link.post(wire.pub("ghost", "", b"alive"))
    await eventually(lambda: bool(heard), what="a message over the old subscription")
    assert heard == [b"alive"]


async def test_a_protocol_error_costs_a_reconnect_and_not_the_connection(link: Link) -> None:
    reconnected = asyncio.Event()
    link.reconnected.append(reconnected.set)
    link.post(b"NONSENSE\r\n")
    await asyncio.wait_for(reconnected.wait(), 10)
    with pytest.raises(NoResponders):
        await link.ask("nobody.here")
    assert not link.closed.is_set()


async def test_hanging_up_fails_waiters_and_is_idempotent(nats_server: NatsServer) -> None:
    link = await dial(nats_server.url)
    await link.attach("deaf", lambda *_: None)
    waiting = asyncio.create_task(link.ask("deaf", timeout_s=60))
    await link.flush()
    await link.hang_up()
    await link.hang_up()
    with pytest.raises(Unreachable):
        await waiting
    with pytest.raises(Unreachable):
        await link.ask("x")
    assert link.closed.is_set()


async def test_what_was_posted_before_hanging_up_is_sent(
    link: Link, nats_server: NatsServer
) -> None:
    heard: list[bytes] = []
    await link.attach("last", lambda _s, _r, _h, data: heard.append(data))
    await link.flush()
    other = await dial(nats_server.url)
    other.post(wire.pub("last", "", b"words"))
    await other.hang_up()
    await eventually(lambda: heard == [b"words"], what="the last words")
