"""When listeners are told: a few at a time, so that many of them never hold the event loop.

Each bell that rings lets one client's task write. A round over all listeners of the channels that
have something new takes as long as it takes at ``RINGS_PER_S``; what arrives meanwhile joins the
next round, so more clients mean fewer and larger writes, never a queue.
"""

from __future__ import annotations

import asyncio

from server.live.channel import Channel

RINGS_PER_S = 4000
AT_ONCE = 20
PAUSE_MIN_S = 0.002


class Pace:
    """Rings the bells of the listeners of marked channels."""

    def __init__(self) -> None:
        self._marked: dict[Channel, None] = {}
        self._wake = asyncio.Event()

    def mark(self, channel: Channel) -> None:
        """There is something new in a channel."""
        self._marked[channel] = None
        self._wake.set()

    async def run(self) -> None:
        """Ring, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            marked, self._marked = self._marked, {}
            rung = 0
            for channel in marked:
                for listener in tuple(channel.listeners):
                    listener.bell.set()
                    rung += 1
                    if rung == AT_ONCE:
                        await self._pause(rung)
                        rung = 0
            await self._pause(rung)

    @staticmethod
    async def _pause(rung: int) -> None:
        await asyncio.sleep(max(PAUSE_MIN_S, rung / RINGS_PER_S))
