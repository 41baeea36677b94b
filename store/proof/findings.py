"""What a proof has found: kinds of faults with what to do, the first of each kind in words.

However much is wrong, only ``SHOWN_MAX`` faults of a kind are kept in words; the rest are counted.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

SHOWN_MAX = 20

Kind: TypeAlias = Literal[
    "chain", "version", "unreadable", "lost_command", "orphan_command", "double_command",
    "missing_event", "position", "torn_commit", "projection", "archive", "backup",
]  # fmt: skip

LOST = "history was lost or altered: stop the engines and restore a backup (`snorri restore`)"
MEND: dict[Kind, str] = {
    "chain": LOST,
    "version": LOST,
    "unreadable": "something else wrote it, or its bytes were altered: look at it with `nats stream"
    " get`, and restore a backup (`snorri restore`) when it was one of ours",
    "lost_command": "send it again with `snorri retry SAGA KEY`, or restore a backup",
    "orphan_command": "nobody waits for its answer: find out who wrote to the log, and take that"
    " permission away",
    "double_command": "its job may have run twice under one id; find out who wrote to the log",
    "missing_event": "the events stream was cut: restore a backup, or publish those events again"
    " under their ids",
    "position": "the server lost its last writes: restore a backup, or publish those events again"
    " under their ids; then let it sync each write (sync_interval: always)",
    "torn_commit": "`snorri retry SAGA KEY` sends an open command again; let the server sync each"
    " write (sync_interval: always)",
    "projection": "build them anew with `snorri rebuild`",
    "archive": "take the files named from a backup; nothing else holds what is in them",
    "backup": "make another backup, and look at the disk that this one is on",
}


class Finding(Struct, frozen=True, kw_only=True):
    """All faults of one kind: how many, the first of them in words, and the next step."""

    kind: Kind
    count: int
    shown: tuple[str, ...]
    mend: str


class Findings:
    """Faults as they are found."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = {}
        self._shown: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, fault: str) -> None:
        """Note a fault."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown = self._shown.setdefault(kind, [])
        if len(shown) < SHOWN_MAX:
            shown.append(fault)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def list(self) -> tuple[Finding, ...]:
        """What was found, in the order in which the kinds turned up."""
        return tuple(
            Finding(kind=kind, count=count, shown=tuple(self._shown[kind]), mend=MEND[kind])
            for kind, count in self._counts.items()
        )
