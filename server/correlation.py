"""Which instances a message names, as far as the registry and the code loaded here can tell.

The engine decides where a message goes; this says the same to whoever sends it. Rules that are a
field path stand in the registry, so they are known for every saga; a rule that is a function is
known only where its definition is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from sagas.definition import Registry, correlate, find
from sagas.handlers import to_message
from sagas.messages import EPOCH, Address, Cause
from sagas.names import BadName, check_key, parse_command_id, unescape
from store import codec
from store.cards import SagaCard, saga_cards
from store.port import Meta, StoreError

log = logging.getLogger("snorri.api")

CARDS_AGE_MAX_S = 2.0


class NoKey(ValueError):
    """A starting message names no instance, or only the saga's code could tell; the message says
    what to do.
    """


def key_of(card: SagaCard, payload: object, registry: Registry | None = None) -> str | None:
    """The key that a starting message with this payload names, None where any new one will do.

    ``registry`` may have the definition when the rule is a function. Raises NoKey.
    """
    rule = card.rule_of(card.starting[0] if card.starting else "")
    if rule.rule == "":
        return None
    if rule.rule == "field":
        key = find(rule.path, payload)
        if key is None:
            raise NoKey(
                f"the input has no {rule.path!r}, which names the instance of {card.id}; "
                "add that field, or give a key"
            )
        return key
    type = card.starting[0]
    definition = registry.get(card.id) if registry is not None else None
    if definition is None or type not in definition.handlers:
        raise NoKey(f"{card.id} finds the key of an instance by a function; give a key")
    key = _by_function(registry, card.id, type, msgspec.json.encode(payload))
    if key is None:
        raise NoKey(f"the rule of {card.id} finds no key in this input; correct it or give a key")
    return key


class KnownSagas:
    """The registered definitions, kept for a moment, and whom an event reaches among them."""

    def __init__(self, meta: Meta, registry: Registry) -> None:
        self._meta = meta
        self._registry = registry
        self._by_type: dict[str, list[SagaCard]] = {}
        self._read_at = -CARDS_AGE_MAX_S
        self._reading: asyncio.Task[None] | None = None
        self._known = False

    async def receivers(
        self, type: str, key: str | None, payload: bytes, headers: Mapping[str, str]
    ) -> list[Address] | None:
        """The instances that an event names, in the order of the sagas' ids.

        None when the registry can't be read: then nobody can tell. An instance named here may still
        ignore the event.
        """
        await self._refresh()
        if not self._known:
            return None
        try:
            only = unescape(headers.get(codec.SAGA, ""))
        except BadName:
            return []
        found = self._answered(headers.get(codec.CAUSE, ""))
        cards = self._by_type.get(type, ())
        wanted = [card for card in cards if only in ("", card.id)]
        if not wanted:
            return found
        try:
            value: object = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return found
        for card in wanted:
            rule = card.rule_of(type)
            if rule.rule == "":
                named = key
            elif rule.rule == "field":
                named = find(rule.path, value)
            else:
                named = _by_function(self._registry, card.id, type, payload)
            if named and _is_key(named):
                found.append(Address(card.id, named))
        return list(dict.fromkeys(found))

    async def _refresh(self) -> None:
        """Read the registry when it is old; only the first reading is waited for."""
        if time.monotonic() - self._read_at < CARDS_AGE_MAX_S:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="registry")
        if not self._known:
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            by_type: dict[str, list[SagaCard]] = {}
            for card in await saga_cards(self._meta):
                for type in card.types:
                    by_type.setdefault(type, []).append(card)
            self._by_type, self._known = by_type, True
        except StoreError as error:
            log.info("the registry can't be read now: %s", error)
        finally:
            self._read_at = time.monotonic()
            self._reading = None

    def _answered(self, command: str) -> list[Address]:
        """The instance whose command an event answers."""
        origin = parse_command_id(command)
        return [Address(origin[0], origin[1])] if origin is not None else []


def _by_function(registry: Registry | None, saga: str, type: str, payload: bytes) -> str | None:
    definition = registry.get(saga) if registry is not None else None
    handler = definition.handlers.get(type) if definition is not None else None
    if definition is None or handler is None:
        return None
    rule = definition.correlations.get(type, definition.correlation)
    if rule is None:
        return None
    cause = Cause(kind="event", type=type, id="", seq=0, at=EPOCH, payload=Raw(payload))
    try:
        return correlate(rule, to_message(cause, handler.decode(cause.payload)))
    except Exception as error:  # the author's rule may raise anything; the engine tells it loudly
        log.debug("the rule of %s finds no key: %s", saga, error)
        return None


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except BadName:
        return False
    return True
