"""Messages and short cuts that the conformance tests share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from store.port import Backend, Committed, Outgoing, Stored
from store.subjects import Names

ROLLUP = (("Nats-Rollup", "sub"),)
HOSTILE_KEYS = (
    "*",
    ">",
    "a.*",
    "a.b@c.com",
    "$JS.API.>",
    "_kvx",
    "../..",
    "' OR 1=1",
    "<script>",
    "tab\tand\r\nline",
    "\x00",
    "=2E",
    "naïve",
    "💥",
    "k" * 200,
)


def revision(names: Names, key: str, data: bytes = b"{}", expect: int | None = None) -> Outgoing:
    """A revision of the instance ``key`` of the saga S."""
    return Outgoing(names.instance("S", key), data, expect=expect)


async def stored(backend: Backend, *batch: Outgoing) -> int:
    """Commit ``batch``, which must succeed; the last sequence."""
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Committed), outcome
    return outcome.last


async def listed(messages: AsyncIterator[Stored]) -> list[Stored]:
    """All messages of a history."""
    return [message async for message in messages]


def data_of(messages: Sequence[Stored]) -> list[bytes]:
    """What the messages hold."""
    return [message.data for message in messages]


async def ended(messages: AsyncIterator[object]) -> None:
    """Close a watch that was left before its end, which it never has."""
    assert isinstance(messages, AsyncGenerator)
    await messages.aclose()
