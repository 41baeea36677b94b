"""What the load client did, in a file that only grows: the judge believes this and no memory.

One JSON object a line, written before the thing is done and when its outcome is known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

Did: TypeAlias = Literal["ask", "ok", "unknown", "refused", "read", "strike", "heal", "alive"]


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: when (nanoseconds since 1970, UTC), what, and to which instance.

    ``id`` is that of the event, ``saga`` and ``key`` who it is for; ``version`` is what a read has
    seen; ``word`` an error, or the kind of a fault.
    """

    at_ns: int
    did: Did
    saga: str = ""
    key: str = ""
    type: str = ""
    id: str = ""
    via: str = ""
    version: int = 0
    number: int = 0
    word: str = ""


class OpLog:
    """The file, opened to append; a line is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, did: Did, **fields: str | int) -> int:
        """Append a line; the moment it names."""
        at_ns = time.time_ns()
        entry = msgspec.convert({"at_ns": at_ns, "did": did, **fields}, Entry)
        os.write(self._file, msgspec.json.encode(entry) + b"\n")
        return at_ns

    def close(self) -> None:
        """No more is written."""
        os.close(self._file)


def read(path: Path) -> Iterator[Entry]:
    """All entries, in the order they were written."""
    decoder = msgspec.json.Decoder(Entry)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
