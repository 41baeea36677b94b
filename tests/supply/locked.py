"""The lock file as data: each package with its version and the hashes of its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.txt"

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?:(?!\n\S).)*)", re.MULTILINE | re.DOTALL)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Locked(NamedTuple):
    """A package as it is pinned; ``hashes`` are the SHA-256 of its files for all platforms."""

    name: str
    version: str
    hashes: tuple[str, ...]


def locked(path: Path = LOCK) -> list[Locked]:
    """All packages of a lock file, by name."""
    text = path.read_text(encoding="utf-8")
    found = [Locked(p[1], p[2], tuple(_HASH.findall(p[3]))) for p in _PIN.finditer(text)]
    return sorted(found)
