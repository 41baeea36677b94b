"""The judge's own record: everything that was ever stored, in order, and what befell whom.

It is written as it happens, beside the broker, and nothing that the played processes do can change
it. The story that people read and the hash that tells two runs apart are made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from store.memory.clock import NS, START_NS
from store.memory.stream import Admitted, MemoryStream
from store.port import Stored, StreamName
from tests.simulation.loop import SimulatedLoop, current


class Commit(Struct, frozen=True, gc=False):
    """Messages that were stored together, by whom and when."""

    index: int
    at_s: float
    by: str
    stream: StreamName
    messages: tuple[Stored, ...]


class Event(Struct, frozen=True, gc=False):
    """Something that befell somebody; ``before`` is the number of commits before it."""

    at_s: float
    before: int
    text: str


class Record:
    """What was stored and what happened, in one order."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.commits: list[Commit] = []
        self.events: list[Event] = []
        self._loop = loop
        self._digest = hashlib.sha256()

    def listen(self, name: StreamName, stream: MemoryStream) -> None:
        """Note all that this stream stores from now on."""
        put = stream.put

        def noted(batch: Sequence[Admitted]) -> int:
            first, at_ns = stream.last_seq + 1, self._loop.clock.now_ns()
            self._note(name, first, at_ns, batch)
            return put(batch)

        listening: Any = stream
        listening.put = noted

    def tell(self, text: str) -> None:
        """Note that something happened."""
        event = Event(self._loop.time(), len(self.commits), text)
        self.events.append(event)
        self._digest.update(f"{event.at_s:.9f} {text}\n".encode())

    @property
    def trace(self) -> str:
        """A hash of all of it."""
        return self._digest.hexdigest()

    def _note(self, name: StreamName, first: int, at_ns: int, batch: Sequence[Admitted]) -> None:
        messages = tuple(
            Stored(one.subject, first + place, at_ns, one.payload, one.headers)
            for place, one in enumerate(batch)
        )
        by = current().name
        self._digest.update(f"{at_ns} {by} {name} {first}\n".encode())
        for one in messages:
            self._digest.update(f"{one.subject} {sorted(one.headers.items())}\n".encode())
            self._digest.update(one.data)
        at_s = (at_ns - START_NS) / NS
        self.commits.append(Commit(len(self.commits), at_s, by, name, messages))
