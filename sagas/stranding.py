"""Why an instance that is not ended could not go on under a definition: what changed code strands.

Told from the document alone: its state, its timers, the steps it waits for, what waits in it. Which
events it hopes for no document says; ``lost_types`` names the handlers that are gone altogether.
Pure; reasons are words without keys or values, so that many instances share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import ValidationError

from sagas.definition import SagaDefinition
from sagas.draft import GATE_SAGA
from sagas.errors import SagaError, error_text
from sagas.instance import Instance
from sagas.messages import Cause
from sagas.upcasting import current_state


def strands(definition: SagaDefinition, instance: Instance, sagas: Iterable[str] = ()) -> list[str]:
    """The reasons, each once; none when it can go on. ``sagas`` are the ids that have code, when
    its children shall be looked at too.
    """
    if instance.finished:
        return []
    if instance.definition_version > definition.version:
        return [
            f"it is of version {instance.definition_version}, this code is version"
            f" {definition.version}"
        ]
    found = [*_state(definition, instance), *_waiting(definition, instance)]
    if definition.program is None:
        found += [
            f"its timer has no handler for {timer.type!r}"
            for timer in instance.timers.values()
            if timer.type not in definition.handlers
        ]
    else:
        found += _steps(definition, instance)
    known = set(sagas)
    children = [
        name.partition("/")[0] for name, how in instance.children.items() if how == "running"
    ]
    found += [f"its child {saga} has no code" for saga in children if known and saga not in known]
    return list(dict.fromkeys(found))


def lost_types(
    definition: SagaDefinition,
    handlers: Iterable[str],
    signals: Iterable[str] = (),
    compensations: Iterable[str] = (),
) -> list[str]:
    """What a definition took before (the names by kind) and takes no more, in words."""
    return [
        *(
            f"nothing handles {one!r} any more"
            for one in handlers
            if one not in definition.handlers
        ),
        *(f"no signal {one!r} any more" for one in signals if one not in definition.signals),
        *(
            f"no .compensate handler for {one!r} any more"
            for one in compensations
            if one not in definition.compensations
        ),
    ]


def _state(definition: SagaDefinition, instance: Instance) -> Iterator[str]:
    if definition.program is not None:
        return  # its state is ours; what its functions make of it a replay tells
    try:
        current_state(definition, instance.state, instance.definition_version)
    except (ValidationError, SagaError) as error:
        yield f"its state does not fit: {error_text(error)}"
    except Exception as error:  # the author's; its words may quote the state
        yield f"an upcaster of its state raises {type(error).__name__}"


def _waiting(definition: SagaDefinition, instance: Instance) -> Iterator[str]:
    """Messages that wait in the instance, and the one it is parked with."""
    parked = instance.parked.cause if instance.parked else None
    for cause in (*instance.backlog, *((parked,) if parked else ())):
        if not _taken(definition, cause):
            yield f"a message that waits has no handler: {cause.type!r}"


def _taken(definition: SagaDefinition, cause: Cause) -> bool:
    if cause.answers or cause.kind == "child" or definition.id == GATE_SAGA:
        return True  # these are taken note of without a handler
    group = definition.signals if cause.kind == "signal" else definition.handlers
    return definition.program is not None or cause.type in group


def _steps(definition: SagaDefinition, instance: Instance) -> Iterator[str]:
    steps = definition.program.steps.values() if definition.program else ()
    targets = {step.target for step in steps}
    names = {part.name for step in steps for part in (step, *step.parts)}
    for command in instance.commands.values():
        if command.step and command.target not in targets:
            yield f"it waits for the step {command.target!r}, which is gone"
    for record in instance.steps.values():
        undoable = record.kind == "step" and record.status == "completed"
        if undoable and not (record.kept or record.rolled_back) and record.step not in names:
            yield f"it has done the step {record.step!r}, which is gone and can't be undone"
