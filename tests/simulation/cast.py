"""What one run needs of all that can be simulated: the definitions and jobs of what is asked for.

Each job is a queue that every worker opens, so a run with all of them would spend most of its time
on those that it does not use.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from jobs import JobRegistry
from jobs.steps import step_jobs
from sagas import Registry, SagaDefinition
from sagas.examples.checkout import checkout
from sagas.examples.order import order
from sagas.examples.reminder import reminder
from sagas.examples.trip import car, flight, hotel, trip
from tests.simulation import app
from tests.simulation.errands import errand, leg, purse

_BOOKED = tuple(f"{what}-{one}" for what in ("book", "cancel") for one in app.CARRIED)
_CHECKED_OUT = ("process-payment", "refund-payment", "reserve-inventory", "create-shipment")

# What is asked for by an order of a kind: definitions, and the jobs that are no steps.
PARTS: dict[str, tuple[tuple[SagaDefinition, ...], tuple[str, ...]]] = {
    "checkout": ((checkout,), _CHECKED_OUT),
    "order": ((order,), ("capture-payment", "refund-payment")),
    "reminder": ((reminder,), ("send-reminder",)),
    "trip": ((trip, flight, hotel, car), _BOOKED),
    "tally": ((app.tally(), app.audit()), ("stamp",)),
    "desk": ((app.desk(),), ("serve",)),
    "moving": ((app.moving(),), ()),
    "errand": ((errand, leg, purse), ("weigh", "jot")),
    "purse": ((purse,), ()),
    "rounds": ((app.rounds(),), ("ring",)),
}
_SECOND = {one.id: one for one in (app.tally(2), app.rounds(2))}

BY_ID = {one.id: one for definitions, _ in PARTS.values() for one in definitions}
NEWER_BY_ID = BY_ID | _SECOND
_STEPS = {id: step_jobs(definition) for id, definition in BY_ID.items()}


class Cast(NamedTuple):
    """What engines run, before a deployment and after it, and what workers run."""

    registry: Registry
    newer: Registry
    jobs: JobRegistry


@functools.cache
def cast_of(kinds: frozenset[str]) -> Cast:
    """The cast for orders of these kinds."""
    parts = [part for kind, part in PARTS.items() if kind in kinds]
    ids = dict.fromkeys(one.id for definitions, _ in parts for one in definitions)
    targets = dict.fromkeys(target for _, targets in parts for target in targets)
    jobs = [app.JOBS[target] for target in targets]
    return Cast(
        registry=Registry([BY_ID[id] for id in ids]),
        newer=Registry([NEWER_BY_ID[id] for id in ids]),
        jobs=JobRegistry([*jobs, *(job for id in ids for job in _STEPS[id])]),
    )
