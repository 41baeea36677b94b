"""An event loop in which one thread plays many processes, in virtual time, chosen by a seed.

Each callback belongs to the process whose context it runs in. Within a process callbacks run in the
order asyncio promises; which process goes on next is chance, so all interleavings of processes can
happen and the same seed gives the same one. Time stands still while anything can run and then jumps
to the next moment. A process can be killed (what it was doing is never resumed, not even to clean
up, and its memory is gone) or stalled (nothing of it runs for a while), at any await.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from store.memory import MemoryBroker, VirtualClock
from store.memory.clock import NS, START_NS

STEPS_MAX = 100_000  # of one run; more means that something spins without getting anywhere
CLOSE_TRIES = 20


class Spinning(Exception):
    """The run takes steps without end."""


class Process:
    """One of the processes that are played: ``steps`` counts what it has run, over all its lives.

    ``on_step`` is called before each step with their number.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stalled = False
        self.queue: deque[asyncio.Handle] = deque()
        self.on_step: Callable[[], None] | None = None

    def context(self) -> contextvars.Context:
        """A fresh context whose tasks and callbacks are this process's."""
        context = contextvars.Context()
        context.run(_current.set, self)
        return context


WORLD = Process("world")
_current: contextvars.ContextVar[Process] = contextvars.ContextVar("process", default=WORLD)


def current() -> Process:
    """The process that runs now."""
    return _current.get()


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop; ``broker`` must have a virtual clock, which is the time of everything."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        WORLD.queue.clear()
        self.clock = VirtualClock()
        self.steps = 0
        self.faults: list[str] = []
        self._chance = chance
        self._broker: MemoryBroker | None = None
        self._processes: list[Process] = [WORLD]
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._on_fault)

    def follow(self, broker: MemoryBroker) -> None:
        """Let what falls due at this broker happen when its moment comes."""
        self._broker = broker

    def time(self) -> float:
        """Seconds since the run began."""
        return (self.clock.now_ns() - START_NS) / NS

    # --- processes

    def spawn(self, process: Process, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin the life of a process; all that this task starts belongs to it."""
        self._processes.append(process)
        return self.create_task(work, context=process.context())

    def kill(self, process: Process) -> None:
        """End a process at once: nothing of it runs any more."""
        process.dead = True
        process.queue.clear()
        if process in self._processes:
            self._processes.remove(process)

    def outside(self, callback: Callable[..., None], *args: Any) -> None:
        """Call ``callback`` soon, as nobody's business but the world's."""
        self.call_soon(callback, *args, context=contextvars.Context())

    def later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> None:
        """The same after a while."""
        self.call_later(delay_s, callback, *args, context=contextvars.Context())

    # --- running

    def _run_once(self) -> None:
        """One step of one process; see BaseEventLoop."""
        self._sort()
        able = [one for one in self._processes if one.queue and not one.stalled]
        if not able:
            self._jump()
            return
        process = able[0] if len(able) == 1 else able[int(self._chance.random() * len(able))]
        if process.on_step is not None:
            process.on_step()
            if process.stalled or not process.queue:
                return
        handle = process.queue.popleft()
        if handle.cancelled():
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Spinning(f"{STEPS_MAX} steps were taken and {process.name} still goes on")
        handle._run()  # type: ignore[attr-defined]

    def _sort(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        while ready:
            handle = ready.popleft()
            process = handle._context.get(_current, WORLD)  # type: ignore[attr-defined]
            if not process.dead:
                process.queue.append(handle)

    def _jump(self) -> None:
        """Nothing can run: move the clock to the next moment and take what is due."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        due_ns = self._broker.next_ns() if self._broker is not None else None
        if scheduled:
            timer_ns = START_NS + round(scheduled[0].when() * NS)
            due_ns = timer_ns if due_ns is None else min(due_ns, timer_ns)
        if due_ns is None:
            raise Spinning("nothing will ever happen again, and the run has not ended")
        self.clock.move_to(max(due_ns, self.clock.now_ns()))
        if self._broker is not None:
            self._broker._agenda.run_due()
        now_s = self.time() + 1e-9
        while scheduled and scheduled[0].when() <= now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            if not handle.cancelled():
                self._ready.append(handle)  # type: ignore[attr-defined]

    def _process_events(self, event_list: Any) -> None:
        """No files or sockets here."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call here."""

    # --- what is left behind

    def _make_task(self, loop: Any, work: Any, context: Any = None, **more: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context, **more)
        self._tasks.append(task)  # kept: what a killed process held must not clean up after itself
        if len(self._tasks) % 500 == 0:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def _on_fault(self, loop: object, about: dict[str, Any]) -> None:
        error = about.get("exception")
        process = current()
        if not process.dead:
            self.faults.append(f"{process.name}: {about.get('message')}: {error!r}")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """What a generator has left to do dies with its process."""

    def dispose(self) -> None:
        """Drop all that is left, the dead processes too; nothing that happens now counts."""
        self.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they still begin is never awaited
            for task in self._tasks:
                _close(task)
            self._tasks.clear()
            self.clear()
        self.close()

    def clear(self) -> None:
        """Forget all that waits to run."""
        for process in self._processes:
            process.queue.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]


def _close(task: asyncio.Task[Any]) -> None:
    if task.done():
        if not task.cancelled():
            task.exception()  # nobody will ask for it
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    for _ in range(CLOSE_TRIES):
        try:
            coroutine.close()
        except Exception:  # cleaning up, it wants to await once more or meets a loop that is gone
            continue
        return
