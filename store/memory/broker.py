"""The memory broker: the two streams, the meta bucket and the command queues of one installation,
in one process.

It stands in for nats-server in tests, in simulations and for a first try without a server. Each
``backend()`` is what a process of its own would hold. With a virtual clock (the default) time
passes only in ``advance``, and the same calls in the same order give the same result; with a
SystemClock schedules and expiries happen by themselves. Everything is forgotten with the object.
"""

from __future__ import annotations

import asyncio

from store.memory.admission import PAYLOAD_BYTES_MAX
from store.memory.bucket import MemoryMeta
from store.memory.clock import NS, Agenda, Clock, VirtualClock
from store.memory.faults import Faults
from store.memory.link import CallCounter, Link
from store.memory.ports import MemoryDoor, MemoryFeeds, MemoryLog
from store.memory.queue import Consumer, MemoryQueues
from store.memory.routing import Transform
from store.memory.stream import MemoryStream, Rules
from store.port import Door, Feeds, Log, Meta, WorkQueues
from store.subjects import Names

SETTLE_TURNS = 10  # turns of the event loop after each due moment, so that who waits for it goes on
MARKER_TTL_S = 60


class MemoryBackend:
    """All ports of the memory broker as one process sees them."""

    def __init__(self, broker: MemoryBroker, link: Link) -> None:
        names = broker.names
        self.link = link
        self.log: Log = MemoryLog(link, broker.log, broker.events)
        self.door: Door = MemoryDoor(link, broker.events, broker.log)
        self.feeds: Feeds = MemoryFeeds(link, broker.events, broker.log)
        self.meta: Meta = MemoryMeta(link, broker.bucket, names.meta_bucket)
        self.queues: WorkQueues = MemoryQueues(
            link, broker.log, broker.consumers, names.command_filter
        )
        self.payload_max = PAYLOAD_BYTES_MAX
        self.partitions = broker.partitions
        self.replicas = 1

    @property
    def connected(self) -> bool:
        """See Backend."""
        return self.link.up

    async def close(self) -> None:
        """End this process's watches and waits; later calls raise Unreachable. A second call does
        nothing.
        """
        self.link.closed = True
        self.link.stir()

    def cut(self) -> None:
        """Lose the connection: calls are Unreachable, commits Unknown, feeds and watches hear
        nothing.
        """
        self.link.is_cut = True
        self.link.stir()

    def heal(self) -> None:
        """Find the connection again: feeds and watches go on after the last message they gave."""
        self.link.is_cut = False
        self.link.stir()


class MemoryBroker:
    """A broker for ``names``; open one backend for each process that you want to play."""

    def __init__(
        self,
        names: Names | None = None,
        partitions: int = 4,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.names = names if names is not None else Names()
        self.partitions = partitions
        self.clock: Clock = clock if clock is not None else VirtualClock()
        self.faults = faults if faults is not None else Faults()
        self._agenda = Agenda(self.clock)
        self._counter = CallCounter()
        self._backends: list[MemoryBackend] = []
        self.events = MemoryStream(events_rules(self.names, partitions), self._agenda)
        self.log = MemoryStream(log_rules(self.names, partitions), self._agenda)
        self.bucket = MemoryStream(meta_rules(self.names), self._agenda)
        self.consumers: dict[str, Consumer] = {}

    def backend(self, process: str = "") -> MemoryBackend:
        """A connection of its own; ``process`` names it in calls seen by faults (default: p1, p2,
        …).
        """
        name = process or f"p{len(self._backends) + 1}"
        backend = MemoryBackend(self, Link(name, self._agenda, self.faults, self._counter))
        self._backends.append(backend)
        return backend

    async def advance(self, seconds: float) -> None:
        """Let time pass: whatever falls due happens in order, and tasks that wait for it get to
        run.

        Raises TypeError when the clock is not a virtual one.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock):
            raise TypeError("only a VirtualClock can be advanced; make the broker without a clock")
        end_ns = clock.now_ns() + round(seconds * NS)
        while (due_ns := self._agenda.next_ns()) is not None and due_ns <= end_ns:
            clock.move_to(max(due_ns, clock.now_ns()))
            self._agenda.run_due()
            await _settle()
        clock.move_to(max(end_ns, clock.now_ns()))
        await _settle()

    def next_ns(self) -> int | None:
        """The next moment at which something happens by itself, None when nothing is planned."""
        return self._agenda.next_ns()

    def restart(self, *, forget_ids: bool = False) -> None:
        """Stop and start the broker: feeds, watches and queues go on by themselves.

        The window of message ids is rebuilt from the messages that are left; ``forget_ids`` empties
        it.
        """
        for stream in (self.events, self.log, self.bucket):
            stream.forget_ids(all=forget_ids)
        for backend in self._backends:
            backend.link.stir()

    async def close(self) -> None:
        """Close all backends and take the timer from the event loop."""
        for backend in self._backends:
            await backend.close()
        self._agenda.close()


async def _settle() -> None:
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


def events_rules(names: Names, partitions: int) -> Rules:
    """The stream that anyone may publish to: two shapes of subject and nothing special."""
    space = names.namespace
    return Rules(
        name=names.events_stream,
        subjects=(f"{space}.events.*", f"{space}.events.*.*"),
        transform=Transform(f"{space}.events", f"{space}.in", partitions),
    )


def log_rules(names: Names, partitions: int) -> Rules:
    """The stream of the engine: rollups, schedules and expiry allowed."""
    space = names.namespace
    return Rules(
        name=names.log_stream,
        subjects=(
            f"$KV.{names.bucket}.>",
            f"{space}.signals.>",
            f"{space}.commands.>",
            f"{space}.timers.>",
        ),
        transform=Transform(f"{space}.signals", f"{space}.sig", partitions),
        rollup=True,
        ttl=True,
        schedules=True,
    )


def meta_rules(names: Names) -> Rules:
    """The stream under the meta bucket: one message a key, markers for what expired."""
    return Rules(
        name=names.meta_stream,
        subjects=(f"$KV.{names.meta_bucket}.>",),
        rollup=True,
        ttl=True,
        per_subject_max=1,
        marker_ttl_s=MARKER_TTL_S,
    )
