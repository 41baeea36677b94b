"""What tests of the projections share: a story with every kind of message, and the tables of it.

The story is told by an engine's lane over a memory broker in virtual time, so that it is the same
each time: orders that are paid, declined, given up, parked, skipped, cancelled; timers that fire,
are replaced and cancelled; children, gates, published events; duplicates, strangers, rubbish.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sagas import complete, define_saga, send
from sagas.definition import SagaDefinition
from sagas.handlers import SagaHandle
from sagas.messages import Message
from store import codec
from store.codec import Execution
from store.duck.file import DuckFile
from store.live_mask import LiveMask
from store.port import Committed, Outgoing, Stored
from store.projection.checkpoint import Streams
from store.projection.schema import RELATIONS
from store.subjects import Names
from tests.unit.jobs.rig import Rig
from tests.unit.jobs.sample import all_sagas

MADE = Streams(events=datetime(2026, 1, 1, tzinfo=UTC), log=datetime(2026, 1, 1, tzinfo=UTC))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Story(Struct, frozen=True):
    """All messages of both streams, in order."""

    names: Names
    events: list[Stored]
    log: list[Stored]


def keyed_saga() -> SagaDefinition:
    """Sends a command that waits for its concurrency key."""
    saga = define_saga("Keyed").state({}).correlate("order")

    @saga.on("Wanted")
    def wanted(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return send("pay", {"order": saga.key}, concurrency_key="till")

    @saga.on("Had")
    def had(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete()

    return saga.build()


async def tell() -> Story:
    """Tell the story from the beginning to the end."""
    rig = Rig([*all_sagas(), keyed_saga()])
    try:
        await rig.lane()
        for chapter in (_orders, _giving_up, _parking, _timers, _families, _gates, _strangers):
            await chapter(rig)
            await rig.drained()
        return story_of(rig)
    finally:
        await rig.close()


def story_of(rig: Rig) -> Story:
    """What the streams of a rig hold now."""
    events, log = rig.broker.events.since(0, [">"]), rig.broker.log.since(0, [">"])
    return Story(rig.names, list(events), list(log))


def execution(command: str, attempt: int, outcome: codec.Outcome, error: str = "") -> str:
    """The record of an attempt as a header carries it; each takes 250 ms after 1 s in the queue."""
    record = Execution(
        command=command,
        target="pay",
        worker="w-1",
        attempt=attempt,
        queued=datetime(2026, 1, 1, 0, 0, attempt, tzinfo=UTC),
        started=datetime(2026, 1, 1, 0, 0, attempt + 1, tzinfo=UTC),
        ended=datetime(2026, 1, 1, 0, 0, attempt + 1, 250_000, tzinfo=UTC),
        outcome=outcome,
        error=error,
    )
    return msgspec.json.encode(record).decode()


async def _orders(rig: Rig) -> None:
    """o-1 is paid, o-2 declined; o-1 is placed twice under one id; a trace is passed on."""
    await rig.publish("Placed", "o-1", {"order": "o-1", "amount": 7}, id="place-1")
    await rig.publish("Placed", "o-2", {"order": "o-2"}, headers={"traceparent": TRACE})
    await rig.drained()
    await rig.broker.advance(2.0)
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1}, id="note-1")
    await rig.publish("Noted", None, {"order": "o-1", "n": 1}, id="note-1 ")
    done = execution("Order.o-1.1.0", 1, "completed")
    headers = {codec.CAUSE: "Order.o-1.1.0", codec.EXECUTION: done}
    await rig.publish("Paid", "o-1", {"order": "o-1"}, headers=headers)
    await rig.answer("Declined", "Order.o-2.1.0", {"order": "o-2"}, key="o-2")


async def _giving_up(rig: Rig) -> None:
    """o-3: two attempts, given up, sent again by an operator, paid."""
    await rig.publish("Placed", "o-3", {"order": "o-3"})
    await rig.drained()
    command = "Order.o-3.1.0"
    again = {codec.EXECUTION: execution(command, 1, "retried", "Timeout: bank")}
    await rig.publish(codec.ATTEMPTED, "o-3", {}, headers=again)
    await rig.publish(
        codec.FAILED,
        "o-3",
        {"reason": "bank is gone"},
        headers={
            codec.CAUSE: command,
            codec.OUTCOME: "failed",
            codec.EXECUTION: execution(command, 2, "failed", "bank is gone"),
            codec.DEAD_LETTER: "given up after attempt 2: bank is gone",
        },
    )
    await rig.drained()
    await rig.act("Order", "o-3", "retry", {"command": command}, id="op-retry")
    await rig.drained()
    await rig.answer("Paid", command, {"order": "o-3"}, key="o-3")
    await rig.publish("Placed", "o-4", {"order": "o-4"})
    await rig.drained()
    failed = {codec.CAUSE: "Order.o-4.1.0", codec.OUTCOME: "failed"}
    await rig.publish(codec.FAILED, "o-4", {"reason": "no card"}, headers=failed)


async def _parking(rig: Rig) -> None:
    """o-5 parks, a message waits, it is skipped; actions that are refused; one is cancelled."""
    await rig.publish("Placed", "o-5", {"order": "o-5"})
    await rig.publish("Broken", "o-5", {"order": "o-5", "n": 9})
    await rig.drained()
    await rig.publish("Noted", "o-5", {"order": "o-5", "n": 2})
    await rig.drained()
    await rig.act("Order", "o-5", "skip", {}, id="op-skip")
    await rig.act("Order", "o-1", "pause", {}, id="op-late")
    await rig.act("Order", "nobody", "pause", {}, id="op-nobody")
    await rig.publish("Placed", "o-6", {"order": "o-6"})
    await rig.publish("Armed", "o-6", {"order": "o-6"})
    await rig.drained()
    await rig.act("Order", "o-6", "cancel", {}, id="op-cancel")


async def _timers(rig: Rig) -> None:
    """o-7's bell is replaced and rings, o-8's is cancelled, people see to those of t-1 to t-4."""
    for key in ("o-7", "o-8"):
        await rig.publish("Placed", key, {"order": key})
        await rig.publish("Armed", key, {"order": key})
        await rig.drained()
    await rig.broker.advance(5.0)
    await rig.publish("Armed", "o-7", {"order": "o-7"})
    await rig.publish("Disarmed", "o-8", {"order": "o-8"})
    await rig.drained()
    await rig.broker.advance(31.0)
    for key in ("t-1", "t-2", "t-3", "t-4"):
        await rig.publish("Placed", key, {"order": key})
        await rig.publish("Armed", key, {"order": key})
    await rig.drained()
    await rig.broker.advance(5.0)
    await rig.act("Order", "t-2", "pause", {}, id="op-hold")
    await rig.act("Order", "t-1", "fire_timer", {"timer": "bell"}, id="op-fire")
    await rig.act("Order", "t-2", "fire_timer", {"timer": "bell"}, id="op-fire-held")
    await rig.act("Order", "t-3", "postpone_timer", {"timer": "bell", "to": 60}, id="op-later")
    await rig.act("Order", "t-4", "cancel_timer", {"timer": "bell"}, id="op-off")
    await rig.drained()
    await rig.broker.advance(1.0)
    await rig.drained()


async def _families(rig: Rig) -> None:
    """o-9 has a child that grows up, and tells an audit."""
    await rig.publish("Placed", "o-9", {"order": "o-9"})
    await rig.publish("Born", "o-9", {"order": "o-9"}, headers={codec.SAGA: "Order"})
    await rig.publish("Told", "o-9", {"order": "o-9"})
    await rig.drained()
    await rig.publish("Grown", "o-9-child", {"order": "o-9-child"})


async def _gates(rig: Rig) -> None:
    """Two instances behind one gate, two commands behind one key, one of them cancelled."""
    for key in ("g-1", "g-2"):
        await rig.publish("Entered", key, {"order": key})
        await rig.publish("Wanted", key, {"order": key})
        await rig.drained()
    await rig.act("Keyed", "g-2", "cancel", {}, id="op-drop")
    await rig.publish("Left", "g-1", {"order": "g-1"})
    await rig.answer("Had", "Keyed.g-1.1.0", {"order": "g-1"}, key="g-1")


async def _strangers(rig: Rig) -> None:
    """Types nobody knows, payloads that don't fit, odd keys, rubbish, an answer to nobody."""
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="place-1")  # outside of the window
    rig.broker.events.forget_ids(all=True)
    await rig.publish("Placed", "o-1", {"order": "o-1"}, id="place-1")
    await rig.publish("Nobody", "x", {"a": 1.10})
    await rig.publish("Placed", "bad", {"order": "bad", "amount": "many"})
    await rig.publish("Placed", "bad", b"{no json")
    await rig.publish("Placed", "bad", b'{"order":"\xff"}')
    await rig.publish("Nothing", None, b"")
    await rig.publish("Placed", "ä b.>/*", {"order": "ä b.>/*"})
    await rig.answer("Paid", "Order.never.1.0", {"order": "never"})
    await rig.publish("Odd", "k", {}, headers={codec.EXECUTION: "{}"})
    await rig.drained()
    letter = rig.letters()[-1]
    closed = msgspec.structs.replace(letter, status="discarded", by="Ola", note="old news")
    record = Outgoing(rig.names.dead_letter(letter.id), msgspec.json.encode(closed))
    assert isinstance(await rig.outside.log.commit([record]), Committed)


# --- tables


def tables_of(
    folder: Path, story: Story, batches: Sequence[tuple[int, int]] | None = None
) -> DuckFile:
    """The tables of a story, applied in batches of so many events and messages of the log."""
    file = DuckFile(folder / "story.duckdb", story.names, LiveMask())
    file.begin(MADE, "")
    event = message = 0
    for events, messages in batches or [(len(story.events), len(story.log))]:
        file.apply(story.events[event : event + events], story.log[message : message + messages])
        event, message = event + events, message + messages
    assert (event, message) == (len(story.events), len(story.log))
    return file


def rows(file: DuckFile, sql: str, *parameters: object) -> list[Any]:
    """The rows of a query."""
    with file.cursor() as cursor:
        return cursor.execute(sql, list(parameters)).fetchall()


def dump(file: DuckFile) -> dict[str, list[Any]]:
    """All rows of all public relations, and what could not be read."""
    names = [relation.name for relation in RELATIONS]
    found = {name: rows(file, f"SELECT * FROM {name} ORDER BY ALL") for name in names}
    sql = "SELECT * EXCLUDE tick FROM base.unreadable ORDER BY ALL"
    return {**found, "unreadable": rows(file, sql)}
