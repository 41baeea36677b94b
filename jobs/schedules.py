"""Schedules in the log: the broker fires them and sagas start by the clock."""

from __future__ import annotations

import logging

import msgspec
from msgspec import structs

from jobs.rollout import cards_in, knows
from jobs.ticks import CRON, EXPRESSION, ZONE
from sagas.definition import Cron, SagaDefinition
from sagas.messages import EPOCH, Address, Cause
from store.codec import Envelope
from store.port import Backend, Committed, Conflict, Outgoing, Stored, StoreError
from store.schedules import SCHEDULE, TIME_ZONE, cancel, cron
from store.subjects import Names

log = logging.getLogger("snorri.engine")

TRIES = 10


class Schedules:
    """Keeps the schedules of sagas in the log as their definitions have them."""

    def __init__(self, backend: Backend, names: Names) -> None:
        self._backend = backend
        self._names = names

    async def keep(self, definition: SagaDefinition) -> None:
        """Write a saga's schedule, or take it away, where the log has another; the broker fires it.

        While an engine with newer code of the saga runs, the schedule is that one's. Of two that
        write at once the second looks again. Raises StoreError.
        """
        subject, wanted = self._names.cron(definition.id), definition.cron
        outcome: object = None
        for _ in range(TRIES):
            stored = await self._backend.log.read(subject)
            if _written(stored) == wanted:
                return
            if await self._is_newer_elsewhere(definition):
                log.info("the schedule of %s is left to an engine with newer code", definition.id)
                return
            if wanted is None:
                message = cancel(subject, self._names.timer_cancel(0))
            else:
                message = self.message(definition.id, wanted, stored.seq if stored else 0)
            outcome = await self._backend.log.commit([message])
            if isinstance(outcome, Committed):
                return
            if not isinstance(outcome, Conflict):
                break
        raise StoreError(f"the schedule of {definition.id} was not stored: {outcome}; try again")

    def message(self, saga: str, schedule: Cron, expect: int | None = None) -> Outgoing:
        """A saga's schedule, to be stored; ``expect`` as of ``Outgoing``."""
        cause = Cause(kind="timer", type="", id=CRON, seq=0, at=EPOCH)
        body = msgspec.json.encode(Envelope(to=Address(saga, CRON), cause=cause))
        told = ((EXPRESSION, schedule.expression), (ZONE, schedule.time_zone))
        message = cron(
            *(self._names.cron(saga), self._names.signal(CRON, saga)),
            *(schedule.expression, schedule.time_zone, body),
            headers=tuple((name, value) for name, value in told if value),
        )
        return structs.replace(message, expect=expect)

    async def _is_newer_elsewhere(self, definition: SagaDefinition) -> bool:
        cards = cards_in(await self._backend.meta.entries("engine."))
        return any(knows(card, definition.id, definition.version + 1) for card in cards)


def _written(stored: Stored | None) -> Cron | None:
    if stored is None or SCHEDULE not in stored.headers:
        return None
    return Cron(expression=stored.headers[SCHEDULE], time_zone=stored.headers.get(TIME_ZONE, ""))
