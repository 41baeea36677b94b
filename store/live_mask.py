"""The mask in force: it learns the secret names of definitions and jobs as they are registered.

Names only ever come in: what was secret once is in the history for good. Whoever keeps masked
copies asks ``fingerprint`` what they were masked with, and is told by ``on_change`` when that is no
longer enough.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from store.closing import closing
from store.life import Life
from store.masking import Mask
from store.port import Entry, Meta, StoreError

log = logging.getLogger("snorri.secrets")

PREFIXES = ("saga.", "job.")
RETRY_S = 2.0


class _Named(Struct, frozen=True):
    """What this needs of a card."""

    secrets: tuple[str, ...] = ()


class LiveMask:
    """A Mask whose names grow; ``names`` are those of the settings and of the loaded app.

    ``start`` reads the cards there are and follows new ones; it raises Unreachable.
    """

    name = "mask"

    def __init__(self, names: Iterable[str] = (), meta: Meta | None = None) -> None:
        self._mask = Mask(names)
        self._meta = meta
        self._watchers: list[Callable[[], None]] = []
        self._life = Life()

    def __call__(self, data: bytes) -> bytes:
        """``data`` (JSON of an author: a state, a payload) masked."""
        return self._mask(data)

    def document(self, data: bytes) -> bytes:
        """A document of ours masked; see ``Mask.document``."""
        return self._mask.document(data)

    def text(self, text: str, *sources: bytes) -> str:
        """``text`` without the secret values of ``sources``; see ``Mask.text``."""
        return self._mask.text(text, *sources)

    @property
    def names(self) -> frozenset[str]:
        """The secret names known now, in lower case."""
        return self._mask.names

    @property
    def fingerprint(self) -> str:
        """Changes with the names: sixteen hex digits."""
        return hashlib.sha256("\0".join(sorted(self.names)).encode()).hexdigest()[:16]

    def on_change(self, call: Callable[[], None]) -> None:
        """``call`` whenever there are new names."""
        self._watchers.append(call)

    def learn(self, names: Iterable[str]) -> None:
        """Take more names."""
        more = self.names | {name.lower() for name in names if name}
        if more == self.names:
            return
        self._mask = Mask(more)
        for call in self._watchers:
            call()

    async def start(self) -> None:
        """Know what is registered, then follow what will be."""
        if self._meta is None:
            return
        for prefix in PREFIXES:
            for entry in await self._meta.entries(prefix):
                self._read(entry)
        for prefix in PREFIXES:
            self._life.begin(self._follow(self._meta, prefix), f"secret names of {prefix}")

    async def stop(self) -> None:
        """End following; the names stay."""
        await self._life.stop()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._life.wait()

    async def _follow(self, meta: Meta, prefix: str) -> None:
        while True:
            try:
                async with closing(meta.watch(prefix)) as entries:
                    async for entry in entries:
                        self._read(entry)
            except StoreError as error:
                log.warning("new secret names are not seen for now: %s", error)
            await asyncio.sleep(RETRY_S)

    def _read(self, entry: Entry) -> None:
        if entry.data is None:
            return
        try:
            self.learn(msgspec.json.decode(entry.data, type=_Named).secrets)
        except msgspec.MsgspecError as error:
            log.warning(
                "the card %s can't be read, its secret names are unknown: %s", entry.key, error
            )
