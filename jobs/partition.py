"""One partition in an engine: its two feeds and how far it has been read and committed.

``events`` and ``signals`` are the committed positions, ``revision`` the sequence of the record that
holds them: the next commit expects it, so an engine that lost the partition while it slept can't
commit anything. ``inline`` are the subjects of instances with steps that the engine carries out
itself, ``listed`` those that the record names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from jobs.recovery import events_after
from store.codec import Position
from store.port import Backend, Feed, Stored
from store.subjects import Names


class Partition:
    """An open partition; ``take`` hands out messages of both feeds in turn."""

    def __init__(self, number: int, stored: Stored | None) -> None:
        self.number = number
        position = msgspec.json.decode(stored.data, type=Position) if stored else None
        self._position = position
        self.events = position.events if position else 0
        self.events_at_ns = position.events_at_ns if position else 0
        self.signals = position.signals if position else 0
        self.inline = set(position.inline) if position else set[str]()
        self.listed = frozenset(self.inline)
        self.revision = stored.seq if stored else 0
        self.closing = False
        self.lost = False
        self._feeds: dict[str, Feed] = {}
        self._outstanding = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def open(self, backend: Backend, names: Names, wake: Callable[[], None]) -> None:
        """Begin to read both streams after the committed positions; raises Unreachable."""
        number = self.number
        feeds = self._feeds
        if self._position is not None:
            self.events = await events_after(backend.log, self._position, number)
        try:
            feeds["log"] = await backend.feeds.open(
                "log", names.signal_filters(number), self.signals, wake
            )
            feeds["events"] = await backend.feeds.open(
                "events", names.event_filters(number), self.events, wake
            )
        except BaseException:  # cancelled or unreachable in between: the other feed must not stay
            await self.shut()
            raise

    def take(self, limit: int) -> tuple[list[Stored], list[Stored]]:
        """Signals and events that have arrived, at most ``limit`` of each.

        Signals go first, they finish work begun.
        """
        if self.closing or self.lost or not self._feeds:
            return [], []
        signals = self._feeds["log"].take(limit)
        events = self._feeds["events"].take(limit)
        taken = len(signals) + len(events)
        if taken:
            self.expect(taken)
        return signals, events

    def expect(self, count: int) -> None:
        """So many messages are taken and must be settled."""
        self._outstanding += count
        self._quiet.clear()

    @property
    def waiting(self) -> int:
        """Messages that are stored for it and not taken, as far as the feeds know."""
        return sum(feed.waiting for feed in self._feeds.values())

    def settle(self, count: int) -> None:
        """So many taken messages are committed or given up."""
        self._outstanding -= count
        if self._outstanding <= 0:
            self._quiet.set()

    async def close(self) -> None:
        """Take no more, wait until what was taken is committed or given up, and end both feeds."""
        self.closing = True
        await self._quiet.wait()
        await self.shut()

    async def shut(self) -> None:
        """End both feeds at once."""
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            await feed.close()
