"""The end of a child that was never started: what its parent is told then. Pure.

A spawn that no engine could carry out is a dead letter. Redriven, the child starts after all;
discarded, it never will, and its parent would wait for ever.
"""

from __future__ import annotations

import msgspec

from sagas.bookkeeping import ChildEnd
from sagas.messages import Cause, to_raw
from store import codec
from store.codec import DeadLetter
from store.outbox import signal
from store.port import Outgoing, Stored
from store.subjects import Names


def abandoned_child(
    names: Names, letter: DeadLetter, stored: Stored | None, reason: str
) -> Outgoing | None:
    """The message to the parent that its child has failed, when the dead letter is its start."""
    if letter.stream != "log" or stored is None:
        return None
    try:
        envelope = codec.open_envelope(stored)
    except msgspec.DecodeError:
        return None
    start, child = envelope.cause, envelope.to
    if start.kind != "spawn" or start.parent is None or child is None:
        return None
    why = f"it was never started: {letter.reason}; its start was discarded"
    told = f"{why}: {reason}" if reason else why
    end = Cause(
        kind="child",
        type=f"{child.saga}.failed",
        id=f"{start.id}.discarded",
        seq=0,
        at=start.at,
        payload=to_raw(ChildEnd(saga=child.saga, key=child.key, reason=told)),
        trace=start.trace,
    )
    return signal(names, start.parent, end)
