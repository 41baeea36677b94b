"""The event loop on which workflow functions run: no clock, no I/O, the same order every time.

It runs inside one decision of the kernel until nothing is ready; whoever still waits then waits for
an answer of a step. This is the one module of ``sagas`` that imports
asyncio: tasks, gather and task groups need a loop, and this one keeps them pure.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import CancelledError, Future, Task, events, shield, tasks
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NoReturn

from sagas.errors import HandlerFault

__all__ = (
    "CancelledError",
    "Future",
    "NotDurable",
    "Task",
    "WorkflowLoop",
    "shield",
)

STEPS_MAX = 200_000  # callbacks between two answers; whoever needs more spins
CLOSES_MAX = 20  # awaits in ``finally`` blocks that a task left behind is carried through

# From Python 3.12 on a task may run inside another one only when that one is put aside.
_swap_task: Callable[[Any, Any], Any] | None = getattr(tasks, "_swap_current_task", None)


class NotDurable(HandlerFault):
    """A workflow function waited for something that no history records."""


class _Task(asyncio.Task[Any]):
    """A task with a number for a hash, so that sets of tasks are walked alike in every replay."""

    def __init__(self, serial: int, coroutine: Coroutine[Any, Any, Any], **more: Any) -> None:
        self.serial = serial
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self.serial


class WorkflowLoop(asyncio.AbstractEventLoop):
    """First in, first out, and nothing else; what needs a clock or the outside is refused."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: list[_Task] = []
        self._begun = 0

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback after those that are ready."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **more: Any) -> asyncio.Task[Any]:
        """Start a coroutine beside the others."""
        task = _Task(self._begun, coro, loop=self, **more)
        self._begun += 1
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody asked for, as of the second step to fail in a gather: let it go."""

    def run_until_idle(self) -> None:
        """Run all that is ready; raises NotDurable when that does not end."""
        for _ in range(STEPS_MAX):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise NotDurable(
            "the workflow goes on and on without waiting for anything; await a step or saga.sleep()"
            " inside its loop"
        )

    def forget_ended(self) -> None:
        """Hold on to the tasks that still wait alone."""
        self._tasks = [task for task in self._tasks if not task.done()]

    def drop(self) -> None:
        """Close what still waits; the function runs again from its start when there is news."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self._ready.clear()

    @contextmanager
    def entered(self) -> Generator[None]:
        """Be the running loop, in place of the one that the kernel was called on, if any."""
        outer = events._get_running_loop()
        task = _swap_task(outer, None) if _swap_task is not None and outer is not None else None
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            if _swap_task is not None and outer is not None:
                _swap_task(outer, task)


def _close(coroutine: Any) -> None:
    for _ in range(CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError:  # it awaited something on its way out
            continue
        except Exception:
            return
        else:
            return


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*_: object, **__: object) -> NoReturn:
        raise NotDurable(
            f"a workflow can't wait for the outside (its loop has no {name}); for time use"
            " saga.sleep() or a timeout= of the saga, do I/O in a step"
        )

    return refused


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(WorkflowLoop):
        setattr(WorkflowLoop, _name, _refuse(_name))
