"""The outside world, as what runs in the simulation has changed it and what it was told.

It is the world's, not a process's, and survives every crash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Effect(NamedTuple):
    """What a job has done to the outside: ``what`` to ``whom`` under which idempotency key."""

    at_s: float
    what: str
    whom: str
    key: str


class Heard(NamedTuple):
    """What a step was told when it called a job: ``step`` is the id of the step's own command,
    ``call`` that of the job's as the answer names it, ``whom`` what was asked about, ``answer``
    what came.
    """

    step: str
    call: str
    whom: str
    answer: str


class Ledger:
    """All effects in their order; ``now_s`` is the run's time."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.effects: list[Effect] = []
        self.heard: list[Heard] = []
        self._now_s = now_s

    def write(self, what: str, whom: str, key: str) -> None:
        """Note an effect."""
        self.effects.append(Effect(self._now_s(), what, whom, key))

    def hear(self, step: str, call: str, whom: str, answer: str) -> None:
        """Note an answer that a step was given."""
        self.heard.append(Heard(step, call, whom, answer))
