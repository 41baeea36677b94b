"""Command queues in memory: one durable consumer a target, shared by the queues of all backends.

As on the server: a delivery that is not ended within the ack wait, or is handed back, goes to
whoever asks next, ahead of new commands; commands handed back with a delay still count as in
flight; an ack counts for the command, whichever of its deliveries it answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from store.memory.clock import NS, Agenda
from store.memory.faults import Again
from store.memory.link import Bell, Link
from store.memory.stream import MemoryStream
from store.port import QueueState, Stored, TopologyDrift, Work


class Settings(Struct, frozen=True):
    """What makes two consumers of one target the same."""

    ack_wait_s: float
    in_flight_max: int


class _Pending(Struct):
    due_ns: int
    attempt: int


class Consumer:
    """The state that the broker keeps for one target."""

    def __init__(
        self, stream: MemoryStream, filter: str, settings: Settings, agenda: Agenda
    ) -> None:
        self.settings = settings
        self.asking = 0  # takes that wait
        self.listeners: dict[object, Callable[[], None]] = {}
        self._stream = stream
        self._filter = filter
        self._agenda = agenda
        self._cursor = 0
        self._pending: dict[int, _Pending] = {}
        self._again: deque[int] = deque()
        stream.listeners[self] = self._look

    @property
    def state(self) -> QueueState:
        """How the queue stands now."""
        new = sum(1 for _ in self._stream.since(self._cursor, (self._filter,)))
        return QueueState(waiting=new, in_flight=len(self._pending), asking=self.asking)

    def stir(self) -> None:
        """Let all who wait look again."""
        for listener in list(self.listeners.values()):
            listener()

    def _look(self) -> None:
        """Something was stored: those who wait need to know only of commands of this target."""
        if next(self._stream.since(self._cursor, (self._filter,)), None) is not None:
            self.stir()
        else:
            self._cursor = self._stream.last_seq

    def pull(self, limit: int) -> list[tuple[Stored, int]]:
        """Up to ``limit`` commands, each with the number of its delivery."""
        found: list[tuple[Stored, int]] = []
        while len(found) < limit and (message := self._next()) is not None:
            pending = self._pending.setdefault(message.seq, _Pending(0, 0))
            pending.attempt += 1
            self.extend(message.seq)
            found.append((message, pending.attempt))
        return found

    def end(self, seq: int) -> None:
        """The command is done with."""
        if self._pending.pop(seq, None) is not None:
            self._drop_again(seq)
            self.stir()

    def hand_back(self, seq: int, delay_s: float) -> None:
        """Deliver the command again, in ``delay_s`` seconds or at once."""
        pending = self._pending.get(seq)
        if pending is None:
            return
        if delay_s > 0:
            self._wait(seq, pending, delay_s)
        else:
            self._queue_again(seq)

    def extend(self, seq: int) -> None:
        """Begin the ack wait of the command anew."""
        pending = self._pending.get(seq)
        if pending is not None:
            self._wait(seq, pending, self.settings.ack_wait_s)

    def _wait(self, seq: int, pending: _Pending, delay_s: float) -> None:
        self._drop_again(seq)
        pending.due_ns = self._agenda.clock.now_ns() + round(delay_s * NS)
        self._agenda.at(pending.due_ns, partial(self._expire, seq, pending.due_ns))

    def _expire(self, seq: int, due_ns: int) -> None:
        pending = self._pending.get(seq)
        if pending is not None and pending.due_ns == due_ns:
            self._queue_again(seq)

    def _queue_again(self, seq: int) -> None:
        if seq not in self._again:
            self._again.append(seq)
            self.stir()

    def _drop_again(self, seq: int) -> None:
        if seq in self._again:
            self._again.remove(seq)

    def _next(self) -> Stored | None:
        while self._again:
            seq = self._again.popleft()
            if (message := self._stream.get(seq)) is not None:
                return message
            self._pending.pop(seq, None)
        if len(self._pending) >= self.settings.in_flight_max:
            return None
        message = next(self._stream.since(self._cursor, (self._filter,)), None)
        self._cursor = message.seq if message else self._stream.last_seq
        return message


class MemoryWork:
    """One delivery; the first of ack, nak and term ends it, later ones do nothing."""

    def __init__(self, link: Link, consumer: Consumer, message: Stored, attempt: int) -> None:
        self.subject = message.subject
        self.data = message.data
        self.headers = message.headers
        self.seq = message.seq
        self.at_ns = message.at_ns
        self.attempt = attempt
        self._link = link
        self._consumer = consumer
        self._ended = False

    async def ack(self) -> None:
        """See Work; raises Unreachable when it is not known to have arrived."""
        await self._end("queues.ack", partial(self._consumer.end, self.seq))

    async def nak(self, delay_s: float = 0.0) -> None:
        """See Work; raises Unreachable."""
        await self._end("queues.nak", partial(self._consumer.hand_back, self.seq, delay_s))

    async def term(self) -> None:
        """See Work; raises Unreachable."""
        await self._end("queues.term", partial(self._consumer.end, self.seq))

    async def in_progress(self) -> None:
        """See Work; raises Unreachable."""
        extend = partial(self._consumer.extend, self.seq)
        await self._link.call("queues.in_progress", [self.subject], extend)

    async def _end(self, name: str, act: Callable[[], None]) -> None:
        if self._ended:
            return
        await self._link.call(name, [self.subject], act)
        self._ended = True


class MemoryQueue:
    """The queue port of one backend on a shared consumer."""

    def __init__(self, link: Link, consumer: Consumer) -> None:
        self._link = link
        self._consumer = consumer
        self._bells: list[Bell] = []
        self._closed = False
        self._token = link.listen(self._ring)
        consumer.listeners[self] = self._ring

    async def take(self, limit: int, wait_s: float) -> list[Work]:
        """See WorkQueue; after ``close`` always empty. Raises Unreachable on a lost connection."""
        deadline_ns = self._link.agenda.clock.now_ns() + round(wait_s * NS)
        bell = Bell()
        if wait_s > 0:
            self._link.agenda.at(deadline_ns, bell.ring)
        self._bells.append(bell)
        self._consumer.asking += 1
        try:
            while not self._closed:
                if works := await self._pull(limit):
                    return works
                if self._link.agenda.clock.now_ns() >= deadline_ns:
                    break
                await bell.wait()
            return []
        finally:
            self._bells.remove(bell)
            self._consumer.asking -= 1

    async def close(self) -> None:
        """See WorkQueue; nothing is ever delivered ahead here. A second call does nothing."""
        self._closed = True
        self._consumer.listeners.pop(self, None)
        self._link.unlisten(self._token)
        self._ring()

    async def _pull(self, limit: int) -> list[Work]:
        fault = await self._link.enter("queues.take")

        def act() -> list[Work]:
            pulled = self._consumer.pull(limit)
            if isinstance(fault, Again):
                for message, _ in pulled:
                    self._consumer.hand_back(message.seq, 0.0)
            return [MemoryWork(self._link, self._consumer, m, n) for m, n in pulled]

        return await self._link.finish(fault, act)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring()


class MemoryQueues:
    """The queues port: binds to the broker's consumers, makes them when they are new."""

    def __init__(
        self,
        link: Link,
        log: MemoryStream,
        consumers: dict[str, Consumer],
        filter_of: Callable[[str], str],
    ) -> None:
        self._link = link
        self._log = log
        self._consumers = consumers
        self._filter_of = filter_of

    async def open(self, target: str, *, ack_wait_s: float, in_flight_max: int) -> MemoryQueue:
        """See WorkQueues."""
        wanted = Settings(ack_wait_s, in_flight_max)
        return await self._link.call("queues.open", [target], lambda: self._bind(target, wanted))

    async def state(self, target: str) -> QueueState | None:
        """See WorkQueues."""
        return await self._link.call("queues.state", [target], lambda: self._state(target))

    def _state(self, target: str) -> QueueState | None:
        consumer = self._consumers.get(target)
        return None if consumer is None else consumer.state

    def _bind(self, target: str, wanted: Settings) -> MemoryQueue:
        consumer = self._consumers.get(target)
        if consumer is None:
            filter = self._filter_of(target)
            consumer = Consumer(self._log, filter, wanted, self._link.agenda)
            self._consumers[target] = consumer
        if consumer.settings != wanted:
            raise TopologyDrift(
                f"the queue of {target!r} has {consumer.settings}, wanted is {wanted};"
                " use the same settings in all workers, or delete the consumer"
            )
        return MemoryQueue(self._link, consumer)
