"""The ports of the store in memory, for tests, simulations and a first try without a NATS server.

    broker = MemoryBroker(Names())          # virtual time; MemoryBroker(clock=SystemClock()) for
    real time backend = broker.backend()              # what connect() gives on a server; several
    make several processes await broker.advance(30.0)              # timers fire, leases expire,
    commands come back

It promises what ``store.port`` promises, checked by the suite that also runs on a real server, down
to partitions, sequences and refusals. It refuses to be durable: all is gone with the object. What
shall go wrong is said with a ``Faults`` object, by ``backend.cut()`` and ``heal()``, and by
``broker.restart()``.
"""

from __future__ import annotations

from store.memory.broker import MemoryBackend, MemoryBroker
from store.memory.clock import Clock, SystemClock, VirtualClock
from store.memory.faults import (
    Again,
    Answer,
    Call,
    Fail,
    Fault,
    Faults,
    Hold,
    HoldReply,
    Injected,
    Late,
    LoseReply,
    LoseRequest,
    ScriptedFaults,
    Stale,
    StoreLate,
)
from store.memory.routing import partition_of

__all__ = [
    "Again",
    "Answer",
    "Call",
    "Clock",
    "Fail",
    "Fault",
    "Faults",
    "Hold",
    "HoldReply",
    "Injected",
    "Late",
    "LoseReply",
    "LoseRequest",
    "MemoryBackend",
    "MemoryBroker",
    "ScriptedFaults",
    "Stale",
    "StoreLate",
    "SystemClock",
    "VirtualClock",
    "partition_of",
]
