"""Signals and events on their way to a workflow function: whoever waits first gets them first."""

from __future__ import annotations

from msgspec import Raw

from sagas.run import Run
from sagas.steps import StepResult
from sagas.workflow_execution import HANDLED

SIGNAL = "signal:"


def signal_id(name: str) -> str:
    """What the ids of waits for a signal are made of."""
    return f"{SIGNAL}{name}"


def arrive(run: Run, name: str, payload: Raw) -> None:
    """Answer the first wait for this name, or keep it for the next one."""
    waiting = [
        (record.place, id)
        for id, record in run.records.items()
        if record.kind == "signal" and record.step == name and record.status == "running"
    ]
    id = min(waiting)[1] if waiting else _keep(run, name, "signal", signal_id(name))
    run.complete_step(id, StepResult(output=payload))
    run.draft.unschedule(id)


def hand_over(run: Run, name: str, payload: Raw) -> None:
    """Put a signal on record that a handler of the workflow takes."""
    id = _keep(run, name, HANDLED, f"{HANDLED}:{name}")
    run.complete_step(id, StepResult(output=payload))


def _keep(run: Run, name: str, kind: str, base: str) -> str:
    count = sum(record.kind == kind and record.step == name for record in run.records.values())
    id = base if count == 0 else f"{base}#{count + 1}"
    run.put(id, run.record(name, kind=kind))
    return id
