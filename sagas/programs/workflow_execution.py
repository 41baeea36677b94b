"""One execution of a workflow function against the history of its run.

The function runs from its start. What it asks for is numbered; what is on record answers, in the
order in which the function heard of it first, one answer at a time; what is not on record is
started. Then it is left where it waits, to run again from its start, or to go on from there
(``sagas.programs.standing``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from sagas.effects import Schedule
from sagas.errors import HandlerFault, LimitExceeded
from sagas.instance import TIMERS_MAX, StepRecord
from sagas.messages import NULL, to_raw
from sagas.programs.run import WAKE
from sagas.programs.standing import is_proof
from sagas.programs.workflow_errors import Diverged, StepFailed, WaitTimedOut, WorkflowFailed
from sagas.programs.workflow_loop import CancelledError, Future, NotDurable, Task, WorkflowLoop

if TYPE_CHECKING:
    from sagas.programs.run import Run

ASKED_MAX = 10_000
ROOM_FOR_TIMERS = 10
MORE = "Snorri-More"  # the timer that brings a run back for what had no room in one transition
TIMED_OUT = "TimedOut"
MARKER = "version"
HANDLED = "handled"  # a signal that a handler took

Begin = Callable[[str, int], None]


class Execution:
    """Runs a function as far as its history and the room of this transition allow."""

    def __init__(
        self,
        run: Run,
        handle: Callable[[StepRecord], None],
        began: datetime | None = None,
        seed: str = "",
        callers: tuple[str, ...] = (),
        in_line: tuple[str, ...] = (),
    ) -> None:
        self.run = run
        self.waiting = (*callers, str(run.draft.address))  # whom a call made from here keeps busy
        self.in_line = in_line  # and who waits behind it; unlike those, others in a replay
        self._handle = handle  # calls the handler of a signal
        self.loop = WorkflowLoop()
        self.began = began or run.draft.started
        self.now = self.began
        self.seed = seed  # what tells one execution of an instance from another
        self.left = NULL
        self.replaying = True
        self.handling = False  # while a handler of a signal runs
        self.diverged: Diverged | None = None
        self.asked = 0
        self.held_back = False  # something found no room; it is begun in a later transition
        self.stands = False  # it can go on from here with the next message
        self._task: Task[Any] | None = None
        self._state: Callable[[], object] = lambda: None
        self._look_up()
        self._counts: dict[str, int] = {}
        self._waiting: dict[str, Future[Any]] = {}
        self._closed = False

    # --- what the function asks for

    def ask(
        self, kind: str, step: str, begin: Begin, *, name: str = "", always: bool = False
    ) -> str:
        """The id of the next thing asked for, begun when history does not have it.

        ``name`` is what its id is made of, where that is not ``step``; ``always`` begins what needs
        no room. Raises Diverged.
        """
        if self._closed:  # a ``finally`` block of a function that is being left
            raise GeneratorExit
        if self.diverged is not None:
            raise self.diverged
        self._pass_markers(kind, step)
        self.asked += 1
        if self.asked > ASKED_MAX:
            raise LimitExceeded(
                f"a workflow may ask for {ASKED_MAX} things; hand the rest to a child"
            )
        id = self._next_id(name or step)
        known = self._by_place.get(self.asked)
        if known is not None:
            record = self.run.records[known]
            if known != id or record.kind != kind or record.step != step:
                self._diverge(f"history has the {record.kind} {known!r}", f"the {kind} {id!r}")
        elif not always and (self.held_back or not self.has_room):
            self.held_back = True
        else:
            begin(id, self.asked)
        return id

    @property
    def has_room(self) -> bool:
        """Whether this transition takes another command, effect and timer."""
        return self.run.has_room and len(self.run.draft.timers) < TIMERS_MAX - ROOM_FOR_TIMERS

    @property
    def at_frontier(self) -> bool:
        """Whether history has nothing beyond what was asked for so far."""
        return self.asked >= self._last

    def marker(self, step: str) -> StepRecord | None:
        """The version marker that stands next in history, if it is this one."""
        id = self._by_place.get(self.asked + 1)
        record = self.run.records[id] if id else None
        return record if record and record.kind == MARKER and record.step == step else None

    async def answer(self, id: str) -> bytes:
        """Wait for the end of what was asked for: its output as JSON; raises StepFailed."""
        future = self._waiting[id] = self.loop.create_future()
        try:
            return await future
        except CancelledError:
            self._give_up(id)
            raise

    def _give_up(self, id: str) -> None:
        """The function waits no more; a pause or a wait for a signal needs its timer no more."""
        record = self.run.records.get(id)
        if record is None or record.status != "running" or record.kind not in ("sleep", "signal"):
            return
        self.run.draft.unschedule(id)
        draft = self.run.draft
        self.run.put(id, structs.replace(record, status="skipped", ended=draft.now))

    def _next_id(self, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _pass_markers(self, kind: str, step: str) -> None:
        """A version marker that the code no longer asks for is passed over."""
        while (id := self._by_place.get(self.asked + 1)) is not None:
            record = self.run.records[id]
            if record.kind != MARKER or (kind == MARKER and record.step == step):
                return
            self.asked += 1

    def _diverge(self, history: str, asked: str) -> None:
        draft = self.run.draft
        self.diverged = Diverged(
            f"{draft.definition.id}/{draft.key}: at place {self.asked} {history}, the function asks"
            f" for {asked}; bring back the code this run began with, or keep both ways apart with"
            " saga.version(), then retry"
        )
        raise self.diverged

    # --- running it

    def go(
        self, function: Callable[[], Coroutine[Any, Any, Any]], state: Callable[[], object]
    ) -> Task[Any] | None:
        """Run the function; its task when it has ended, None when it waits. Raises Diverged.

        ``left`` is what ``state`` gave where the function stands.
        """
        self._state = state
        with self._entered():
            task = self._task = self.loop.create_task(function())
            self.loop.run_until_idle()
            self._retell(task)
            return self._hear(task)

    def go_on(self, run: Run) -> Task[Any] | None:
        """Run on from where the function ``stands``, with what its run has on record since."""
        if self._task is None or not self.stands:
            raise AssertionError("it stands nowhere; run it from its start")
        self.run = run
        self._look_up()
        with self._entered():
            return self._hear(self._task)

    def drop(self) -> None:
        """Leave the function for good."""
        with self.loop.entered():
            self._closed = True
            self.loop.drop()

    @contextmanager
    def _entered(self) -> Generator[None]:
        self.stands = False
        with self.loop.entered():
            try:
                yield
            finally:
                if not self.stands:
                    self._closed = True
                    self.loop.drop()

    def _look_up(self) -> None:
        records = self.run.records
        self._by_place = {record.place: id for id, record in records.items() if record.place}
        self._last = max(self._by_place, default=0)

    def _hear(self, task: Task[Any]) -> Task[Any] | None:
        """Tell the function of what it has not heard of; the same as in ``go``."""
        self.replaying = False
        while not task.done() and self._tell_next():
            self.loop.run_until_idle()
        self._check_end(task)
        self.left = to_raw(self._state())
        if task.done():
            return None if self.held_back else task
        if not self.held_back and not is_proof(self._heard):
            self.stands = True
            self._waiting = {id: one for id, one in self._waiting.items() if not one.done()}
            self.loop.forget_ended()
        return None

    @property
    def _heard(self) -> int:
        return max((record.heard for record in self.run.records.values()), default=0)

    def _retell(self, task: Task[Any]) -> None:
        heard = sorted((r.heard, id) for id, r in self.run.records.items() if r.heard)
        for _, id in heard:
            if self.diverged is not None:
                raise self.diverged
            if task.done():
                self._diverge(f"history has heard of {id!r}", "nothing more")
            self._tell(id)
            self.loop.run_until_idle()

    def _tell_next(self) -> bool:
        """Tell the function of one end that it has not heard of; False when there is none."""
        records = self.run.records
        id = next(
            (id for id, record in records.items() if record.kind == HANDLED and not record.heard),
            "",
        )
        for waiting, future in () if id else self._waiting.items():
            if not future.done() and waiting in records and records[waiting].status != "running":
                id = waiting
                break
        if not id:
            return False
        self.run.put(id, structs.replace(records[id], heard=self._heard + 1))
        self._tell(id)
        return True

    def _tell(self, id: str) -> None:
        record, future = self.run.records[id], self._waiting.get(id)
        if record.kind == HANDLED:
            self.now = record.ended or self.now
            self.handling = True
            self._handle(record)
            self.handling = False
            return
        if future is None:
            self._diverge(f"history has heard of {id!r}", "nothing of that name")
            return
        self.now = record.ended or self.now
        if future.done():
            return
        if record.status == "failed":
            future.set_exception(_failure(id, record))
        else:
            future.set_result(bytes(record.output))

    def _check_end(self, task: Task[Any]) -> None:
        if self.diverged is not None:
            raise self.diverged
        if task.cancelled():
            raise HandlerFault("the workflow function let a CancelledError out; catch it there")
        error = task.exception() if task.done() else None
        if isinstance(error, RuntimeError) and _foreign(error):
            raise NotDurable(
                f"a workflow awaits only what its saga gives, steps and its own tasks: {error}"
            ) from error
        if (error is None or isinstance(error, WorkflowFailed)) and self.asked < self._last:
            left = self._by_place[min(p for p in self._by_place if p > self.asked)]
            record = self.run.records[left]
            if record.kind != MARKER:
                self._diverge(f"history goes on with the {record.kind} {left!r}", "nothing more")

    def come_back(self) -> None:
        """Have another transition begin what found no room, unless an answer will bring one."""
        timers = len(self.run.draft.timers)
        crowded = self.run.room.needs_answers or timers >= TIMERS_MAX - ROOM_FOR_TIMERS
        if self.held_back and not crowded:
            self.run.emit([Schedule(type=WAKE, id=MORE, delay_s=0.0)])


def _failure(id: str, record: StepRecord) -> StepFailed:
    kind = WaitTimedOut if record.code == TIMED_OUT else StepFailed
    data = msgspec.json.decode(record.data)
    return kind(id, record.error, code=record.code, data=data)


def _foreign(error: RuntimeError) -> bool:
    text = str(error)
    return "different loop" in text or "different event loop" in text or "bad yield" in text
