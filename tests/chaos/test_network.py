"""Goal: what the network hides or loses is found out, and nothing appears that nobody sent.

Method: a proxy swallows acknowledgements of commits that were stored (R16); publishes are tried
while the broker is down and looked for after it is back (R17); payloads around every limit go over
one connection that must never close (R25); batches compete for the server's places (R27).
"""

from __future__ import annotations

import asyncio
import random
import time

import nats
import pytest

from jobs.commit import Committer
from store.jetstream import JetStreamBackend
from store.port import (
    Busy,
    Committed,
    Conflict,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    Unknown,
    Unreachable,
)
from tests.chaos.app import GOOD
from tests.chaos.checks import check_commands, histories
from tests.chaos.inside import engine_inside, letters
from tests.chaos.processes import World
from tests.chaos.proxy import Proxy
from tests.waiting import eventually, until_moment

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

MIB = 1024 * 1024


async def test_commits_whose_answers_are_lost_count_once(
    home: World, chance: random.Random
) -> None:
    def lose(subject: bytes, payload: bytes) -> bool:
        """One acknowledgement in ten, of the log only."""
        ack = subject.startswith(b"_INBOX") and payload.startswith(b'{"stream":"KV_SAGA"')
        return ack and chance.random() < 0.1

    async with (
        Proxy(home.server.url, lose) as proxy,
        engine_inside(home, url=proxy.url, commit_timeout_s=0.3),
    ):
        backend = await home.backend()
        next_s = time.monotonic()
        for number in range(150):
            body = f'{{"order":"o-{number}","fate":"{GOOD}"}}'.encode()
            subject = home.names.event("OrderCreated", f"o-{number}")
            await backend.door.publish(subject, body, {}, f"create-{number}")
            next_s += chance.uniform(0, 0.03)  # so that many small commits are made of them
            await until_moment(next_s)

        async def all_there() -> bool:
            found = await histories(backend, home.names)
            return len(found) == 150

        await eventually(all_there, 30, "all orders being there")
        found = await histories(backend, home.names)
    assert {len(history) for history in found.values()} == {1}
    assert await check_commands(backend, home.names, found) == 150
    print(f"{proxy.lost} answers were lost")
    assert proxy.lost > 0


async def test_a_publish_while_the_broker_is_down_fails_and_is_never_stored(home: World) -> None:
    backend = await home.backend()
    await home.server.kill()
    began_s = time.monotonic()
    with pytest.raises(Unreachable):
        await backend.door.publish(home.names.event("Ghost", "g"), b"{}", {}, "ghost")
    outcome = await backend.log.commit([Outgoing(home.names.instance("S", "g"), b"{}")])
    two = Outgoing(home.names.instance("S", "h"), b"{}")
    batch = await backend.log.commit([two, Outgoing(home.names.command("pay", "g"), b"{}")])
    assert isinstance(outcome, (Busy, Unknown))
    assert isinstance(batch, (Busy, Unknown))
    assert time.monotonic() - began_s < 15
    await home.server.restart()
    await eventually(lambda: backend.connected, 20, "the connection being back")
    await backend.door.publish(home.names.event("Real", "r"), b"{}")
    assert [m async for m in backend.log.history(home.names.instances())] == []
    assert await backend.log.load([home.names.command("pay", "g")]) == {}
    first = await backend.log.at("events", 1)
    assert first is not None
    assert "Real" in first.subject


SIZES = [0, 1, 64 * 1024, 399_000, 401_000, MIB - 5000, MIB - 10, MIB - 1, MIB, MIB + 1, 3 * MIB]


