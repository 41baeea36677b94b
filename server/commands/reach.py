"""A command's connection to an installation, and words for what is not there.

Opens with whatever streams exist and makes none: looking never changes anything.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from server.archives import with_archive
from server.commands.common import Failed
from server.connecting import names_of, nats_url_of, open_remote
from server.knock import knock
from server.login import login_of
from server.settings import Settings
from store import cards
from store.broker_clock import BrokerClock, Clock, utc_now
from store.cards import SagaCard
from store.client import SagaClient
from store.jetstream.backend import connect_door
from store.lookup import Revision
from store.port import Backend
from store.subjects import Names

NEAR_MAX = 3
LIKENESS_MIN = 0.5
LIKENESS_SPREAD = 0.2  # names less like it than the best by more than this are no help


class Session(Struct, frozen=True):
    """A client and the ports it uses."""

    client: SagaClient
    backend: Backend
    names: Names
    url: str
    now: Clock = utc_now  # the broker's time, where it was asked


@asynccontextmanager
async def open_session(settings: Settings) -> AsyncGenerator[Session]:
    """Connect, with the archive if there is one; raises Unreachable or another StoreError."""
    async with open_remote(settings, make=False) as runtime:
        backend = with_archive(settings, runtime.backend, runtime.names)
        clock = BrokerClock(runtime.backend.time)
        await clock.ask()
        client = SagaClient(backend, runtime.names, now=clock.now)
        yield Session(client, backend, runtime.names, runtime.url, clock.now)


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncGenerator[Session]:
    """The same for a user who may publish events and nothing more."""
    login, url, names = login_of(settings), nats_url_of(settings), names_of(settings)
    await knock(url)
    backend = await connect_door(url, names, login=login)
    try:
        yield Session(SagaClient(backend, names), backend, names, url)
    finally:
        await backend.close()


async def saga_cards(session: Session) -> list[SagaCard]:
    """The definitions that engines have registered, by id."""
    return await cards.saga_cards(session.backend.meta)


async def existing(session: Session, saga: str, key: str) -> Revision:
    """The instance now; raises Failed with names that come near when there is none."""
    revision = await session.client.latest(saga, key)
    if revision is not None:
        return revision
    keys = await session.client.keys(saga)
    if keys:
        raise Failed(
            f"{saga} has no instance {key!r}{did_you_mean(key, keys)}; "
            f"`snorri instances --saga {saga}` lists them"
        )
    await check_saga(session, saga)
    raise Failed(f"{saga} has no instances yet; publish its starting message or `snorri start` it")


async def check_saga(session: Session, saga: str) -> SagaCard:
    """The card of the saga; raises Failed when no engine has registered it."""
    cards = {card.id: card for card in await saga_cards(session)}
    if saga in cards:
        return cards[saga]
    known = list(cards)
    if not known:
        raise Failed("no engine has registered a saga yet; start one with `snorri engine --app …`")
    raise Failed(f"there is no saga {saga!r}{did_you_mean(saga, known)}; `snorri sagas` lists them")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`` (did you mean …?)`` or an empty text."""
    folded = {one.casefold(): one for one in known}
    matcher = difflib.SequenceMatcher(b=word.casefold())

    def likeness(one: str) -> float:
        matcher.set_seq1(one)
        return matcher.ratio()

    near = difflib.get_close_matches(word.casefold(), list(folded), NEAR_MAX, LIKENESS_MIN)
    near = [one for one in near if likeness(one) >= likeness(near[0]) - LIKENESS_SPREAD]
    return f" (did you mean {' or '.join(folded[one] for one in near)}?)" if near else ""
