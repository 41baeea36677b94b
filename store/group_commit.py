"""Group commit of events: what waits together is stored together, each with a receipt of its own.

A batch costs about as much as ten single publishes, whatever its size, so few go one by one and
many in one batch; while it is on its way the next ones gather. Nobody waits for others to come: an
idle door takes one event at once. An event that the broker refuses spoils none of its neighbours.
What may be stored is never sent again here, since only the publisher knows whether that is safe.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import assert_never

from store.codec import MSG_ID
from store.events import Published, Receipt, Rejected, split_id
from store.port import (
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

BATCH_EVENTS_MAX = 500
BATCH_BYTES_MAX = 4 * 1024 * 1024
FLIGHTS_MAX = 2
ALONE_MAX = 8  # that many at once are quicker one by one than as a batch
BUSY_ATTEMPTS_MAX = 8
BUSY_DELAY_S = 0.05


class GroupCommit:
    """Gathers events of many callers. They must have no message id: batches can't carry one."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._waiting: deque[tuple[Outgoing, asyncio.Future[Receipt]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._due = False

    async def send(self, message: Outgoing) -> Receipt:
        """Store one event with whatever else waits; never raises for one that is refused."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._waiting.append((message, future))
        if not self._due:  # all that comes in this turn of the event loop goes together
            self._due = True
            loop.call_soon(self._launch)
        return await future

    def _launch(self) -> None:
        self._due = False
        while self._waiting and len(self._flights) < FLIGHTS_MAX:
            flight = asyncio.create_task(self._fly(self._next_load()), name="group commit")
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _next_load(self) -> list[tuple[Outgoing, asyncio.Future[Receipt]]]:
        load = [self._waiting.popleft()]
        size = len(load[0][0].payload)
        while self._waiting and len(load) < BATCH_EVENTS_MAX:
            size += len(self._waiting[0][0].payload)
            if size > BATCH_BYTES_MAX:
                break
            load.append(self._waiting.popleft())
        return load

    async def _fly(self, load: Sequence[tuple[Outgoing, asyncio.Future[Receipt]]]) -> None:
        messages = [message for message, _ in load]
        try:
            if len(messages) <= ALONE_MAX:
                receipts = await _each_alone(self._door, messages)
            else:
                receipts = await send_together(self._door, messages)
        except BaseException as error:
            for _, future in load:
                if not future.done():
                    future.set_exception(error)
            raise
        for (_, future), receipt in zip(load, receipts, strict=True):
            if not future.done():  # its caller may have gone
                future.set_result(receipt)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if not flight.cancelled():
            flight.exception()  # its callers have been told
        self._launch()


async def send_together(door: Door, messages: Sequence[Outgoing]) -> list[Receipt]:
    """Store up to 500 events without ids in one atomic batch; the receipts in their order.

    Waits and repeats while the broker is busy. A batch that it refuses is sent one by one, so that
    only the bad ones are rejected.
    """
    outcome = await door.publish_batch(messages)
    for attempt in range(BUSY_ATTEMPTS_MAX):
        if not isinstance(outcome, (Busy, Conflict)):
            break
        delay_s = BUSY_DELAY_S * 2**attempt
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        outcome = await door.publish_batch(messages)
    match outcome:
        case Committed():
            first = outcome.last - outcome.count + 1
            return [Published(seq=first + index) for index in range(len(messages))]
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
            return await _each_alone(door, messages)
        case _:
            assert_never(outcome)
    return [rejected for _ in messages]


async def send_alone(door: Door, message: Outgoing) -> Receipt:
    """Store one event, which may have an id; never raises for one that is refused."""
    headers, id = split_id(message)
    try:
        accepted = await door.publish(message.subject, message.payload, headers, id)
    except (Refused, MessageTooLarge) as error:
        return Rejected(reason=str(error))
    except StoreError as error:
        again = "" if id else f"; it may be stored all the same, use a {MSG_ID} to be sure"
        return Rejected(reason=f"{error}{again}", retryable=True)
    return Published(seq=accepted.seq, duplicate=accepted.duplicate)


async def _each_alone(door: Door, messages: Sequence[Outgoing]) -> list[Receipt]:
    return await asyncio.gather(*(send_alone(door, message) for message in messages))
