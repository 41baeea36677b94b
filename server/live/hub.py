"""The hub: a service that reads the log once for the whole process and tells every listener.

The way of an event:

    feed of the log -> changes (only while somebody listens) -> channels by filter
    -> bells, rung at a steady pace

Writing to a thousand clients takes a good part of a second of a core, so the bells are rung a few
at a time and the event loop is free in between: requests and engines beside the hub don't notice.
A slow listener only falls behind in its channel; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from server.live.changes import Change, Teller, event
from server.live.channel import Channel, Extra, Filter, Item, Listener
from server.live.limits import Limits, Seats
from server.live.pace import Pace
from store.life import Life
from store.port import Backend, Feed, Stored, StoreError
from store.projection.port import ReadModel
from store.subjects import Names

log = logging.getLogger("snorri.live")

TAKE_MAX = 500
CHECK_EVERY_S = 10.0
PROJECTION_EVERY_S = 1.0
BROKER_EVERY_S = 1.0
RETRY_S = 1.0
REPLAYS_AT_ONCE = 8


class Stream(Protocol):
    """What the hub asks of an open stream."""

    def wake(self) -> None:
        """Look whether to go on."""
        ...

    def tick(self, now_s: float) -> None:
        """Time has passed; ``now_s`` is the event loop's."""
        ...


class ProjectionChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """The data of a ``projection`` event: how far lists and reports follow the log."""

    seq: int
    lag: int
    lag_seconds: float


class BrokerChange(Struct, frozen=True, kw_only=True):
    """The data of a ``broker`` event: whether this process is connected to it."""

    connected: bool


class Reset(Struct, frozen=True, kw_only=True):
    """The data of ``saga:reset``: what was known is to be loaded again, ``seq`` is where the stream
    goes on.
    """

    reason: str
    seq: int


