"""Logins of people, kept in the meta bucket, so that every serving process knows them.

The browser holds a random id in a cookie; the bucket holds ``session.<SHA-256 of it>``, which ends
by itself. Every request looks there, so that a logout holds everywhere at once. A session names the
password it was made with: a new password ends it.
"""

from __future__ import annotations

import secrets

import msgspec
from msgspec import Struct

from server.access.file import User
from server.access.passwords import sha256
from store.port import Meta

PREFIX = "session."
ENDED = b"{}"  # no session; unlike the marker of a deletion it vanishes after its time
ENDED_TTL_S = 60
ID_BYTES = 32
ID_CHARS_MAX = 100


class Session(Struct, frozen=True, kw_only=True):
    """Who is logged in; ``csrf`` must come with whatever changes something."""

    user: str
    password: str  # SHA-256 of the password's hash
    csrf: str
    v: int = 1


class Sessions:
    """Makes, finds and ends sessions; every method raises Unreachable."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta

    async def create(self, name: str, user: User, ttl_s: int) -> tuple[str, Session]:
        """A new session with a new id."""
        id = secrets.token_urlsafe(ID_BYTES)
        session = Session(
            user=name, password=sha256(user.password), csrf=secrets.token_urlsafe(ID_BYTES)
        )
        await self._meta.put(_key(id), msgspec.json.encode(session), ttl_s=ttl_s)
        return id, session

    async def find(self, id: str) -> Session | None:
        """The session of a cookie, None when it has ended or never was."""
        if not 0 < len(id) <= ID_CHARS_MAX:
            return None
        entry = await self._meta.get(_key(id))
        if entry is None or entry.data is None:
            return None
        try:
            return msgspec.json.decode(entry.data, type=Session)
        except msgspec.MsgspecError:
            return None

    async def end(self, id: str) -> None:
        """End a session everywhere."""
        if 0 < len(id) <= ID_CHARS_MAX:
            await self._meta.put(_key(id), ENDED, ttl_s=ENDED_TTL_S)


def _key(id: str) -> str:
    return PREFIX + sha256(id)
