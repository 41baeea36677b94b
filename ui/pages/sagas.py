"""The definitions that run here: what each one is, and how its instances stand."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from store.cards import SagaCard, saga_cards
from ui.desk import Desk, Who
from ui.render import page

COUNTS = "SELECT saga, status, count(*)::BIGINT AS count FROM instances GROUP BY ALL ORDER BY ALL"


class Count(Struct, frozen=True):
    """How many instances of a saga have a status."""

    saga: str
    status: str
    count: int


class SagaEntry(Struct, frozen=True):
    """A definition with its counts, most frequent status first."""

    card: SagaCard
    counts: tuple[Count, ...]

    @property
    def total(self) -> int:
        return sum(count.count for count in self.counts)


class SagasPage(Struct, frozen=True):
    """The context of ``sagas.html``."""

    entries: tuple[SagaEntry, ...]


@get("/sagas", opt={"role": "viewer"})
async def sagas(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """All registered definitions."""
    counts = await desk.read.fetch(COUNTS, {}, Count)
    entries = tuple(
        SagaEntry(card, tuple(count for count in counts if count.saga == card.id))
        for card in await saga_cards(desk.meta)
    )
    return page(request, desk, "sagas.html", SagasPage(entries), title="Sagas")


ROUTES = (sagas,)