class Hub:
    """Tells listeners what changes; start, stop and wait as every service.

    ``mask`` hides what is secret in a stored document, before it is shown to most.
    """

    name = "live view"

    def __init__(
        self,
        backend: Backend,
        names: Names,
        *,
        mask: Callable[[bytes], bytes],
        read: ReadModel | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.seats = Seats(self.limits)
        self.names = names
        self.mask = mask
        self.backend = backend
        self.last_seq = 0  # all events up to this one are in the channels
        self._dropped = 0
        self._read = read
        self._teller = Teller(backend.log, names)
        self._channels: dict[Filter, Channel] = {}
        self._places: defaultdict[tuple[str | None, str | None], list[Channel]] = defaultdict(list)
        self._pace = Pace()
        self._arrived = asyncio.Event()
        self._feed: Feed | None = None
        self._last_at_ns = 0
        self._created: datetime | None = None
        self._projection_seq = 0
        self.streams: dict[Stream, None] = {}
        self.replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._replaced = ""
        self._life = Life()
        self._open = False

    # --- a service

    async def start(self) -> None:
        """Begin to follow the log at its end; raises StoreError."""
        await self._open_feed()
        self._open = True
        works = (
            *(self._follow(), self._check(), self._pace.run()),
            *(self._watch_streams(), self._watch_projection(), self._watch_broker()),
        )
        for work in works:
            self._life.begin(work, f"live {work.__name__}")

    def close_streams(self) -> None:
        """End every stream in order and begin none; the server is about to stop."""
        self._open = False
        for stream in self.streams:
            stream.wake()

    async def stop(self) -> None:
        """End every stream and read no more."""
        self.close_streams()
        await self._life.stop()
        if self._feed is not None:
            await self._feed.close()
            self._feed = None

    async def wait(self) -> None:
        """Return after ``stop``; raise what ended the hub otherwise."""
        await self._life.wait()

    @property
    def is_open(self) -> bool:
        """Whether streams may begin and go on."""
        return self._open and self._life.runs

    @property
    def channels(self) -> int:
        """Filters that somebody listens to."""
        return len(self._channels)

    @property
    def dropped(self) -> int:
        """Events that listeners lost since they read too slowly."""
        here = (one.dropped for channel in self._channels.values() for one in channel.listeners)
        return self._dropped + sum(here)

    # --- listening

    def listen(self, filter: Filter, bell: asyncio.Event, floor: int = 0) -> Listener:
        """A new listener to the events after ``last_seq`` and ``floor``; end it with ``leave``."""
        channel = self._channels.get(filter)
        if channel is None:
            channel = self._channels[filter] = Channel(filter, self.mask)
            self._places[(filter.saga, filter.key)].append(channel)
        return Listener(channel, bell, floor)

    def leave(self, listener: Listener) -> None:
        """End a listener; the last one of a filter takes its channel along."""
        listener.leave()
        self._dropped += listener.dropped
        channel = listener.channel
        place = (channel.filter.saga, channel.filter.key)
        if not channel.listeners and self._channels.get(channel.filter) is channel:
            del self._channels[channel.filter]
            self._places[place].remove(channel)
            if not self._places[place]:
                del self._places[place]

    async def end_of_log(self) -> int:
        """The last sequence of the log; raises StoreError."""
        return (await self.backend.log.extent("log")).last

    # --- following

    async def _open_feed(self) -> None:
        """Read from the end of the log on."""
        extent = await self.backend.log.extent("log")
        filters = [self.names.instances(), self.names.dead_letters()]
        self._feed = await self.backend.feeds.open("log", filters, extent.last, self._arrived.set)
        self.last_seq, self._created = extent.last, extent.created
        self._last_at_ns = 0

    async def _follow(self) -> None:
        while True:
            self._arrived.clear()
            if self._replaced:
                await self._begin_again()
            chunk = self._feed.take(TAKE_MAX) if self._feed is not None else []
            if not chunk:
                await self._arrived.wait()
                continue
            if self._channels:
                self._spread(await self._changes(chunk))
            self.last_seq, self._last_at_ns = chunk[-1].seq, chunk[-1].at_ns
            await asyncio.sleep(0)

    async def _changes(self, chunk: list[Stored]) -> list[Change]:
        while True:
            try:
                return await self._teller.tell(chunk)
            except StoreError as error:
                log.info("the live view waits for the broker: %s", error)
            await asyncio.sleep(RETRY_S)

    def _spread(self, changes: Iterable[Change]) -> None:
        """Put changes into the channels that want them, and have their listeners told."""
        for change in changes:
            saga, key = change.saga, change.key
            for place in ((None, None), (saga, None), (None, key), (saga, key)):
                for channel in self._places.get(place, ()):
                    if channel.filter.admits(change):
                        channel.add(change)
                        self._pace.mark(channel)

    # --- what may happen to the log

    async def _check(self) -> None:
        """See from time to time that the log is still the one that was read."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                if await self._was_replaced():
                    self._replaced = "the log was replaced or has lost its end"
                    self._arrived.set()
            except StoreError as error:
                log.debug("the log can't be looked at: %s", error)

    async def _was_replaced(self) -> bool:
        """Whether it is another log, one that ends before what was read, or one that did and has
        gone on since.
        """
        seq, at_ns = self.last_seq, self._last_at_ns
        extent = await self.backend.log.extent("log")
        if extent.created != self._created or extent.last < seq:
            return True
        stored = await self.backend.log.at("log", seq) if at_ns else None
        return stored is not None and stored.at_ns != at_ns  # none: it was archived

    async def _begin_again(self) -> None:
        """Go on at the end of another log; whoever listens is told to load everything again."""
        log.warning("%s; the live view begins again at its end", self._replaced)
        try:
            if self._feed is not None:
                await self._feed.close()
            await self._open_feed()
        except StoreError as error:
            log.info("the live view waits for the broker: %s", error)
            await asyncio.sleep(RETRY_S)
            self._arrived.set()
            return
        frame = reset_frame(self._replaced, self.last_seq)
        self._replaced = ""
        self._teller = Teller(self.backend.log, self.names)
        for channel in self._channels.values():
            for listener in channel.listeners:
                listener.floor = 0
            channel.put(Item(0, "reset", frame))
            self._pace.mark(channel)

    async def _watch_streams(self) -> None:
        """One clock for all streams: heartbeats, ends of life, clients that don't read."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self.limits.tick_s)
            for stream in tuple(self.streams):
                stream.tick(now())

    async def _watch_projection(self) -> None:
        """Tell, at most once a second, that the projections have moved."""
        while True:
            await asyncio.sleep(PROJECTION_EVERY_S)
            progress = self._read.progress if self._read is not None else None
            if progress is None or progress.log_seq == self._projection_seq:
                continue
            self._projection_seq = progress.log_seq
            told = ProjectionChange(
                seq=progress.log_seq, lag=progress.lag, lag_seconds=progress.lag_s
            )
            self._tell_extra("projection", told)

    async def _watch_broker(self) -> None:
        """Tell, once a second while the broker is away and once when it is back.

        Streams that begin meanwhile hear of it with the next second.
        """
        away = False
        while True:
            await asyncio.sleep(BROKER_EVERY_S)
            connected = self.backend.connected
            if away or not connected:
                self._tell_extra("broker", BrokerChange(connected=connected))
            away = not connected

    def _tell_extra(self, name: Extra, told: Struct) -> None:
        """An event without a sequence, to those who have asked for its kind."""
        frame = event(name, msgspec.json.encode(told))
        for channel in self._channels.values():
            if name in channel.filter.extras:
                channel.put(Item(0, name, frame))
                self._pace.mark(channel)


def reset_frame(reason: str, seq: int) -> bytes:
    """The event that tells a client to load again what it knows."""
    return event("saga:reset", msgspec.json.encode(Reset(reason=reason, seq=seq)), seq)
