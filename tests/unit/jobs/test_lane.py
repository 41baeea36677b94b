"""Goal: whatever reaches the lane changes each instance exactly once, in order, in whole batches.

Method: a lane over a memory broker; messages as strangers, jobs, timers and operators send them;
then the history of each instance with its chain, the commands, the notes and the positions are
read from the broker itself.
"""

from __future__ import annotations

import msgspec
import pytest

from jobs.cache import Cache
from sagas.draft import GATE_SAGA
from sagas.messages import Address, Cause
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


async def test_a_message_a_revision_its_command_and_the_position_are_one_batch(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1", "amount": 3})
    await rig.drained()
    stored = list(rig.broker.log.since(0, [">"]))
    revision, command, position = stored
    assert revision.subject == rig.names.instance("Order", "o-1")
    assert command.subject == rig.names.command("pay", "o-1")
    assert position.subject.startswith("$KV.SAGA.p.")
    assert [message.seq for message in stored] == [1, 2, 3]
    assert msgspec.json.decode(rig.last("Order", "o-1").state)["amount"] == 3


async def test_what_waits_in_all_partitions_becomes_one_batch(rig: Rig) -> None:
    keys = [f"o-{i}" for i in range(40)]
    for key in keys:
        await rig.publish("Placed", key, {"order": key})
    await rig.lane()
    await rig.drained()
    assert rig.keys("Order") == set(keys)
    assert len(rig.commands("pay")) == 40
    assert len(rig.counts[0].sizes) < 10
    assert {rig.position(number).events > 0 for number in range(4)} == {True}


async def test_an_instance_may_change_many_times_in_one_batch(rig: Rig) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    for n in range(20):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n})
    await rig.lane()
    await rig.drained()
    assert rig.counts[0].sizes == [21]
    assert rig.last("Order", "o-1").version == 21
    assert msgspec.json.decode(rig.last("Order", "o-1").state)["seen"] == list(range(20))


async def test_an_instance_is_fed_from_several_partitions(rig: Rig) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.lane()
    await rig.drained()
    for n in range(30):
        await rig.publish("Noted", f"by-{n}", {"order": "o-1", "n": n})
    await rig.drained()
    seen = msgspec.json.decode(rig.last("Order", "o-1").state)["seen"]
    assert sorted(seen) == list(range(30))
    assert rig.last("Order", "o-1").version == 31


async def test_an_event_without_a_key_is_handled_too(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", None, {"order": "o-1"})
    await rig.drained()
    assert rig.last("Order", "o-1").status == "running"


async def test_an_answer_finds_its_instance_whatever_its_payload_says(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.answer("Paid", rig.command_ids()[0], {"order": "somebody else"})
    await rig.drained()
    assert rig.last("Order", "o-1").status == "completed"
    assert rig.keys("Order") == {"o-1"}


async def test_the_same_id_changes_an_instance_once(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="first")
    await rig.drained()
    rig.broker.restart(forget_ids=True)
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="first")
    await rig.drained()
    assert rig.last("Order", "o-1").version == 1
    assert rig.note_codes() == ["duplicate"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_id_older_than_the_window_is_found_in_the_history(
    rig: Rig, restarted: bool
) -> None:
    lane = await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="first")
    for n in range(60):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n}, id=f"n-{n}")
    await rig.drained()
    if restarted:
        for number in lane.partitions:
            await lane.release(number)
        await rig.lane()
    rig.broker.restart(forget_ids=True)
    for n in (0, 30, 59):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n}, id=f"n-{n}")
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="first")
    await rig.drained()
    assert rig.last("Order", "o-1").version == 61
    assert rig.note_codes() == ["duplicate"] * 4


async def test_an_id_older_than_the_window_is_found_within_one_batch(rig: Rig) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="first")
    for n in range(60):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n}, id=f"n-{n}")
    rig.broker.restart(forget_ids=True)
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 0}, id="n-0")
    await rig.lane()
    await rig.drained()
    assert rig.last("Order", "o-1").version == 61
    assert rig.note_codes() == ["duplicate"]


async def test_a_handler_that_raises_parks_its_instance_and_no_other(rig: Rig) -> None:
    await rig.lane()
    for key in ("o-1", "o-2"):
        await rig.publish("Placed", key, {"order": key})
    await rig.publish("Broken", "o-1", {"order": "o-1", "n": 7})
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 8})
    await rig.publish("Noted", "o-2", {"order": "o-2", "n": 9})
    await rig.drained()
    parked = rig.last("Order", "o-1")
    assert parked.status == "parked"
    assert parked.error is not None
    assert "no way: 7" in parked.error.message
    assert len(parked.backlog) == 1
    assert rig.last("Order", "o-2").version == 2


