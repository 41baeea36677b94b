"""Where to go on reading after the events stream lost its end. Looks, never writes.

A server that was not told to sync each write can lose its last messages in a power cut, and gives
their sequences out again. A position that is believed blindly then skips new events. So a position
also says when its message was stored: another time at that sequence, or none, and the stream is
searched for the last message that is older.
"""

from __future__ import annotations

import logging

from store.codec import Position
from store.port import Log

log = logging.getLogger("snorri.engine")


async def events_after(stream: Log, position: Position, partition: int) -> int:
    """The sequence to read events after: the position's, or an earlier one after a loss.

    Raises Unreachable.
    """
    if position.events == 0 or await _holds(stream, position.events, position, exactly=True):
        return position.events
    known, doubtful = 0, position.events
    while doubtful - known > 1:
        middle = (known + doubtful) // 2
        if await _holds(stream, middle, position, exactly=False):
            known = middle
        else:
            doubtful = middle
    log.error(
        "partition %d was read up to event %d, but the events %d to %d of that time are gone: the"
        " server has lost its last writes. What came after them is read again; run `snorri doctor`"
        " and let the server sync each write (sync_interval: always)",
        *(partition, position.events, known + 1, position.events),
    )
    return known


async def _holds(stream: Log, seq: int, position: Position, *, exactly: bool) -> bool:
    """Whether ``seq`` is a message from before the position, or (exactly) the very one."""
    stored = await stream.at("events", seq)
    if stored is None:
        return False
    if position.events_at_ns == 0:  # written by an older program
        return True
    if exactly:
        return stored.at_ns == position.events_at_ns
    return stored.at_ns <= position.events_at_ns
