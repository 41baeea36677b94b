"""The registry: which sagas engines have registered, and how many instances each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from litestar import get
from msgspec import Meta, Struct

from server.access.roles import ROLE
from server.api.deps import Deps
from server.api.lists import Projection, WaitFor, projection_of, settle
from server.api.missing import registered
from server.api.parameters import Parts, Saga
from store.cards import EngineCard, SagaCard, engine_cards, saga_cards
from store.projection.instances import count_instances


class SagaItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A saga as its author declared it, and how its instances stand."""

    id: str
    name: str
    description: str
    topic: str
    tags: list[str]
    types: Annotated[list[str], Meta(description="Message types it handles")]
    starting: Annotated[list[str], Meta(description="Those that may start an instance")]
    signals: list[str]
    queries: Annotated[list[str], Meta(description="See …/instances/{saga}/{key}/query/{name}")]
    compensations: list[str]
    steps: Annotated[list[str], Meta(description="Its steps; [] when it is made of handlers")]
    version: Annotated[str, Meta(description="Hash of what it declares and of its code")]
    durability: str
    cron: Annotated[str | None, Meta(description="When it starts by itself, if it does")]
    time_zone: Annotated[str | None, Meta(description="Of `cron`; null for UTC")]
    retention: Annotated[str | None, Meta(description="How long ended instances are kept")]
    on_unknown: Annotated[
        str, Meta(description="For messages without an instance: start, ignore or dead_letter")
    ]
    concurrency: Annotated[int | None, Meta(description="Instances at work at once, if limited")]
    enabled: bool
    key_rule: Annotated[
        str | None,
        Meta(description="How its starting message names an instance: `field` or `function`"),
    ]
    key_path: Annotated[str | None, Meta(description="The field, for `field`")]
    loaded: Annotated[
        bool, Meta(description="Whether this process has its code: plans and queries need it")
    ]
    engines: Annotated[int, Meta(description="Engines alive that have its code")]
    counts: Annotated[dict[str, int], Meta(description="Instances by status")]
    instances: Annotated[int, Meta(description="Instances in all")]


class SagaList(Struct, frozen=True, kw_only=True, rename="camel"):
    """All registered sagas, by id."""

    items: list[SagaItem]
    projection: Projection


class SagaDetail(Struct, frozen=True, kw_only=True, rename="camel"):
    """One saga."""

    saga: SagaItem
    schemas: Annotated[
        dict[str, Any],
        Meta(description="JSON Schema of each message type and signal whose handler declares one"),
    ]
    projection: Projection


@get(
    "/api/v1/sagas/sagas",
    opt={ROLE: "viewer"},
    operation_id="listSagas",
    summary="List sagas",
)
async def list_sagas(deps: Parts, wait_for: WaitFor = None) -> SagaList:
    """The sagas that engines have registered, with their instances by status."""
    await settle(deps.read, wait_for)
    counts = await count_instances(deps.read)
    engines = await engine_cards(deps.backend.meta)
    cards = await saga_cards(deps.backend.meta)
    items = [_item(card, counts.get(card.id, {}), engines, deps) for card in cards]
    return SagaList(items=items, projection=projection_of(deps.read))


@get(
    "/api/v1/sagas/sagas/{saga:str}",
    opt={ROLE: "viewer"},
    operation_id="getSaga",
    summary="A saga",
)
async def get_saga(deps: Parts, saga: Saga, wait_for: WaitFor = None) -> SagaDetail:
    """One saga with its instances by status."""
    card = await registered(deps, saga)
    await settle(deps.read, wait_for)
    counts = await count_instances(deps.read, saga)
    engines = await engine_cards(deps.backend.meta)
    item = _item(card, counts.get(saga, {}), engines, deps)
    return SagaDetail(saga=item, schemas=dict(card.schemas), projection=projection_of(deps.read))


def _item(
    card: SagaCard, counts: Mapping[str, int], engines: list[EngineCard], deps: Deps
) -> SagaItem:
    return SagaItem(
        id=card.id,
        name=card.name or card.id,
        description=card.description,
        topic=card.topic,
        tags=list(card.tags),
        types=list(card.types),
        starting=list(card.starting),
        signals=list(card.signals),
        queries=list(card.queries),
        compensations=list(card.compensations),
        steps=[step.name for part in card.parts for step in part.steps()],
        version=card.hash,
        durability=card.durability,
        cron=card.cron or None,
        time_zone=card.time_zone or None,
        retention=card.retention or None,
        on_unknown=card.on_unknown,
        concurrency=card.concurrency or None,
        enabled=card.enabled,
        key_rule=card.key_rule or None,
        key_path=card.key_path or None,
        loaded=deps.app.registry.get(card.id) is not None,
        engines=sum(card.id in engine.sagas for engine in engines),
        counts=dict(counts),
        instances=sum(counts.values()),
    )


ROUTES = (list_sagas, get_saga)