async def test_a_skipped_message_lets_the_backlog_go_on_in_order(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.publish("Broken", "o-1", {"order": "o-1", "n": 0})
    for n in range(5):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n})
    await rig.drained()
    await rig.act("Order", "o-1", "skip")
    await rig.drained()
    last = rig.last("Order", "o-1")
    assert (last.status, last.backlog) == ("running", ())
    assert msgspec.json.decode(last.state)["seen"] == [0, 1, 2, 3, 4]


async def test_a_message_let_go_from_the_backlog_is_noted_under_its_own_sequence(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.publish("Broken", "o-1", {"order": "o-1", "n": 0})
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1}, id="waits")
    await rig.drained()
    await rig.act("Order", "o-1", "cancel")
    await rig.drained()
    (waited,) = [note for note in rig.notes() if note.id == "waits"]
    assert (waited.stream, waited.seq, waited.code) == ("events", 3, "finished")
    assert (waited.saga, waited.key, waited.type) == ("Order", "o-1", "Noted")


async def test_a_refused_action_is_a_note_with_who_and_why(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.act("Order", "o-1", "resume")
    await rig.drained()
    (note,) = rig.notes()
    assert (note.code, note.by, note.id) == ("refused", "Ola", "op")
    assert rig.last("Order", "o-1").version == 1


async def test_an_emitted_event_is_published_once_and_reaches_other_sagas(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.publish("Told", "o-1", {"order": "o-1"})
    await rig.drained()
    assert len(rig.events("OrderTold")) == 1
    assert rig.last("Audit", "o-1").version == 1


async def test_a_child_is_spawned_and_its_end_told(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.publish("Born", "o-1", {"order": "o-1"})
    await rig.drained()
    assert rig.last("Child", "o-1-child").parent == Address("Order", "o-1")
    await rig.publish("Grown", "x", {"order": "o-1-child"})
    await rig.drained()
    assert rig.last("Child", "o-1-child").status == "completed"
    parent = rig.last("Order", "o-1")
    assert parent.children == {"Child/o-1-child": "completed"}
    assert msgspec.json.decode(parent.state)["child"] == "grown"


async def test_gates_let_in_as_many_as_they_may_and_in_order(rig: Rig) -> None:
    await rig.lane()
    keys = [f"g-{n}" for n in range(5)]
    for key in keys:
        await rig.publish("Entered", "one", {"order": key})
    await rig.drained()
    served: list[str] = []
    for _ in keys:
        *_, command = rig.command_ids("work")
        served.append(command.split(".")[1])
        await rig.answer("Left", command)
        await rig.drained()
    assert served == keys
    assert {rig.last("Gated", key).status for key in keys} == {"completed"}
    assert rig.keys(GATE_SAGA) == {"saga/Gated/"}


async def test_a_tick_starts_one_instance_even_when_told_twice(rig: Rig) -> None:
    await rig.lane()
    tick = Cause(kind="timer", type="", id="cron", seq=0, at=rig.now())
    await rig.signal(Address("Nightly", "cron"), tick)
    await rig.signal(Address("Nightly", "cron"), tick)
    await rig.drained()
    (key,) = rig.keys("Nightly")
    assert rig.last("Nightly", key).status == "completed"
    assert rig.last("Nightly", key).version == 1
    assert rig.note_codes() == ["timer_moot"]


async def test_a_cache_of_one_entry_works(rig: Rig) -> None:
    keys = [f"o-{n}" for n in range(30)]
    for key in keys:
        await rig.publish("Placed", key, {"order": key})
    await rig.lane(cache=Cache(entries_max=1))
    await rig.drained()
    for n in range(3):
        for key in keys:
            await rig.publish("Noted", key, {"order": key, "n": n})
    await rig.drained()
    assert {rig.last("Order", key).version for key in keys} == {4}
    assert rig.counts[0].conflicts == 0


async def test_a_stop_in_the_middle_hands_over_without_loss(rig: Rig) -> None:
    keys = [f"o-{n}" for n in range(300)]
    lane = await rig.lane()
    for key in keys:
        await rig.publish("Placed", key, {"order": key})
    for number in lane.partitions:
        await lane.release(number)
    assert lane.partitions == ()
    await rig.lane()
    await rig.drained()
    assert rig.keys("Order") == set(keys)
    assert {rig.last("Order", key).version for key in keys} == {1}
    assert len(rig.commands("pay")) == 300
