"""The definitions that run here: what each one is, and how its instances stand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from store.cards import SagaCard, engine_cards, saga_cards
from store.projection.sagas import SagaFigures, saga_figures
from ui.desk import Desk, Who
from ui.render import page

SINCE = timedelta(days=7)
COUNTS = "SELECT saga, status, count(*)::BIGINT AS count FROM instances GROUP BY ALL ORDER BY ALL"


class Count(Struct, frozen=True):
    """How many instances of a saga have a status."""

    saga: str
    status: str
    count: int


class SagaEntry(Struct, frozen=True):
    """A definition with its counts; ``figures`` is None when none ended lately, ``engines`` counts
    those alive that have its code.
    """

    card: SagaCard
    counts: tuple[Count, ...]
    figures: SagaFigures | None
    engines: int

    @property
    def total(self) -> int:
        return sum(count.count for count in self.counts)


class SagasPage(Struct, frozen=True):
    """The context of ``sagas.html``."""

    entries: tuple[SagaEntry, ...]


@get("/sagas", opt={"role": "viewer"})
async def sagas(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """All registered definitions."""
    counts, figures, cards, engines = await asyncio.gather(
        desk.read.fetch(COUNTS, {}, Count),
        saga_figures(desk.read, desk.now() - SINCE),
        saga_cards(desk.meta),
        engine_cards(desk.meta),
    )
    entries = tuple(
        SagaEntry(
            card=card,
            counts=tuple(count for count in counts if count.saga == card.id),
            figures=figures.get(card.id),
            engines=sum(card.id in engine.sagas for engine in engines),
        )
        for card in cards
    )
    return page(request, desk, "sagas.html", SagasPage(entries), title="Sagas")


ROUTES = (sagas,)
