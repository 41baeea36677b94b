"""``Idempotency-Key``: the same write under the same key happens once and is answered the same.

A key belongs to whoever sent it. Its claim is kept in the meta bucket for a day: first with a
fingerprint of the request, so that another request under the same key is refused, then with the
reply. Whoever finds a claim without a reply waits for it a while and then does the work too, since
its owner may be dead. That is safe: the work gets an id made from the key, under which the broker
and the instance recognise what they have had.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from litestar.params import HeaderParameter
from msgspec import Raw, Struct

from sagas.messages import NULL
from server.api.deps import Deps
from server.api.problems import Problem
from server.api.shown import Asked
from store.events import ID_BYTES_MAX
from store.port import Entry, Meta

R = TypeVar("R", bound=Struct)

PREFIX = "claim."
KEPT_S = 24 * 3600
POLL_MIN_S = 0.02
POLL_MAX_S = 0.5
PATIENCE_S = 10.0  # with one who has claimed the key and does not answer

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The same request under the same key happens once and gets the same answer;"
        " another request under it is refused with 422. Kept for a day.",
        min_length=1,
        max_length=ID_BYTES_MAX,
    ),
]


class _Claim(Struct, frozen=True, kw_only=True):
    """A key in use: ``at`` is when its work began (seconds since 1970), ``reply`` its outcome (a
    document, null while there is none).
    """

    fingerprint: str
    at: float
    reply: Raw = NULL


async def once(
    request: Asked,
    deps: Deps,
    key: str | None,
    kind: type[R],
    work: Callable[[str], Awaitable[R]],
    final: Callable[[R], bool] = lambda reply: True,
) -> R:
    """The reply of ``work``, done at most once for this key of this user.

    ``work`` gets the id to do it under, empty without a key. A reply that is not ``final`` is
    forgotten, so that a repetition asks again. Raises Problem when the key was used for something
    else, and what ``work`` raises.
    """
    if key is None:
        return await work("")
    id = _id_of(request, key)
    fingerprint = await _fingerprint(request)
    meta, name = deps.backend.meta, PREFIX + id
    revision = await _claim(meta, name, fingerprint)
    if isinstance(revision, Raw):
        return msgspec.json.decode(revision, type=kind)
    try:
        reply = await work(id)
    except BaseException:
        await _release(meta, name, fingerprint, revision)
        raise
    if not final(reply):
        await _release(meta, name, fingerprint, revision)
        return reply
    document = Raw(msgspec.json.encode(reply))
    claim = _Claim(fingerprint=fingerprint, at=time.time(), reply=document)
    await meta.put(name, msgspec.json.encode(claim), ttl_s=KEPT_S, expect=revision)
    return reply


def _id_of(request: Asked, key: str) -> str:
    text = f"{request.user.name}\0{key}".encode(errors="surrogateescape")
    return f"once-{hashlib.blake2b(text, digest_size=16).hexdigest()}"


async def _fingerprint(request: Asked) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in (request.method.encode(), request.scope["path"].encode(errors="replace")):
        digest.update(part + b"\0")
    digest.update(await request.body())
    return digest.hexdigest()


async def _claim(meta: Meta, name: str, fingerprint: str) -> int | Raw:
    """Own the key and give the claim's revision, or give the reply that is there already."""
    pause_s = POLL_MIN_S
    while True:
        entry = await meta.get(name)
        expect = 0
        if entry is not None and entry.data is not None:
            claim = _read(entry)
            if claim.fingerprint != fingerprint:
                raise Problem(
                    422,
                    "idempotency-key-reused",
                    "This Idempotency-Key was used for something else",
                    "Another route or another body was sent under the same key before.",
                    "Send the first request unchanged, or use a new key for a new request.",
                )
            if claim.reply != NULL:
                return claim.reply
            expect = entry.revision
            if time.time() - claim.at < PATIENCE_S:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, POLL_MAX_S)
                continue
        mine = _Claim(fingerprint=fingerprint, at=time.time())
        revision = await meta.put(name, msgspec.json.encode(mine), ttl_s=KEPT_S, expect=expect)
        if revision is not None:
            return revision


async def _release(meta: Meta, name: str, fingerprint: str, revision: int) -> None:
    """Let the next request under this key begin at once."""
    free = _Claim(fingerprint=fingerprint, at=0.0)
    await meta.put(name, msgspec.json.encode(free), ttl_s=KEPT_S, expect=revision)


def _read(entry: Entry) -> _Claim:
    return msgspec.json.decode(entry.data or b"", type=_Claim)
