"""Who works on which partition, since when, how far it has come and what waits: facts for people.

A lease says who; the record of the position says how far; a feed that is opened behind it and
closed again says how much is to come. Looks, never changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from store.cards import EngineCard, engine_cards
from store.codec import Position, moment
from store.port import Backend, StreamName
from store.subjects import Names

LEASE = "lease."


class PartitionState(Struct, frozen=True, kw_only=True):
    """A partition: ``engine`` is empty while nobody works on it, times are UTC.

    ``events`` and ``signals`` are the last sequences that were read and committed, ``moved_at``
    when that was; ``waiting`` counts the messages that are stored behind them.
    """

    partition: int
    engine: str = ""
    host: str = ""
    pid: int = 0
    since: datetime | None = None
    events: int = 0
    signals: int = 0
    moved_at: datetime | None = None
    waiting: int = 0


async def partition_states(backend: Backend, names: Names) -> list[PartitionState]:
    """All partitions, by number; raises Unreachable."""
    leases = {
        int(entry.key.removeprefix(LEASE)): (entry.data or b"").decode()
        for entry in await backend.meta.entries(LEASE)
    }
    cards = {card.id: card for card in await engine_cards(backend.meta)}
    numbers = range(backend.partitions)
    return [
        await _state(backend, names, number, leases.get(number, ""), cards) for number in numbers
    ]


async def _state(
    backend: Backend, names: Names, number: int, owner: str, cards: Mapping[str, EngineCard]
) -> PartitionState:
    card = cards.get(owner)
    stored = await backend.log.read(names.position(number))
    position = msgspec.json.decode(stored.data, type=Position) if stored else None
    events, signals = (position.events, position.signals) if position else (0, 0)
    return PartitionState(
        partition=number,
        engine=owner,
        host=card.host if card else "",
        pid=card.pid if card else 0,
        since=card.since.get(str(number)) if card else None,
        events=events,
        signals=signals,
        moved_at=moment(stored.at_ns) if stored else None,
        waiting=await waiting(backend, names, number, events, signals),
    )


async def waiting(backend: Backend, names: Names, number: int, events: int, signals: int) -> int:
    """How many messages a partition has behind these sequences; raises Unreachable."""
    places: tuple[tuple[StreamName, tuple[str, ...], int], ...] = (
        ("events", names.event_filters(number), events),
        ("log", names.signal_filters(number), signals),
    )
    count = 0
    for stream, filters, after in places:
        for filter in filters:  # one at a time: rights to read are given for single filters
            feed = await backend.feeds.open(stream, [filter], after, lambda: None)
            try:
                count += feed.waiting
            finally:
                await feed.close()
    return count
