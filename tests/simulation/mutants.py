"""Bugs planted into the real functions, to see that the simulation finds them.

Each is a context in which one function of the engine, the worker, the projector or the kernel is
wrong in a way that people get wrong. A bug that is not found says that the judge is blind there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import structs

import jobs.batch
import jobs.commit
import jobs.following
import jobs.lane
import jobs.rollout
import jobs.sender
import sagas.draft
import sagas.kernel
import sagas.programs.run
import sagas.work
from sagas.effects import Schedule
from sagas.instance import FINISHED
from store.codec import Position
from store.port import Committed, Outgoing, Unknown
from tests.simulation.mutants_programs import PROGRAM_MUTANTS
from tests.simulation.plan import plan_of
from tests.simulation.planting import instead
from tests.simulation.world import Outcome, run

Patch = Callable[[], Iterator[None]]
POSITION = ".p."


def find(name: str, seeds: Iterable[int]) -> Outcome | None:
    """The first run in which a planted bug shows, None when it shows in none."""
    with MUTANTS[name]():
        for seed in seeds:
            outcome = run(plan_of(seed))
            if outcome.complaints:
                return outcome
    return None


def _lost_command() -> Any:
    def make(real: Any) -> Any:
        def to_messages(names: Any, after: Any, *more: Any) -> list[Outgoing]:
            messages = real(names, after, *more)
            commands = [one for one in messages if ".commands." in one.subject]
            if after.version >= 2 and commands:
                messages.remove(commands[-1])
            return messages

        return to_messages

    return instead(jobs.batch, "to_messages", make)


def _without_expectations(subject: str) -> Any:
    def make(real: Any) -> Any:
        def seal(batch: Any, *more: Any) -> list[Outgoing]:
            return [
                structs.replace(one, expect=None) if subject in one.subject else one
                for one in real(batch, *more)
            ]

        return seal

    return instead(jobs.batch.Batch, "seal", make)


def _unknown_is(stored: bool) -> Any:
    def make(real: Any) -> Any:
        async def read_back(self: Any, batch: Any, count: int) -> bool:
            if not stored:
                return False
            batch.committed(self._backend.log._stream.last_seq, count)
            return True

        return read_back

    return instead(jobs.commit.Committer, "_read_back", make)


def _double_commit() -> Any:
    def make(real: Any) -> Any:
        async def commit(self: Any, batch: Any) -> bool:
            log = self._backend.log
            if batch.light:
                return await real(self, batch)
            await self._relay(batch)
            messages = batch.seal(self._now())
            outcome = await log.commit(messages)
            if isinstance(outcome, Unknown):  # sent again, without asking what became of it
                again = [structs.replace(one, expect=None) for one in messages]
                outcome = await log.commit(again)
            if not isinstance(outcome, Committed):
                return await self._read_back(batch, len(messages))
            batch.committed(outcome.last, outcome.count)
            return True

        return commit

    return instead(jobs.commit.Committer, "commit", make)


def _early_position() -> Any:
    def make(real: Any) -> Any:
        def position(batch: Any, partition: Any, *more: Any) -> Outgoing:
            message = real(batch, partition, *more)
            if not partition._feeds:
                return message
            before = msgspec.json.decode(message.payload, type=Position)
            moved = structs.replace(before, events=partition._feeds["events"]._tail._cursor)
            return structs.replace(message, payload=msgspec.json.encode(moved))

        return position

    return instead(jobs.batch.Batch, "_position", make)


def _backlog_swapped() -> Any:
    def make(real: Any) -> Any:
        def drain(draft: Any, snapshot: Any) -> Any:
            draft.backlog = draft.backlog[::-1]
            return real(draft, snapshot)

        return drain

    return instead(sagas.kernel, "_drain", make)


def _no_dedupe() -> Any:
    return instead(sagas.kernel, "remember", lambda real: lambda draft, cause: None)


def _timers_left() -> Any:
    def make(real: Any) -> Any:
        def end(draft: Any) -> None:
            timers, draft.timers = draft.timers, {}
            real(draft)
            draft.timers = timers if draft.status not in FINISHED else {}

        return end

    return instead(sagas.draft.Draft, "end", make)


def _rows_twice() -> Any:
    def make(real: Any) -> Any:
        async def open(follower: Any) -> None:
            checkpoint = follower.tables.checkpoint
            mark = structs.replace(checkpoint.log, anchor=max(0, checkpoint.log.anchor - 1))
            follower.tables.checkpoint = structs.replace(checkpoint, log=mark)
            await real(follower)
            follower.tables.checkpoint = checkpoint

        return open

    return instead(jobs.following.Follower, "open", make)


def _undo_in_order() -> Any:
    def make(real: Any) -> Any:
        return lambda run: real(run)[::-1]

    return instead(sagas.programs.run.Run, "undoable", make)


def _answered_twice() -> Any:
    def make(real: Any) -> Any:
        def before_work(definition: Any, instance: Any, cause: Any) -> Any:
            decision = real(definition, instance, cause)
            return None if getattr(decision, "code", "") == "timer_moot" else decision

        return before_work

    return instead(sagas.kernel, "_before_work", make)


def _ack_first() -> Any:
    def make(real: Any) -> Any:
        async def send(sender: Any, batch: Any) -> bool:
            for parcel in batch:
                if parcel.report.delay_s is None:
                    await sender._finish(parcel, None)
            return await real(sender, batch)

        return send

    return instead(jobs.sender.Sender, "_send", make)


def _cache_kept() -> Any:
    def make(real: Any) -> Any:
        def give_back(lane: Any, *parts: Any) -> None:
            back = [intake for part in parts for intake in part.intakes]
            lane._waiting.extendleft(reversed(back))
            lane._wake.set()
            lane._let_go()

        return give_back

    return instead(jobs.lane.Lane, "_return", make)


def _returned_backwards() -> Any:
    def make(real: Any) -> Any:
        def give_back(lane: Any, *parts: Any) -> None:
            real(lane, *parts)
            lane._waiting.reverse()

        return give_back

    return instead(jobs.lane.Lane, "_return", make)


def _memory_believed() -> Any:
    return instead(jobs.lane.Lane, "_doubt", lambda real: lambda *given: None)


def _gate_kept() -> Any:
    return instead(sagas.draft.Draft, "ask_gate", _no_release)


def _no_release(real: Any) -> Any:
    def ask_gate(draft: Any, type: str, gate: str, holder: str, limit: int = 1) -> None:
        if type != sagas.draft.RELEASE or draft.version % 2:
            real(draft, type, gate, holder, limit)

    return ask_gate


def _relay_forgotten() -> Any:
    def make(real: Any) -> Any:
        async def relay(committer: Any, batch: Any) -> None:
            if len(batch.intakes) < 2:
                await real(committer, batch)

        return relay

    return instead(jobs.commit.Committer, "_relay", make)


def _timer_stays() -> Any:
    def make(real: Any) -> Any:
        def to_messages(names: Any, after: Any, *more: Any) -> list[Outgoing]:
            again = any(isinstance(one, Schedule) for one in after.effects)
            messages = real(names, after, *more)
            if again and after.version > 2:
                messages = [one for one in messages if not one.subject.startswith("saga.timers.")]
            return messages

        return to_messages

    return instead(jobs.batch, "to_messages", make)


@contextmanager
def _older_decides() -> Iterator[None]:
    with (
        instead(sagas.work, "check_known", lambda real: lambda definition, version: None),
        instead(sagas.work, "current_state", _newer_as_it_is),
        instead(jobs.rollout.NewerCode, "look", _nobody_newer),
    ):
        yield


def _newer_as_it_is(real: Any) -> Any:
    def current_state(definition: Any, state: Any, version: int) -> Any:
        return real(definition, state, min(version, definition.version))

    return current_state


def _as_it_is(definition: Any, state: Any, version: int) -> Any:
    return definition.decode_state(state)


def _nobody_newer(real: Any) -> Any:
    async def look(self: Any, batch: Any, partition: Any) -> None:
        for subject in batch.ahead:
            self._cache.get(subject).orphan = True
        batch.ahead.clear()

    return look


def _not_upcast() -> Any:
    return instead(sagas.work, "current_state", lambda real: _as_it_is)


MUTANTS: Mapping[str, Callable[[], Any]] = {
    "a command is left out of a commit": _lost_command,
    "a commit without an answer is sent again as it is": _double_commit,
    "a commit without an answer counts as stored": lambda: _unknown_is(True),
    "the position moves before its messages are dealt with": _early_position,
    "no expected revision for positions: an engine that slept commits": lambda: (
        _without_expectations(POSITION)
    ),
    "no expected revisions for instances": lambda: _without_expectations(".i."),
    "compensation in the order of the steps": _undo_in_order,
    "the backlog is worked on from its end": _backlog_swapped,
    "message ids are not remembered": _no_dedupe,
    "timers stay when an instance ends": _timers_left,
    "a timer that was set anew is taken for the new one": _answered_twice,
    "a timer is not armed again": _timer_stays,
    "the projector reads a message twice after a restart": _rows_twice,
    "a worker acknowledges before its result is stored": _ack_first,
    "after a failed commit the cache is kept": _cache_kept,
    "after a failed commit messages come back in another order": _returned_backwards,
    "after a take-over what was remembered is believed": _memory_believed,
    "a slot is not given back": _gate_kept,
    "events of sagas are forgotten when many come at once": _relay_forgotten,
    "older code decides on what newer code wrote": _older_decides,
    "the state of older code is taken as it is": _not_upcast,
    **PROGRAM_MUTANTS,
}
