"""Goal: duplicates, disorder, poison and hostile names change nothing but what they should.

Method: on a memory broker each event is delivered one to five times within a shuffled window (R18);
on a real server the same ids are published after its window and a restart (R19), raw bytes that are
no message (R20), and keys that look like wildcards, paths and markup, by NATS and by the command
line (R26).
"""

from __future__ import annotations

import json
import random

import msgspec
import nats
import pytest
from nats.js import JetStreamContext

from store.jetstream import JetStreamBackend
from tests.chaos.app import GOOD
from tests.chaos.checks import check_commands, histories
from tests.chaos.inside import engine_inside, letters
from tests.chaos.processes import World
from tests.conformance.samples import HOSTILE_KEYS
from tests.unit.jobs.rig import Rig
from tests.unit.jobs.sample import all_sagas
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

SHUFFLE = 50


def _shuffled(chance: random.Random, ids: list[int]) -> list[int]:
    """Each one to five times, none more than about SHUFFLE places from where it belongs."""
    placed = [
        (place + chance.uniform(0, SHUFFLE), id)
        for place, id in enumerate(ids)
        for _ in range(chance.randint(1, 5))
    ]
    return [id for _, id in sorted(placed)]


async def test_duplicates_in_any_order_end_as_single_messages_in_order_do(
    seed: int, chance: random.Random
) -> None:
    rig = Rig(all_sagas())
    try:
        await rig.lane()
        for key in ("a", "b", "c"):
            await rig.publish("Placed", key, {"order": key}, id=f"placed-{key}")
        await rig.drained()
        for n in _shuffled(chance, list(range(240))):
            rig.broker.restart(forget_ids=True)  # the window must not do our work
            key = "abc"[n % 3]
            await rig.publish("Noted", key, {"order": key, "n": n}, id=f"n-{n}")
        await rig.drained(30)
        for at, key in enumerate("abc"):
            last = rig.last("Order", key)
            seen = msgspec.json.decode(last.state)["seen"]
            assert sorted(seen) == list(range(at, 240, 3))
            assert last.version == 81
        assert set(rig.note_codes()) <= {"duplicate"}
    finally:
        await rig.close()


async def test_an_id_is_known_after_its_window_and_a_crash(home: World) -> None:
    async with engine_inside(home) as backend:
        client = await nats.connect(home.server.url)
        stream = client.jetstream()
        info = await stream.stream_info(home.names.events_stream)
        request = {**info.config.as_dict(), "duplicate_window": 100_000_000}
        subject = f"$JS.API.STREAM.UPDATE.{home.names.events_stream}"
        answer = await client.request(subject, json.dumps(request).encode(), timeout=5)
        assert "error" not in json.loads(answer.data), answer.data
        body = json.dumps({"order": "o-1", "fate": GOOD}).encode()
        event = home.names.event("OrderCreated", "o-1")
        for id in ("one", "two"):
            await stream.publish(event, body, headers={"Nats-Msg-Id": id})
        await _window_passed(home, stream)
        await home.crash_broker()
        await client.close()
        client = await nats.connect(home.server.url)
        for id in ("one", "two", "three"):
            ack = await client.jetstream().publish(event, body, headers={"Nats-Msg-Id": id})
            assert not ack.duplicate
        await client.close()
        await eventually(lambda: _versions(home, backend, 3), 20, "the third message")


async def _window_passed(world: World, stream: JetStreamContext) -> None:
    """Wait until an id is taken as new again, and so are all that came before it."""

    async def as_new() -> bool:
        last = {"Nats-Msg-Id": "last"}
        ack = await stream.publish(world.names.event("Nobody"), b"{}", headers=last)
        return not ack.duplicate

    assert await as_new()
    await eventually(as_new, 10, "the end of the window")


async def _versions(world: World, backend: JetStreamBackend, count: int) -> bool:
    found = await histories(backend, world.names)
    return [len(history) for history in found.values()] == [count]


POISON = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 9000,
    b'{"order":"\xff"}',
    b"null",
    b'{"order":7.5e999}',
]


async def test_poison_is_set_aside_and_the_rest_goes_on(home: World) -> None:
    async with engine_inside(home) as backend:
        client = await nats.connect(home.server.url)
        for number, poison in enumerate(POISON):
            await client.publish(home.names.event("OrderCreated", f"p-{number}"), poison)
            await client.publish(f"{home.names.namespace}.events.OrderCreated", poison)
            good = json.dumps({"order": f"g-{number}", "fate": GOOD}).encode()
            await client.publish(home.names.event("OrderCreated", f"g-{number}"), good)
        for subject in ("saga.events.a*b.k", "saga.events.Order=FF.k", "saga.events.T.=FF"):
            await client.publish(subject, b"{}")
        raw = b"HPUB saga.events.OrderCreated.h 35 37\r\nNATS/1.0\r\nNats-Msg-Id: \xff\xfe\xfd\xfc"
        await client._send_command(raw + b"\r\n\r\n\r\n{}\r\n")
        await client.flush()

        async def all_good() -> bool:
            found = await histories(backend, home.names)
            return {("ChaosOrder", f"g-{n}") for n in range(len(POISON))} == set(found)

        await eventually(all_good, 20, "the good ones being handled")
        await eventually(lambda: _many(home, backend), 10, "the bad ones being dead letters")
        await client.close()


async def _many(world: World, backend) -> bool:
    return len(await letters(world, backend)) >= 2 * len(POISON)


async def test_hostile_keys_reach_their_own_instance_by_every_way(home: World) -> None:
    by_cli = ["$JS.*.>", "../<script>", "💥 a", "-rf"]
    async with engine_inside(home) as backend:
        for key in HOSTILE_KEYS:
            body = json.dumps({"order": key, "fate": GOOD}).encode()
            await backend.door.publish(home.names.event("OrderCreated", key), body)
        for number, key in enumerate(by_cli):
            body = json.dumps({"order": f"cli {key}", "fate": GOOD})
            process = home.process(
                *("-m", "server", "publish", "OrderCreated", body),
                *(f"--key={key}", "--nats-url", home.server.url),
                name=f"publish{number}",
            )
            await process.start(ready="")
        codes = [await process.ended(60) for process in home.processes]
        assert codes == [0] * len(by_cli), [process.words() for process in home.processes]
        wanted = {*HOSTILE_KEYS, *(f"cli {key}" for key in by_cli)}

        async def all_there() -> bool:
            found = await histories(backend, home.names)
            return {key for _, key in found} == wanted

        await eventually(all_there, 20, "every key having its instance")
        found = await histories(backend, home.names)
        assert {len(history) for history in found.values()} == {1}
        await check_commands(backend, home.names, found)
        show = home.process(
            *("-m", "server", "show", "ChaosOrder", "*", "--json"),
            *("--nats-url", home.server.url),
            name="show",
        )
        await show.start(ready="")
        assert '"key"' in await show.says('"key"')
        assert await show.ended() == 0
