"""Engines with newer and older code at once, as while a deployment rolls.

Safety first: older code never decides on an instance that newer code wrote, for it may not know
what the state means or which messages matter to it. Each engine tells the versions of its sagas in
its card. Those with older code stand back: they give their partitions to the engines in front in
order, and take them again only when no newer engine is left.

Until an older engine has read the new card it may meet such an instance. Then it leaves the message
where it is and the partition to the newer engine, which reads it again from the committed position.
When there is no newer engine, a deployment was taken back, and nobody would ever come: the kernel
parks the instance untouched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from jobs.batch import Batch
from jobs.cache import Cache
from jobs.commit import Pause
from jobs.partition import Partition
from sagas.definition import SagaDefinition
from sagas.messages import EPOCH
from store.cards import EngineCard
from store.port import Entry, Meta, Unreachable

log = logging.getLogger("snorri.engine")


def new_card(id: str, host: str, pid: int, sagas: Iterable[SagaDefinition] = ()) -> EngineCard:
    """The card of an engine that starts now."""
    known = tuple(sagas)
    return EngineCard(
        id=id,
        host=host,
        pid=pid,
        started=datetime.now(UTC),
        sagas=tuple(definition.id for definition in known),
        versions={one.id: one.version for one in known if one.version > 1},
    )


def outdates(newer: EngineCard, older: EngineCard) -> bool:
    """Whether ``newer`` has a higher version of a saga of both, or a saga that ``older`` lacks,
    and falls behind it in none.
    """
    theirs, ours = set(newer.sagas), set(older.sagas)
    both = theirs & ours
    behind = any(_version(newer, saga) < _version(older, saga) for saga in both)
    ahead = any(_version(newer, saga) > _version(older, saga) for saga in both)
    more = bool(ours) and theirs > ours
    return (ahead or more) and not behind


def in_front(cards: Iterable[EngineCard]) -> list[str]:
    """The ids of the engines that share the partitions, sorted: all that no other outdates.

    Never none: engines that each are ahead of the next in something share as equals.
    """
    known = list(cards)
    front = [card.id for card in known if not any(outdates(other, card) for other in known)]
    return sorted(front or [card.id for card in known])


def cards_in(entries: Iterable[Entry]) -> list[EngineCard]:
    """The cards of engines as they stand in the meta bucket; one that can't be read is of an
    engine of which nothing is known but its id.
    """
    return [_card(entry) for entry in entries]


class NewerCode:
    """What an engine does with instances that newer code wrote."""

    def __init__(self, meta: Meta, cache: Cache, sagas: Iterable[SagaDefinition]) -> None:
        self._meta = meta
        self._cache = cache
        self._card = new_card("", "", 0, sagas)

    async def look(self, batch: Batch, partition: Partition) -> None:
        """Leave the partition to the engine that knows the instances ``batch`` stopped at; without
        one they may be parked.
        """
        cards = await self._cards()
        for subject in batch.ahead:
            entry = self._cache.get(subject)
            instance = entry.snapshot.instance if entry else None
            if entry is None or instance is None:
                continue
            if any(knows(card, instance.saga, instance.definition_version) for card in cards):
                partition.lost = True
            else:
                entry.orphan = True
        batch.ahead.clear()
        if partition.lost:
            log.info("partition %d goes to an engine with newer code", partition.number)

    async def _cards(self) -> list[EngineCard]:
        pause = Pause()
        while True:
            try:
                found = cards_in(await self._meta.entries("engine."))
                return [card for card in found if outdates(card, self._card)]
            except Unreachable as error:
                log.info("waiting for the broker to look for newer engines: %s", error)
                await pause.wait()


def knows(card: EngineCard, saga: str, version: int) -> bool:
    """Whether an engine has this version of a saga, or a higher one."""
    return saga in card.sagas and _version(card, saga) >= version


def _version(card: EngineCard, saga: str) -> int:
    return card.versions.get(saga, 1)


def _card(entry: Entry) -> EngineCard:
    id = entry.key.partition(".")[2]
    try:
        card = msgspec.json.decode(entry.data or b"", type=EngineCard)
    except msgspec.DecodeError:
        return EngineCard(id=id, host="", pid=0, started=EPOCH)
    return msgspec.structs.replace(card, id=id)
