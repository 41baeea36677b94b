"""Groups of failures worked off in waves: bulk jobs that stop by themselves when it fails again."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from sagas.messages import Address
from store.bulk import BulkAction

STOP_AFTER = 5
WATCH_S = 30  # a job's last attempt comes some seconds after its first
WATCH_S_MAX = 600


class Wave(Struct, frozen=True, kw_only=True):
    """What to do with which: instances, or for ``redrive`` and ``discard`` dead letters.

    A dead letter is an address without a saga, its id as key. The job ends when ``stop_after`` have
    refused (0: never); one that fails again within ``watch_s`` counts as that.
    """

    action: BulkAction
    targets: tuple[Address, ...]
    reason: str
    by_hand: bool = False
    stop_after: int = STOP_AFTER
    watch_s: float = float(WATCH_S)


class Waves(Protocol):
    """Begins such jobs; they are looked at, cancelled and resumed like every bulk job."""

    async def begin(self, wave: Wave, by: str, origin: str) -> str:
        """Make the job and begin; its id. Raises Unreachable."""
        ...
