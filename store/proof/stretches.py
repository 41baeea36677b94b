"""What a stream and its rows have in common, in numbers: for each stretch of sequences how many
there are and the exclusive or of their hashes.

The same numbers come out of the log and, by SQL, out of the projections, whatever order they were
written in; where they differ, that stretch is named. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

STRETCH = 50_000  # sequences

TRANSITIONS_SQL = """
SELECT seq // $stretch AS stretch, count(*) AS rows, bit_xor(md5_number_lower(
    concat(saga, '|', key, '|', version, '|', seq, '|', status, '|', prev)))::VARCHAR AS digest
FROM transitions WHERE seq <= $upto GROUP BY 1 ORDER BY 1
"""
EVENTS_SQL = """
SELECT seq // $stretch AS stretch, count(*) AS rows, bit_xor(md5_number_lower(
    concat(seq, '|', type, '|', id, '|', bytes)))::VARCHAR AS digest
FROM events WHERE seq <= $upto GROUP BY 1 ORDER BY 1
"""


def transition_text(saga: str, key: str, version: int, seq: int, status: str, prev: str) -> str:
    """What is hashed of a transition, as TRANSITIONS_SQL writes it."""
    return f"{saga}|{key}|{version}|{seq}|{status}|{prev}"


def event_text(seq: int, type: str, id: str, size: int) -> str:
    """What is hashed of an event, as EVENTS_SQL writes it."""
    return f"{seq}|{type}|{id}|{size}"


class Stretches:
    """Counts and digests by stretch."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._digests: dict[int, int] = {}

    def add(self, seq: int, text: str) -> None:
        """One more under ``seq``."""
        stretch = seq // STRETCH
        hashed = hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).digest()
        self.add_all(stretch, 1, int.from_bytes(hashed[8:], "little"))

    def add_all(self, stretch: int, count: int, digest: int) -> None:
        """Many of one stretch, as SQL has counted them."""
        self._counts[stretch] = self._counts.get(stretch, 0) + count
        self._digests[stretch] = self._digests.get(stretch, 0) ^ digest

    @property
    def counts(self) -> Mapping[int, int]:
        """How many each stretch has."""
        return self._counts

    def differences(self, rows: Stretches, what: str) -> list[str]:
        """Where ``rows`` differ from these, in words."""
        lines: list[str] = []
        for stretch in sorted(self._counts.keys() | rows._counts.keys()):
            there, here = self._counts.get(stretch, 0), rows._counts.get(stretch, 0)
            where = f"{stretch * STRETCH} to {(stretch + 1) * STRETCH - 1}"
            if there != here:
                lines.append(f"{what} {where}: {there} in the log, {here} in the projections")
            elif self._digests.get(stretch) != rows._digests.get(stretch):
                lines.append(f"{what} {where}: as many, but not the same")
        return lines
