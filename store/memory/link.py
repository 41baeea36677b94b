"""One process's connection to the memory broker: where calls are counted, faulted, cut off and
tailed.

All ports of a backend share one link. A call is asked about twice: ``enter`` before it touches the
broker, ``finish`` to carry it out and, perhaps, lose what it would have answered. A link that is
cut answers nothing and hears nothing; once healed its tails go on where they stood.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, assert_never

from store.memory.clock import Agenda
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
    Stale,
    StoreLate,
)
from store.memory.stream import MemoryStream
from store.port import Stored, StoreError, Unreachable

T = TypeVar("T")


class CallCounter:
    """Numbers the calls of all links of one broker."""

    def __init__(self) -> None:
        self.calls = 0

    def next(self) -> int:
        """1, 2, 3 …"""
        self.calls += 1
        return self.calls


class Link:
    """The connection of one backend, named ``process``."""

    def __init__(self, process: str, agenda: Agenda, faults: Faults, counter: CallCounter) -> None:
        self.process = process
        self.agenda = agenda
        self.closed = False
        self.is_cut = False
        self._faults = faults
        self._counter = counter
        self._listeners: dict[object, Callable[[], None]] = {}

    @property
    def up(self) -> bool:
        """Whether the broker can be heard."""
        return not (self.closed or self.is_cut)

    def listen(self, listener: Callable[[], None]) -> object:
        """Call ``listener`` when the link is healed or closed; the token is for ``unlisten``."""
        token = object()
        self._listeners[token] = listener
        return token

    def unlisten(self, token: object) -> None:
        """Stop calling; does nothing for a token that is gone."""
        self._listeners.pop(token, None)

    def stir(self) -> None:
        """Call all listeners: something about the connection has changed."""
        for listener in list(self._listeners.values()):
            listener()

    def decide(self, name: str, subjects: Sequence[str] = ()) -> Fault | None:
        """Count a call and ask what happens to it."""
        call = Call(self.process, name, tuple(subjects), self._counter.next())
        return self._faults.decide(call)

    async def enter(self, name: str, subjects: Sequence[str] = ()) -> Fault | None:
        """Bring a request to the broker; raises Unreachable when it does not arrive."""
        self._check()
        fault = self.decide(name, subjects)
        while isinstance(fault, Hold):
            await fault.until.wait()
            self._check()
            fault = fault.then
        return fault

    async def finish(self, fault: Fault | None, act: Callable[[], T]) -> T:
        """Carry a request out and bring the answer back; raises Unreachable when that is lost."""
        match fault:
            case None | Stale() | Again() | Late() | Hold():
                return act()
            case LoseRequest():
                raise Unreachable("no answer: the request was lost; read back before repeating")
            case LoseReply():
                act()
                raise Unreachable("no answer: the reply was lost; read back before repeating")
            case StoreLate(delay_s):
                self.agenda.after(delay_s, lambda: _try(act))
                raise Unreachable("no answer in time; read back before repeating")
            case HoldReply(until):
                result = act()
                await until.wait()
                self._check()
                return result
            case Fail(error):
                raise error
            case Answer(outcome):
                raise Injected(outcome)
            case _:
                assert_never(fault)

    async def call(self, name: str, subjects: Sequence[str], act: Callable[[], T]) -> T:
        """``enter`` and ``finish`` in one."""
        return await self.finish(await self.enter(name, subjects), act)

    def _check(self) -> None:
        if self.closed:
            raise Unreachable("this backend is closed; open another one")
        if self.is_cut:
            raise Unreachable("the broker can't be reached; heal the connection")


def _try(act: Callable[[], object]) -> None:
    try:
        act()
    except StoreError:
        return  # nobody waits for this answer any more


class Tail:
    """Follows a stream from a sequence on, each message once, in order, over cuts."""

    def __init__(
        self,
        link: Link,
        stream: MemoryStream,
        filters: Sequence[str],
        after: int,
        wake: Callable[[], None],
    ) -> None:
        self._link = link
        self._stream = stream
        self._filters = tuple(filters)
        self._cursor = after
        self._wake = wake
        self._waiting: deque[Stored] = deque()
        self._token = link.listen(self.pump)
        stream.listeners[self] = self.pump

    def pump(self) -> None:
        """Fetch what is new, if the link is up, and wake the reader when there was something."""
        if self._link.closed:
            self._wake()
            return
        if not self._link.up:
            return
        found = list(self._stream.since(self._cursor, self._filters))
        self._cursor = max(self._cursor, self._stream.last_seq)
        self._waiting.extend(found)
        if found:
            self._wake()

    @property
    def waiting(self) -> int:
        """Messages that have arrived and were not taken."""
        return len(self._waiting)

    def take(self, limit: int) -> list[Stored]:
        """Up to ``limit`` messages that have arrived."""
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def close(self) -> None:
        """Stop following; a second call does nothing."""
        self._link.unlisten(self._token)
        self._stream.listeners.pop(self, None)
        self._waiting.clear()


class Bell:
    """A ring that is kept until somebody waits for it; for one waiter."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Let the waiter go on, now or when it comes."""
        self._event.set()

    async def wait(self) -> None:
        """Until the next ring, or at once when it rang since the last wait."""
        await self._event.wait()
        self._event.clear()
