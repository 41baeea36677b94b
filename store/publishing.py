"""Publishing events through a backend's door, one or many, each with a receipt.

Promises a receipt for every event and never raises for one that was refused or could not be sent.
Repeats what was certainly not stored for a passing reason; what may be stored is never repeated
here, since only the publisher knows whether its ids make that safe.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, assert_never

from store.codec import MSG_ID
from store.events import NewEvent, Published, Receipt, Refusal, Rejected, split_id, to_outgoing
from store.port import (
    NO_HEADERS,
    Busy,
    Committed,
    Conflict,
    Door,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    StoreError,
    Unknown,
)
from store.subjects import Names

Mode: TypeAlias = Literal["sequential", "parallel"]

BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 4 * 1024 * 1024
IN_FLIGHT_MAX = 256
BUSY_ATTEMPTS_MAX = 8
BUSY_DELAY_S = 0.05


class EventPublisher:
    """Publishes events; ``size_max`` is what one message may have, headers included."""

    def __init__(self, door: Door, names: Names, size_max: int) -> None:
        self._door = door
        self._names = names
        self._size_max = size_max
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def publish(
        self,
        type: str,
        payload: object = None,
        *,
        key: str | None = None,
        id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Receipt:
        """Publish one event; what it may hold stands at NewEvent."""
        event = NewEvent(type=type, payload=payload, key=key, id=id, headers=headers)
        message = self._check(event)
        return message if isinstance(message, Rejected) else await self._send(message)

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
            message = self._check(event)
            receipt = message if isinstance(message, Rejected) else await self._send(message)
            receipts.append(receipt)
            if isinstance(receipt, Rejected):
                stopped = f"not sent, since event {number} before it was rejected; mend that first"
        return receipts

    async def _at_once(self, events: Sequence[NewEvent]) -> list[Receipt]:
        receipts: dict[int, Receipt] = {}
        messages: dict[int, Outgoing] = {}
        for index, event in enumerate(events):
            checked = self._check(event)
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
                receipts[index] = await self._send(messages[index])

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
        outcome = await self._door.publish_batch(batch)
        for attempt in range(BUSY_ATTEMPTS_MAX):
            if not isinstance(outcome, (Busy, Conflict)):
                break
            delay_s = BUSY_DELAY_S * 2**attempt
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            outcome = await self._door.publish_batch(batch)
        match outcome:
            case Committed():
                first = outcome.last - outcome.count + 1
                receipts.update({i: Published(seq=first + n) for n, i in enumerate(chunk)})
                return
            case Busy() | Conflict():
                rejected = Rejected(
                    reason=f"the broker is busy: {outcome.reason}; try again", retryable=True
                )
            case Unknown():
                rejected = Rejected(
                    reason=f"no answer: {outcome.reason}; the events may be stored: look before "
                    "you send them again, or send them with ids",
                    retryable=True,
                )
            case Invalid():
                rejected = Rejected(reason=f"the broker refused the batch: {outcome.reason}")
            case _:
                assert_never(outcome)
        receipts.update(dict.fromkeys(chunk, rejected))

    def _check(self, event: NewEvent) -> Outgoing | Rejected:
        try:
            return to_outgoing(self._names, event, self._size_max)
        except Refusal as error:
            return Rejected(reason=str(error))

    async def _send(self, message: Outgoing) -> Receipt:
        headers, id = split_id(message)
        try:
            accepted = await self._door.publish(message.subject, message.payload, headers, id)
        except (Refused, MessageTooLarge) as error:
            return Rejected(reason=str(error))
        except StoreError as error:
            again = "" if id else f"; it may be stored all the same, use a {MSG_ID} to be sure"
            return Rejected(reason=f"{error}{again}", retryable=True)
        return Published(seq=accepted.seq, duplicate=accepted.duplicate)
