"""Goal: what an engine remembers of an instance never makes it pass a message by.

Method: another writer changes an instance that the lane has in its cache, as an engine does that
had the partition meanwhile or feeds the instance from another one. A message then means nothing to
the version that is remembered and something to the last one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from sagas.instance import Instance, Timer, document_hash, encode
from sagas.messages import Address, Cause
from store.memory import HoldReply, ScriptedFaults
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


def _with_bell(rig: Rig, before: Instance) -> bytes:
    """The next version, in which somebody else has set a timer."""
    version = before.version + 1
    bell = Timer(at=rig.now() + timedelta(seconds=1), version=version, type="Rang")
    after = msgspec.structs.replace(
        before,
        version=version,
        prev=document_hash(encode(before)),
        timers={"bell": bell},
        effects=(),
    )
    return encode(after)


async def _rings(rig: Rig, version: int) -> None:
    """The timer that was set with ``version`` fires."""
    id = f"bell@{version}"
    cause = Cause(kind="timer", type="Rang", id=id, seq=0, at=rig.now(), epoch=version)
    await rig.signal(Address("Order", "o-1"), cause)


async def test_what_another_engine_has_changed_is_read_again_before_a_message_is_passed_by(
    rig: Rig,
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.write("Order", "o-1", _with_bell(rig, rig.last("Order", "o-1")))
    await _rings(rig, 2)
    await rig.drained()
    last = rig.last("Order", "o-1")
    assert (last.version, last.cause.id, rig.note_codes()) == (3, "bell@2", [])


async def test_it_is_read_after_the_commit_that_is_on_its_way(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    held = asyncio.Event()
    faults.on("log.commit", HoldReply(held), process="engine1")
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.until(lambda: rig.last("Order", "o-1").version == 2, "the commit being stored")
    await rig.write("Order", "o-1", _with_bell(rig, rig.last("Order", "o-1")))
    await _rings(rig, 3)
    await rig.broker.advance(0.0)
    held.set()
    await rig.drained()
    last = rig.last("Order", "o-1")
    assert (last.version, last.cause.id, rig.note_codes()) == (4, "bell@3", [])
