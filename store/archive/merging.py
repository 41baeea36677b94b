"""Reading all of a log with what was archived of it, in one order.

A message of the log is handed on when everything archived before it was. The archive may grow while
this reads: a set is there before the log lets its messages go, so whoever looks at the folder after
a message has come knows of all that could be missing before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain

from store.archive.catalog import ArchivedSet
from store.archive.reading import Archive
from store.port import Feed, Stored

HELD_MAX = 8_000  # archived messages that wait to be taken
BLOCK = 2_000


class MergedFeed:
    """``store.port.Feed`` over the feed of a log and its archive, behind ``after``.

    ``take`` raises ArchiveError when a file can't be read: nothing is left out silently.
    """

    def __init__(self, feed: Feed, archive: Archive, after: int, wake: Callable[[], None]) -> None:
        self._feed = feed
        self._archive = archive
        self._wake = wake
        self._last = after  # of what was handed on
        self._fresh: deque[Stored] = deque()  # of the log
        self._past: deque[Stored] = deque()  # of the archive
        self._read_upto = after  # of the archive
        self._known: tuple[str, ...] | None = None  # the sets that are read, or were
        self._filling: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._error: BaseException | None = None

    def take(self, limit: int) -> list[Stored]:
        """See Feed."""
        self._fresh += self._feed.take(max(0, limit - len(self._fresh)))
        if self._fresh or self._known is None:
            self._look()
        if self._error is not None:
            error, self._error, self._known = self._error, None, None
            raise error
        taken: list[Stored] = []
        while len(taken) < limit and (stored := self._next()) is not None:
            if stored.seq > self._last:  # else it is in both
                taken.append(stored)
                self._last = stored.seq
        if len(self._past) < HELD_MAX:
            self._room.set()
        return taken

    @property
    def waiting(self) -> int:
        """See Feed; one stands for all that was not read from files yet."""
        more = 1 if self._filling is not None or self._known is None else 0
        return self._feed.waiting + len(self._fresh) + len(self._past) + more

    async def close(self) -> None:
        """See Feed."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
        await self._feed.close()

    def _next(self) -> Stored | None:
        """The next message of both, when it is known which that is."""
        fresh = self._fresh[0].seq if self._fresh else 0
        if self._past:
            if self._past[0].seq <= fresh or (fresh == 0 and self._feed.waiting == 0):
                return self._past.popleft()
            return self._fresh.popleft() if fresh else None
        if fresh == 0 or (self._filling is not None and fresh > self._read_upto):
            return None
        return self._fresh.popleft()

    def _look(self) -> None:
        """Read what is archived behind what was handed on, anew when there is more of it."""
        names = self._archive.catalog.names()
        if names == self._known:
            return
        self._known = names
        if self._filling is not None:
            self._filling.cancel()
        self._past.clear()
        self._read_upto = self._last
        self._filling = asyncio.create_task(self._fill(self._last), name="reading the archive")
        self._filling.add_done_callback(self._filled)

    def _filled(self, task: asyncio.Task[None]) -> None:
        if task is not self._filling:
            return  # there is another one by now
        self._filling = None
        if not task.cancelled():
            self._error = task.exception()
        self._wake()

    async def _fill(self, after: int) -> None:
        sets = [one for one in self._archive.catalog.sets() if one.last > after]
        blocks = merged(self._archive.messages, sets, after)
        while block := await asyncio.to_thread(next, blocks, None):
            self._past += block
            self._read_upto = block[-1].seq
            self._wake()
            if len(self._past) >= HELD_MAX:
                self._room.clear()
                await self._room.wait()


class Past:
    """What was archived, given out by and by while a log is gone through; blocks."""

    def __init__(self, blocks: Iterator[list[Stored]]) -> None:
        self._messages = chain.from_iterable(blocks)
        self._due = next(self._messages, None)

    def before(self, seq: int) -> Iterator[Stored]:
        """What comes before a message of the log; one that is in both is left to the log."""
        while self._due is not None and self._due.seq <= seq:
            due, self._due = self._due, next(self._messages, None)
            if due.seq < seq:
                yield due

    def rest(self) -> Iterator[Stored]:
        """What comes after the log's last message."""
        return self.before(2**63)


def merged(
    read: Callable[[ArchivedSet, int], Iterator[Sequence[Stored]]],
    sets: Sequence[ArchivedSet],
    after: int = 0,
) -> Iterator[list[Stored]]:
    """The messages of sets behind a sequence, in order, each once; ``read`` reads one, and blocks.

    A set is opened when its first message is due, so few are open at once.
    """
    due = sorted(sets, key=lambda one: (one.first, one.id), reverse=True)
    heap: list[tuple[int, int, Stored, Iterator[Stored]]] = []
    block: list[Stored] = []
    last = after
    while due or heap:
        if due and (not heap or max(due[-1].first, after) <= heap[0][0]):
            number = len(due)
            messages = chain.from_iterable(read(due.pop(), after))
        else:
            _, number, stored, messages = heappop(heap)
            if stored.seq > last:
                block.append(stored)
                last = stored.seq
        following = next(messages, None)
        if following is not None:
            heappush(heap, (following.seq, number, following, messages))
        if len(block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block
