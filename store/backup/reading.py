"""Reading a stream from a sequence to another one that was its end, and no further."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from store.port import Feed, Feeds, Stored, StreamName, Unreachable
from store.subjects import Names

TAKE_MAX = 2_000
STALL_S = 30.0


def is_fleeting(names: Names, stored: Stored) -> bool:
    """Whether a message of the log is a position or a schedule, which go when others come."""
    return stored.subject.startswith((f"$KV.{names.bucket}.p.", f"{names.namespace}.timers."))


class Reading:
    """What ``filters`` take of a stream behind ``after`` up to ``goal``, as long as that takes."""

    def __init__(
        self,
        feeds: Feeds,
        stream: StreamName,
        after: int,
        goal: int,
        filters: Sequence[str] = (">",),
    ) -> None:
        self.stream: StreamName = stream
        self.last = after
        self._feeds = feeds
        self._goal = goal
        self._filters = filters
        self._wake = asyncio.Event()
        self._feed: Feed | None = None

    @property
    def done(self) -> bool:
        """Whether the goal is reached."""
        return self.last >= self._goal

    async def take(self) -> list[Stored]:
        """The next messages up to the goal; raises Unreachable when none come for long."""
        if self._feed is None:
            self._feed = await self._feeds.open(
                self.stream, self._filters, self.last, self._wake.set
            )
        while True:
            self._wake.clear()
            taken = self._feed.take(TAKE_MAX)
            if taken or self._feed.waiting == 0:
                break
            try:
                async with asyncio.timeout(STALL_S):
                    await self._wake.wait()
            except TimeoutError:
                raise Unreachable(
                    f"reading the {self.stream} stalled for {STALL_S:g} s; check the server and "
                    "say the same again, which goes on"
                ) from None
        within = [stored for stored in taken if stored.seq <= self._goal]
        # What is at the goal may be gone; then something behind it comes, or nothing any more.
        ended = len(within) < len(taken) or not taken
        self.last = self._goal if ended else within[-1].seq
        return within

    async def close(self) -> None:
        """End the reading; idempotent."""
        feed, self._feed = self._feed, None
        if feed is not None:
            await feed.close()
