"""Goal: a timer fires once or was cancelled, also over restarts, and an old one changes nothing.

Method: sagas arm, replace and cancel timers on a memory broker; its virtual clock is advanced past
the due times.
"""

from __future__ import annotations

import msgspec
import pytest

from sagas.messages import Address, Cause
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


async def _armed(rig: Rig, *keys: str) -> None:
    for key in keys:
        await rig.publish("Placed", key, {"order": key})
        await rig.publish("Armed", key, {"order": key})
    await rig.drained()


def _rang(rig: Rig, key: str) -> int:
    return msgspec.json.decode(rig.last("Order", key).state).get("rang", 0)


async def test_an_armed_timer_fires_once(rig: Rig) -> None:
    await rig.lane()
    await _armed(rig, "o-1")
    assert set(rig.last("Order", "o-1").timers) == {"bell"}
    await rig.broker.advance(29)
    assert _rang(rig, "o-1") == 0
    await rig.broker.advance(10)
    await rig.drained()
    assert _rang(rig, "o-1") == 1
    assert rig.last("Order", "o-1").timers == {}
    await rig.broker.advance(100)
    await rig.drained()
    assert _rang(rig, "o-1") == 1


async def test_a_cancelled_timer_never_fires(rig: Rig) -> None:
    await rig.lane()
    await _armed(rig, "o-1", "o-2")
    await rig.publish("Disarmed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.broker.advance(60)
    await rig.drained()
    assert (_rang(rig, "o-1"), _rang(rig, "o-2")) == (0, 1)


async def test_a_timer_set_anew_fires_at_the_later_time_only(rig: Rig) -> None:
    await rig.lane()
    await _armed(rig, "o-1")
    await rig.broker.advance(20)
    await rig.publish("Armed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.broker.advance(20)
    await rig.drained()
    assert _rang(rig, "o-1") == 0
    await rig.broker.advance(20)
    await rig.drained()
    assert _rang(rig, "o-1") == 1


async def test_timers_that_fell_due_without_an_engine_are_handled_late(rig: Rig) -> None:
    lane = await rig.lane()
    keys = [f"o-{n}" for n in range(20)]
    await _armed(rig, *keys)
    for number in lane.partitions:
        await lane.release(number)
    await rig.broker.advance(120)
    await rig.lane()
    await rig.drained()
    assert {_rang(rig, key) for key in keys} == {1}


async def test_a_timer_that_fired_before_its_cancel_was_committed_is_moot(rig: Rig) -> None:
    lane = await rig.lane()
    await _armed(rig, "o-1")
    for number in lane.partitions:
        await lane.release(number)
    await rig.broker.advance(60)  # it has fired, nobody has read it yet
    await rig.publish("Disarmed", "o-1", {"order": "o-1"})
    await rig.lane()
    await rig.drained()
    rang = _rang(rig, "o-1")
    moot = "timer_moot" in rig.note_codes()
    assert (rang, moot) in ((1, False), (0, True))


async def test_a_timer_of_an_older_version_changes_nothing(rig: Rig) -> None:
    await rig.lane()
    await _armed(rig, "o-1")
    old = Cause(kind="timer", type="Rang", id="bell@1", seq=0, at=rig.now(), epoch=1)
    await rig.signal(Address("Order", "o-1"), old)
    await rig.drained()
    assert _rang(rig, "o-1") == 0
    assert rig.note_codes() == ["timer_moot"]


async def test_the_end_of_an_instance_takes_its_timers_with_it(rig: Rig) -> None:
    await rig.lane()
    await _armed(rig, "o-1")
    await rig.answer("Paid", rig.command_ids()[0])
    await rig.drained()
    assert rig.last("Order", "o-1").timers == {}
    await rig.broker.advance(60)
    await rig.drained()
    assert rig.last("Order", "o-1").version == 3


async def test_a_timer_set_and_replaced_at_once_is_one_timer(rig: Rig) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    for type in ("Armed", "Armed", "Disarmed", "Armed"):
        await rig.publish(type, "o-1", {"order": "o-1"})
    await rig.lane()
    await rig.drained()
    assert rig.last("Order", "o-1").version == 5
    await rig.broker.advance(60)
    await rig.drained()
    assert _rang(rig, "o-1") == 1
    assert rig.letters() == []
