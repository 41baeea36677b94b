"""Who waits for whom among entities, so that those who would wait for each other are told.

A call names all who wait for it: who made it, who waits for that one, and whose calls stand in line
there. Who joins the line later is passed on to those that the entity waits for itself. An entity
that waits for one of those who wait for a call in its own line would never come to it, so it
refuses that call.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sagas.messages import Address
from sagas.programs.run import Run
from sagas.programs.workflow_signals import ReplyTo

WAITS = "Snorri-Waits"
DEADLOCK = "Deadlock"
CALLERS_MAX = 1000  # that a call names; waits in larger circles are not found


class Waits(Struct, frozen=True):
    """More instances wait for a call that was made before; ``call`` is who gets its reply."""

    call: ReplyTo
    callers: tuple[str, ...]


def joined(callers: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """All of them once, in order."""
    return tuple(dict.fromkeys((*callers, *more)))[:CALLERS_MAX]


def circle(run: Run, callers: tuple[str, ...]) -> str:
    """Why a call that ``callers`` wait for would never be handled here, or an empty text."""
    found = next((str(to) for to, _ in _awaited(run) if str(to) in callers), "")
    if not found:
        return ""
    return (
        f"{run.draft.address} waits for {found}, which waits for this call to end, so neither"
        " would; have them called in one order everywhere, or tell one of them"
    )


def pass_on(run: Run, callers: tuple[str, ...]) -> None:
    """Let those that the handler at work waits for know who waits for it."""
    for to, call in _awaited(run):
        run.draft.signal(to, WAITS, Waits(call, callers))


def _awaited(run: Run) -> list[tuple[Address, ReplyTo]]:
    """The entities that the handler at work has called and not heard of."""
    address = run.draft.address
    return [
        (
            Address(record.step, msgspec.json.decode(record.data, type=str)),
            ReplyTo(address, id, msgspec.json.decode(record.output, type=int)),
        )
        for id, record in run.records.items()
        if record.kind == "entity" and record.status == "running" and bytes(record.data) != b"null"
    ]
