"""What a client missed, from the log itself: the events between the last one it had and now.

Read page by page, so that a slow client holds little and no consumer is open while it is written
to; a few at a time, so that many clients who come back together don't hold up the broker.
"""

from __future__ import annotations

from server.live.changes import Teller
from server.live.channel import Filter
from server.live.hub import Hub, reset_frame
from store.closing import closing
from store.port import Stored

PAGE = 500
REPLAY_MAX = 10_000


class Replay:
    """The events of ``filter`` after one sequence up to another, in pages."""

    def __init__(self, hub: Hub, filter: Filter, after: int, upto: int) -> None:
        self._hub = hub
        self._filter = filter
        self._after = after
        self._upto = upto
        self._left = REPLAY_MAX
        self._teller = Teller(hub.backend.log, hub.names)
        self.done = after >= upto

    async def page(self) -> bytes:
        """The next events as one write, may be empty; raises Unreachable.

        When there are more than ``REPLAY_MAX``, the last page says so and ``saga:reset`` stands for
        the rest.
        """
        async with self._hub.replays:
            chunk = await self._read()
            changes = await self._teller.tell(chunk)
        admits, view, mask = self._filter.admits, self._filter.view, self._hub.mask
        told = b"".join(change.frame(view, mask) for change in changes if admits(change))
        self._left -= len(chunk)
        if not self.done and self._left <= 0:
            self.done = True
            told += reset_frame(f"more than {REPLAY_MAX} events were missed", self._upto)
        return told

    async def _read(self) -> list[Stored]:
        chunk: list[Stored] = []
        subject = self._filter.subject(self._hub.names)
        async with closing(self._hub.backend.log.history(subject, self._after)) as messages:
            async for stored in messages:
                if stored.seq > self._upto:
                    break
                chunk.append(stored)
                self._after = stored.seq
                if len(chunk) == PAGE:
                    return chunk
        self.done = True
        return chunk
