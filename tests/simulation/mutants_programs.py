"""Bugs planted into what programs are made of: undos, steps that an engine carries out itself,
entities, calls of jobs, children and clocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

import jobs.batch
import jobs.commit
import jobs.inline
import jobs.schedules
import jobs.step_calls
import sagas.programs.entity
import sagas.programs.run
import sagas.programs.workflow_execution
import store.job_calls
from jobs.ticks import CRON
from sagas.effects import Send
from sagas.instance import OpenCommand
from sagas.programs.entity_state import state_of
from store.port import Outgoing
from tests.simulation.planting import instead


def _undo_left_out() -> Any:
    def make(real: Any) -> Any:
        def undoable(run: Any) -> list[str]:
            done = [id for id, record in run.records.items() if record.order]
            return [id for id in real(run) if len(done) < 2 or run.records[id].order != 1]

        return undoable

    return instead(sagas.programs.run.Run, "undoable", make)


def _undone_twice() -> Any:
    def make(real: Any) -> Any:
        def undo_next(run: Any) -> bool:
            before = len(run.draft.effects)
            goes_on: bool = real(run)
            for effect in run.draft.effects[before:]:
                if isinstance(effect, Send):
                    run.draft.compensation = effect.step
                    run.draft.apply([run.undo_send(effect.step)])
                    run.draft.compensation = ""
            return goes_on

        return undo_next

    return instead(sagas.programs.run.Run, "undo_next", make)


def _undone_at_once() -> Any:
    def make(real: Any) -> Any:
        def open(run: Any) -> list[str]:
            return [] if run.draft.status == "compensating" else real.fget(run)

        return property(open)

    return instead(sagas.programs.run.Run, "open", make)


def _landed_twice() -> Any:
    """A command that was answered counts as open, for as long as its run goes on."""

    def make(real: Any) -> Any:
        open: dict[tuple[str, object], OpenCommand] = {}

        def decide(definition: Any, snapshot: Any, cause: Any, *more: Any, **named: Any) -> Any:
            one = snapshot.instance
            if definition.program is not None and one is not None and not one.finished:
                open.update({(id, one.started): command for id, command in one.commands.items()})
                known = open.get((cause.answers, one.started))
                if known is not None:
                    commands = {cause.answers: known, **one.commands}
                    again = structs.replace(one, commands=commands)
                    snapshot = structs.replace(snapshot, instance=again)
            return real(definition, snapshot, cause, *more, **named)

        return decide

    return instead(jobs.batch, "decide", make)


def _stale_answer() -> Any:
    def make(real: Any) -> Any:
        async def commit_one(committer: Any, message: Outgoing) -> int:
            return await real(committer, structs.replace(message, expect=None))

        return commit_one

    return instead(jobs.commit.Committer, "_commit_one", make)


def _not_requeued() -> Any:
    return instead(jobs.inline.InlineSteps, "take_over", lambda real: lambda *given: [])


def _not_listed() -> Any:
    def make(real: Any) -> Any:
        return lambda batch, partition, inline: real(batch, partition, frozenset())

    return instead(jobs.batch.Batch, "_position", make)


def _last_call_first() -> Any:
    def make(real: Any) -> Any:
        def take(program: Any, run: Any, cause: Any) -> None:
            real(program, run, cause)
            kept = state_of(run)
            if len(kept.calls) > 1:
                run.state = structs.replace(kept, calls=(kept.calls[-1], *kept.calls[:-1]))

        return take

    return instead(sagas.programs.entity.EntityProgram, "_take", make)


def _update_lost() -> Any:
    def make(real: Any) -> Any:
        def handle(program: Any, run: Any, kept: Any, call: Any) -> Any:
            after = real(program, run, kept, call)
            if after is None or len(kept.calls) < 3:
                return after
            return structs.replace(after, state=kept.state)

        return handle

    return instead(sagas.programs.entity.EntityProgram, "_handle", make)


def _answer_to_another() -> Any:
    def make(real: Any) -> Any:
        def answer(run: Any, call: Any, result: Any) -> None:
            others = [one for one in state_of(run).calls if one.reply is not None]
            real(run, others[-1] if others and call.reply is not None else call, result)

        return answer

    return instead(sagas.programs.entity, "answer", make)


def _calls_alike() -> Any:
    return instead(
        jobs.step_calls.StepCalls, "_place", lambda real: lambda calls, name: ("place", 1)
    )


def _called_anew() -> Any:
    numbers = itertools.count(1)
    return instead(
        jobs.step_calls.StepCalls, "_place", lambda real: lambda *given: ("place", next(numbers))
    )


def _called_for_all() -> Any:
    def make(real: Any) -> Any:
        def call(calls: Any, target: str, *more: Any, **named: Any) -> Any:
            own, calls._command = (
                calls._command,
                structs.replace(calls._command, id="one.for.all.1"),
            )
            made = real(calls, target, *more, **named)
            calls._command = own
            return structs.replace(made, sender=own.id)

        return call

    return instead(jobs.step_calls.StepCalls, "_call", make)


def _call_stored_twice() -> Any:
    def make(real: Any) -> Any:
        def message(calls: Any, call: Any) -> Outgoing:
            return structs.replace(real(calls, call), expect=None)

        return message

    return instead(store.job_calls.JobCalls, "_message", make)


def _child_for_another() -> Any:
    def make(real: Any) -> Any:
        def waiting(run: Any, child: str) -> str:
            running = [
                id
                for id, record in run.records.items()
                if record.kind == "child" and record.status == "running"
            ]
            return running[0] if real(run, child) else ""

        return waiting

    return instead(sagas.programs.run.Run, "waiting_for_child", make)


def _heard_by_place() -> Any:
    def make(real: Any) -> Any:
        def retell(execution: Any, task: Any) -> None:
            told = [(r.place, id) for id, r in execution.run.records.items() if r.heard]
            for _, id in sorted(told):
                execution._tell(id)
                execution.loop.run_until_idle()

        return retell

    return instead(sagas.programs.workflow_execution.Execution, "_retell", make)


def _clock_made_up_for() -> Any:
    def make(real: Any) -> Any:
        async def keep(schedules: Any, definition: Any) -> None:
            await real(schedules, definition)
            if definition.cron is not None:
                armed = schedules.message(definition.id, definition.cron)
                subject = schedules._names.signal(CRON, definition.id)
                await schedules._backend.log.commit([Outgoing(subject, armed.payload)])

        return keep

    return instead(jobs.schedules.Schedules, "keep", make)


def _clock_left() -> Any:
    def make(real: Any) -> Any:
        async def keep(schedules: Any, definition: Any) -> None:
            if await schedules._backend.log.read(schedules._names.cron(definition.id)) is None:
                await real(schedules, definition)

        return keep

    return instead(jobs.schedules.Schedules, "keep", make)


PROGRAM_MUTANTS: Mapping[str, Callable[[], Any]] = {
    "the undo of the first step is left out": _undo_left_out,
    "an undo is sent twice": _undone_twice,
    "undoing begins while steps are on their way": _undone_at_once,
    "the answer of a step lands once more": _landed_twice,
    "an inline answer is stored whatever became of its run": _stale_answer,
    "steps that an engine had begun are not sent on by the next one": _not_requeued,
    "steps that an engine has begun are not on record for the next one": _not_listed,
    "an entity begins with the call that came last": _last_call_first,
    "an entity with a long line loses an update": _update_lost,
    "an entity answers whoever came last": _answer_to_another,
    "the calls of a step are taken for one": _calls_alike,
    "each attempt of a step calls anew": _called_anew,
    "the calls of two steps are taken for one": _called_for_all,
    "a call is stored again when nobody says that it is": _call_stored_twice,
    "the end of a child is told to another wait": _child_for_another,
    "a workflow hears answers again in another order": _heard_by_place,
    "an engine that starts makes up for a due time": _clock_made_up_for,
    "a clock stays as it was under newer code": _clock_left,
}
