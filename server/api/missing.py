"""Words for what is not there: an unknown saga, an unknown key, with names that come near."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sagas.names import BadName, check_key, check_name
from server.api.deps import Deps
from server.api.problems import Problem
from store.cards import SagaCard, saga_cards
from store.lookup import Revision
from store.projection.instances import near_keys
from store.projection.port import ReadError

NEAR_MAX = 3


async def existing(deps: Deps, saga: str, key: str) -> Revision:
    """The instance as the log holds it now; raises Problem with keys that come near."""
    try:
        check_name(saga, "saga id")
        check_key(key)
    except BadName as error:
        raise Problem(
            400, "bad-name", "No instance can have that name", str(error), "Correct saga and key."
        ) from None
    revision = await deps.client.latest(saga, key)
    if revision is None:
        raise await no_instance(deps, saga, key)
    return revision


async def no_instance(deps: Deps, saga: str, key: str) -> Problem:
    """The problem that there is no such instance."""
    try:
        near = await near_keys(deps.read, saga, key, NEAR_MAX)
    except ReadError:  # only the hint is missing then
        near = []
    if not near:
        cards = {card.id: card for card in await saga_cards(deps.backend.meta)}
        if saga not in cards:
            return _no_saga(saga, cards)
    hint = f"Did you mean {_any_of(near)}? " if near else ""
    return Problem(
        404,
        "no-such-instance",
        "There is no such instance",
        f"{saga} has no instance {key!r}.",
        f"{hint}GET /api/v1/sagas/instances?saga=… lists what there is.",
        {"near": near},
    )


async def registered(deps: Deps, saga: str) -> SagaCard:
    """The card of a saga; raises Problem when no engine has registered it."""
    cards = {card.id: card for card in await saga_cards(deps.backend.meta)}
    if saga not in cards:
        raise _no_saga(saga, cards)
    return cards[saga]


def near_names(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of ``known`` that come near to ``word``, whatever their case."""
    folded = {one.casefold(): one for one in known}
    return [
        folded[one]
        for one in difflib.get_close_matches(word.casefold(), list(folded), NEAR_MAX, 0.5)
    ]


def _no_saga(saga: str, known: Iterable[str]) -> Problem:
    near = near_names(saga, known)
    hint = f"Did you mean {_any_of(near)}? " if near else ""
    return Problem(
        404,
        "no-such-saga",
        "There is no such saga",
        f"No engine has registered a saga {saga!r}.",
        f"{hint}GET /api/v1/sagas/sagas lists what there is; an engine registers its sagas"
        " when it starts.",
        {"near": near},
    )


def _any_of(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
