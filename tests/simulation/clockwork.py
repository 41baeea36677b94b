"""Virtual time and chosen chance for modules that read the machine's: in place for one run.

The rooms take clocks as arguments where they decide by them; where they only measure, or draw
jitter and random ids, they read the standard library. Here those reads are turned to the run's own.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from types import ModuleType, SimpleNamespace
from typing import Any

import jobs.engine
import jobs.ownership
import jobs.rollout
import sagas.definition
import store.broker_clock
from jobs.execution import Attempt
from jobs.job import Job
from store.memory import VirtualClock

ROOMS = ("jobs.", "store.")
NOT_OURS = ("store.jetstream", "store.duck", "store.memory")
DATED = (store.broker_clock, jobs.ownership, jobs.rollout)
# What each process works out of the definitions when it starts is the same for all runs.
FUNCTIONS_OF_TYPES = (
    (jobs.engine, "message_schemas"),
    (sagas.definition, "secret_names"),
    (sys.modules[Job.__module__], "secret_names"),
)


@contextmanager
def clockwork(clock: VirtualClock, seed: str) -> Iterator[None]:
    """All of jobs and store on this clock, with chance from this seed."""
    chance = random.Random(f"{seed}/secrets")
    before = random.getstate()
    random.seed(f"{seed}/jitter")
    watch = SimpleNamespace(
        monotonic=lambda: clock.now_ns() / 1e9,
        perf_counter=lambda: clock.now_ns() / 1e9,
        time=lambda: clock.now_ns() / 1e9,
        time_ns=clock.now_ns,
    )
    vault = SimpleNamespace(token_hex=lambda count=8: chance.randbytes(count).hex())
    undo: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    for module in _modules():
        for name, value in (("time", watch), ("secrets", vault)):
            if isinstance(getattr(module, name, None), ModuleType):
                put(module, name, value)
    for module in DATED:
        put(module, "datetime", _Calendar(clock))
    for owner, name in FUNCTIONS_OF_TYPES:
        put(owner, name, _cached(getattr(owner, name)))
    # A set of attempts is walked in the order of their hashes, by default their places in memory.
    put(Attempt, "__hash__", lambda attempt: attempt.work.seq)
    try:
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)
        random.setstate(before)


class _Calendar:
    """Stands in for the class datetime where only ``now`` is asked of it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now(self, zone: tzinfo | None = None) -> datetime:
        """The run's time."""
        return moment(self._clock).astimezone(zone)


def moment(clock: VirtualClock) -> datetime:
    """The time of a clock, in microseconds, UTC."""
    return datetime.fromtimestamp(clock.now_ns() // 1000 / 1_000_000, UTC)


def _modules() -> list[ModuleType]:
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(ROOMS) and not name.startswith(NOT_OURS)
    ]


@functools.cache
def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that works things out once; its arguments must live as long as the program."""
    known: dict[tuple[int, ...], tuple[tuple[object, ...], Any]] = {}

    def look(*args: object) -> Any:
        key = tuple(map(id, args))
        if key not in known:
            known[key] = args, function(*args)  # kept with it, so that no other has its id
        return known[key][1]

    return look
