"""Goal: a timer fires once or was cancelled, whatever happens to the broker meanwhile (R22, R23).

Method: 200 timers fall due while the broker is down; of 100 timers each is cancelled within 50 ms
of its due time. What counts is what the instances say they saw, in histories with whole chains.
"""

from __future__ import annotations

import asyncio
import json
import random
import time

import msgspec
import pytest

from sagas.instance import Instance
from store.jetstream import JetStreamBackend
from tests.chaos.checks import histories
from tests.chaos.processes import World
from tests.waiting import eventually, until_moment

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

DUE_WHILE_DOWN = 200
DUE_S = 5
LATER = "later"
ROUNDS = 100


def _rang(instance: Instance) -> int:
    return msgspec.json.decode(instance.state)["rang"]


async def _publish(
    world: World, backend: JetStreamBackend, type: str, bell: str, **payload: object
) -> None:
    body = json.dumps({"bell": bell, **payload}).encode()
    await backend.door.publish(world.names.event(type, bell), body, {}, f"{type}-{bell}")


async def _bells(world: World, backend: JetStreamBackend) -> dict[str, Instance]:
    found = await histories(backend, world.names)
    return {key: history[-1] for (saga, key), history in found.items() if saga == "Bell"}


async def _a_later_bell(world: World, backend: JetStreamBackend) -> None:
    """Wait until a bell that is set now has rung: whatever was due before it has rung, too."""
    await _publish(world, backend, "BellSet", LATER, after_s=1)

    async def rung() -> bool:
        found = await _bells(world, backend)
        return LATER in found and _rang(found[LATER]) == 1

    await eventually(rung, 20, "a later bell ringing")


async def test_timers_that_fall_due_while_the_broker_is_down_fire_once(home: World) -> None:
    backend = await home.backend()
    engine = await home.runner("engine").start()
    bells = [f"b-{n}" for n in range(DUE_WHILE_DOWN)]
    set_s = time.monotonic()
    await asyncio.gather(*(_publish(home, backend, "BellSet", b, after_s=DUE_S) for b in bells))
    await asyncio.gather(
        *(_publish(home, backend, "BellStopped", b) for b in bells if b.endswith("9"))
    )

    async def armed() -> bool:
        found = await _bells(home, backend)
        ready = [b for b in found.values() if bool(b.timers) != b.key.endswith("9")]
        return len(ready) == DUE_WHILE_DOWN

    await eventually(armed, 5, "all timers being armed or cancelled")
    assert all(_rang(b) == 0 for b in (await _bells(home, backend)).values())
    await home.server.kill()
    await until_moment(set_s + DUE_S + 1)
    assert engine.alive
    await home.server.restart()

    async def rung() -> bool:
        found = await _bells(home, backend)
        return sum(_rang(bell) for bell in found.values()) >= DUE_WHILE_DOWN * 9 // 10

    await eventually(rung, 20, "the late timers firing")
    await _a_later_bell(home, backend)
    found = await _bells(home, backend)
    assert found.pop(LATER)
    assert {_rang(b) for b in found.values() if not b.key.endswith("9")} == {1}
    assert {_rang(b) for b in found.values() if b.key.endswith("9")} == {0}
    assert all(b.timers == {} for b in found.values())


async def test_a_cancel_at_the_due_time_either_wins_or_comes_too_late(
    home: World, chance: random.Random
) -> None:
    backend = await home.backend()
    await home.runner("engine").start()

    async def round_(number: int) -> None:
        bell, set_s = f"r-{number}", began_s + number * 0.02
        await until_moment(set_s)
        await _publish(home, backend, "BellSet", bell, after_s=1.0)
        await until_moment(set_s + 1.0 + chance.uniform(-0.05, 0.2))
        await _publish(home, backend, "BellStopped", bell)

    began_s = time.monotonic()
    await asyncio.gather(*(round_(number) for number in range(ROUNDS)))

    async def handled() -> bool:
        found = await _bells(home, backend)
        states = [msgspec.json.decode(bell.state) for bell in found.values()]
        return len(states) == ROUNDS and all("stopped_after" in state for state in states)

    await eventually(handled, 20, "all cancels being handled")
    await _a_later_bell(home, backend)  # none may come after its cancel
    found = await _bells(home, backend)
    assert found.pop(LATER)
    assert len(found) == ROUNDS
    fired = 0
    for bell in found.values():
        state = msgspec.json.decode(bell.state)
        assert state["rang"] == state["stopped_after"], f"{bell.key} rang after its cancel"
        assert state["rang"] in (0, 1)
        assert bell.timers == {}
        fired += state["rang"]
    print(f"{fired} of {ROUNDS} fired before their cancel")
