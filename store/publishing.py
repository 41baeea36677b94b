"""Publishing events through a backend's door, one or many, each with a receipt.

Promises a receipt for every event and never raises for one that was refused or could not be sent.
How they are stored, alone or together, is the matter of ``store.group_commit``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, assert_never

from store.events import NewEvent, Receipt, Refusal, Rejected, to_outgoing
from store.group_commit import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    GroupCommit,
    send_alone,
    send_together,
)
from store.port import NO_HEADERS, Door, Outgoing
from store.room import RoomReader
from store.subjects import Names

Mode: TypeAlias = Literal["sequential", "parallel"]

IN_FLIGHT_MAX = 256


class EventPublisher:
    """Publishes events; ``size_max`` is what one message may have, headers included."""

    def __init__(
        self, door: Door, names: Names, size_max: int, room: RoomReader | None = None
    ) -> None:
        """With ``room`` events that start sagas are rejected while there is none."""
        self._room = room
        self._door = door
        self._names = names
        self._size_max = size_max
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._group = GroupCommit(door)

    async def publish(
        self,
        type: str,
        payload: object = None,
        *,
        key: str | None = None,
        id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Receipt:
        """Publish one event; what it may hold stands at NewEvent.

        Events without an id that wait at the same time are stored in one batch.
        """
        event = NewEvent(type=type, payload=payload, key=key, id=id, headers=headers)
        message = await self._admit(event)
        if isinstance(message, Rejected):
            return message
        if id is None:
            return await self._group.send(message)
        async with self._slots:
            return await send_alone(self._door, message)

    async def publish_many(
        self, events: Sequence[NewEvent], mode: Mode = "sequential"
    ) -> list[Receipt]:
        """Publish events; the receipts stand in the order of the events.

        ``sequential`` sends one after the other and stops at the first that is rejected: those
        after it are rejected as not sent. ``parallel`` sends all that can be sent, events without
        an id in atomic batches of up to 500, and keeps the order among those with one key.
        """
        match mode:
            case "sequential":
                return await self._in_order(events)
            case "parallel":
                return await self._at_once(events)
            case _:
                assert_never(mode)

    async def _in_order(self, events: Sequence[NewEvent]) -> list[Receipt]:
        receipts: list[Receipt] = []
        stopped = ""
        for number, event in enumerate(events, 1):
            if stopped:
                receipts.append(Rejected(reason=stopped, retryable=True))
                continue
            message = await self._admit(event)
            receipt = (
                message if isinstance(message, Rejected) else await send_alone(self._door, message)
            )
            receipts.append(receipt)
            if isinstance(receipt, Rejected):
                stopped = f"not sent, since event {number} before it was rejected; mend that first"
        return receipts

    async def _at_once(self, events: Sequence[NewEvent]) -> list[Receipt]:
        receipts: dict[int, Receipt] = {}
        messages: dict[int, Outgoing] = {}
        for index, event in enumerate(events):
            checked = await self._admit(event)
            if isinstance(checked, Rejected):
                receipts[index] = checked
            else:
                messages[index] = checked
        # A key with an id among its events goes one by one as a whole, so that its order stays.
        lone = {events[i].key for i in messages if events[i].id is not None} - {None}
        batched = [i for i in messages if events[i].id is None and events[i].key not in lone]
        lanes: dict[object, list[int]] = {}
        for index in messages.keys() - set(batched):
            key = events[index].key
            lanes.setdefault(index if key is None else key, []).append(index)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_batches(batched, messages, receipts))
            for lane in lanes.values():
                group.create_task(self._send_lane(sorted(lane), messages, receipts))
        return [receipts[index] for index in range(len(events))]

    async def _send_lane(
        self, lane: Sequence[int], messages: Mapping[int, Outgoing], receipts: dict[int, Receipt]
    ) -> None:
        async with self._slots:
            for index in lane:
                receipts[index] = await send_alone(self._door, messages[index])

    async def _send_batches(
        self, wanted: Sequence[int], messages: Mapping[int, Outgoing], receipts: dict[int, Receipt]
    ) -> None:
        chunk: list[int] = []
        size = 0
        for index in wanted:
            length = len(messages[index].payload)
            if chunk and (len(chunk) == BATCH_EVENTS_MAX or size + length > BATCH_BYTES_MAX):
                await self._send_batch(chunk, messages, receipts)
                chunk, size = [], 0
            chunk.append(index)
            size += length
        if chunk:
            await self._send_batch(chunk, messages, receipts)

    async def _send_batch(
        self, chunk: Sequence[int], messages: Mapping[int, Outgoing], receipts: dict[int, Receipt]
    ) -> None:
        batch = [messages[index] for index in chunk]
        receipts.update(zip(chunk, await send_together(self._door, batch), strict=True))

    async def _admit(self, event: NewEvent) -> Outgoing | Rejected:
        checked = self._check(event)
        if self._room is None or isinstance(checked, Rejected):
            return checked
        refusal = await self._room.refusal(event.type)
        return Rejected(reason=refusal, retryable=True) if refusal else checked

    def _check(self, event: NewEvent) -> Outgoing | Rejected:
        try:
            return to_outgoing(self._names, event, self._size_max)
        except Refusal as error:
            return Rejected(reason=str(error))
