"""One channel for each filter in use: the last events that match it, and who listens.

Listeners share the events; each has only a place in them, so a reader who never reads costs no
memory and no time. **The rule for a slow reader:** whoever falls further behind than the channel
keeps (at least ``KEPT_EVENTS`` events or ``KEPT_BYTES``) gets, of what is kept, the newest event of
each instance; the older ones are dropped, and ``saga:dropped`` tells how many, before the rest.
Pure but for the listeners' bells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from sagas.draft import GATE_SAGA
from server.live.changes import Change, View, event
from store.subjects import Names

KEPT_EVENTS = 1000
KEPT_BYTES = 2 * 1024 * 1024
CHUNK_BYTES = 64 * 1024  # of one write to a client

Extra: TypeAlias = Literal["deadletter", "projection", "broker"]


class Filter(Struct, frozen=True):
    """Which events, and in which view; an empty ``statuses`` is all of them."""

    saga: str | None = None
    key: str | None = None
    statuses: frozenset[str] = frozenset()
    extras: frozenset[Extra] = frozenset()
    view: View = View()

    def admits(self, change: Change) -> bool:
        """Whether the change is one of these; saga and key are looked at too."""
        if self.saga not in (None, change.saga) or self.key not in (None, change.key):
            return False
        if change.names[-1] == "deadletter":
            return "deadletter" in self.extras
        if self.saga is None and change.saga == GATE_SAGA:
            return False
        return not self.statuses or change.status in self.statuses

    def subject(self, names: Names) -> str:
        """What of the log has to be read for these events."""
        if "deadletter" in self.extras:
            return names.records()
        return names.instances(self.saga, self.key)


class Item(NamedTuple):
    """An event that is kept: its sequence (0: it has none), what it is about, its bytes."""

    seq: int
    place: str
    frame: bytes


class Chunk(NamedTuple):
    """Events that go out in one write; ``body`` is all their frames."""

    items: Sequence[Item]
    body: bytes


class Channel:
    """The events of one filter; ``start`` and ``end`` count all that ever were."""

    def __init__(self, filter: Filter, mask: Callable[[bytes], bytes]) -> None:
        self.filter = filter
        self.listeners: dict[Listener, None] = {}
        self.start = 0
        self._mask = mask
        self._items: list[Item] = []
        self._bytes = 0
        self._asked = (0, 0)
        self._answer = Chunk((), b"")

    @property
    def end(self) -> int:
        """The place of the next event."""
        return self.start + len(self._items)

    def add(self, change: Change) -> None:
        """Keep a change as it looks in this channel's view."""
        self.put(Item(change.seq, change.place, change.frame(self.filter.view, self._mask)))

    def put(self, item: Item) -> None:
        """Keep an event; of many, the older half goes when there are twice as many as promised."""
        self._items.append(item)
        self._bytes += len(item.frame)
        if len(self._items) >= 2 * KEPT_EVENTS or self._bytes >= 2 * KEPT_BYTES:
            gone = max(1, len(self._items) // 2)
            self._bytes -= sum(len(one.frame) for one in self._items[:gone])
            del self._items[:gone]
            self.start += gone

    def since(self, place: int) -> Chunk:
        """The events from a place on, as many as fit one write; the place must be kept.

        The last answer is kept: most listeners ask from the same place.
        """
        if self._asked != (place, self.end):
            self._answer = first_chunk(self._items[place - self.start :])
            self._asked = (place, self.end)
        return self._answer

    def newest(self) -> list[Item]:
        """The newest event of each instance, of all that are kept, in order."""
        newest = {item.place: item for item in self._items}
        return sorted(newest.values(), key=lambda item: item.seq)


def first_chunk(items: Sequence[Item]) -> Chunk:
    """As many of the first events as fit one write, at least one if there is any."""
    size = 0
    for count, item in enumerate(items):
        size += len(item.frame)
        if count and size > CHUNK_BYTES:
            items = items[:count]
            break
    return Chunk(items, b"".join(item.frame for item in items))


class Listener:
    """One client's place in a channel. ``bell`` rings when there is something to do.

    Events up to the sequence ``floor`` were had before and are left out.
    """

    def __init__(self, channel: Channel, bell: asyncio.Event, floor: int = 0) -> None:
        self.channel = channel
        self.bell = bell
        self.dropped = 0
        self.floor = floor
        self._place = channel.end
        self._pending: list[Item] = []
        channel.listeners[self] = None

    def is_before(self, place: int) -> bool:
        """Whether there is anything to take before that place of the channel."""
        return bool(self._pending) or self._place < place

    def take(self) -> bytes:
        """The next write; may be empty."""
        told = b""
        if not self._pending and self._place < self.channel.start:
            told = self._fall_back()
        if self._pending:
            chunk = first_chunk(self._pending)
            del self._pending[: len(chunk.items)]
        else:
            chunk = self.channel.since(self._place)
            self._place += len(chunk.items)
        if self.floor:
            new = (item.frame for item in chunk.items if not 0 < item.seq <= self.floor)
            return told + b"".join(new)
        return told + chunk.body if told else chunk.body

    def leave(self) -> None:
        """Listen no more."""
        self.channel.listeners.pop(self, None)

    def _fall_back(self) -> bytes:
        """Too far behind: what is left to tell, and the word of how much is not."""
        channel = self.channel
        missed = channel.end - self._place
        self._pending = channel.newest()
        self._place = channel.end
        dropped = missed - len(self._pending)
        self.dropped += dropped
        body = Dropped(count=dropped, kept=len(self._pending))
        return event("saga:dropped", msgspec.json.encode(body))


class Dropped(Struct, frozen=True, kw_only=True):
    """The data of ``saga:dropped``: how many events this client will not get, as it read too
    slowly, and how many of the same time follow, the newest of each instance.
    """

    count: int
    kept: int