async def test_no_payload_closes_a_connection(home: World) -> None:
    async with engine_inside(home) as backend:
        accepted = refused = 0
        for number, size in enumerate(SIZES):
            body = f'{{"order":"s-{number}","fate":"{GOOD}","x":"'.encode()
            body += b"y" * max(0, size - len(body) - 2) + b'"}'
            subject = home.names.event("OrderCreated", f"s-{number}")
            try:
                await backend.door.publish(subject, body[:size], {}, f"size-{number}")
                accepted += 1
            except MessageTooLarge:
                refused += 1
            headers = {"x": "h" * (size // 16)}
            try:
                await backend.door.publish(home.names.event("Sized"), body[:10], headers)
            except (MessageTooLarge, Refused):
                refused += 1
            outcome = await backend.log.commit([Outgoing(home.names.instance("S", "s"), body)])
            assert isinstance(outcome, (Committed, Invalid)), outcome
        long = home.names.instance("S", "k" * 5000)
        assert isinstance(await backend.log.commit([Outgoing(long, b"{}")]), Invalid)
        assert accepted >= 6
        assert refused >= 3
        assert backend.connected
        assert backend._link.stats["reconnects"] == 0
        await eventually(lambda: _settled(home, backend), 20, "all sizes being handled")


async def _settled(world: World, backend: JetStreamBackend) -> bool:
    """Sizes under a saga's limit are instances, the larger ones dead letters."""
    found = await _orders(world, backend)
    dead = await letters(world, backend)
    return {"s-2", "s-3"} <= found and any("bytes" in letter.reason for letter in dead)


async def _orders(world: World, backend: JetStreamBackend) -> set[str]:
    """The keys of all orders."""
    found = [m async for m in backend.log.latest(world.names.instances("ChaosOrder"))]
    return {world.names.parse_instance(message.subject)[1] for message in found}


async def test_more_batches_than_the_server_has_places_all_end(home: World) -> None:
    backends = [await home.backend() for _ in range(3)]

    async def commit(number: int) -> None:
        batch = [
            Outgoing(home.names.instance("S", f"{number}-{n}"), b"{}", expect=0) for n in range(40)
        ]

        async def stored() -> bool:
            outcome = await backends[number % 3].log.commit(batch)
            assert isinstance(outcome, (Committed, Busy)), outcome
            return isinstance(outcome, Committed)

        await eventually(stored, 30, f"a place for batch {number}")

    await asyncio.gather(*(commit(number) for number in range(60)))
    stored = [m async for m in backends[0].log.history(home.names.instances("S"))]
    assert len(stored) == 60 * 40
    many = [Outgoing(home.names.instance("S", f"m-{n}"), b"{}") for n in range(1001)]
    assert isinstance(await backends[0].log.commit(many), Invalid)


async def test_a_batch_cut_in_the_middle_leaves_nothing(home: World) -> None:
    """Half of a batch is sent and its sender vanishes; the engine commits as if it never was."""
    backend = await home.backend()
    client = await nats.connect(home.server.url)
    for number in range(1, 6):
        headers = {"Nats-Batch-Id": "torn", "Nats-Batch-Sequence": str(number)}
        subject = home.names.instance("S", f"torn-{number}")
        await client.publish(subject, b"{}", headers=headers)
    await client.flush()
    await client.close()
    assert isinstance(
        await backend.log.commit([Outgoing(home.names.instance("S", "whole"), b"{}", expect=0)]),
        Committed,
    )
    await home.crash_broker()
    await eventually(lambda: backend.connected, 20, "the connection being back")
    stored = [m async for m in backend.log.history(home.names.instances())]
    assert [m.subject for m in stored] == [home.names.instance("S", "whole")]


async def test_a_lost_race_for_a_position_is_a_conflict(home: World) -> None:
    """The fence itself: whoever expects an old position stores nothing."""
    backend = await home.backend()
    position = Outgoing(home.names.position(0), b"{}", (("Nats-Rollup", "sub"),), 0)
    revision = Outgoing(home.names.instance("S", "late"), b"{}", expect=0)
    assert isinstance(await backend.log.commit([position]), Committed)
    outcome = await backend.log.commit([revision, position])
    assert isinstance(outcome, Conflict)
    assert await backend.log.read(home.names.instance("S", "late")) is None
    assert await Committer(backend, home.names).position(0) is not None
