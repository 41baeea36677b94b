"""Replays of a whole saga, as the pages ask for them of whoever mounts them."""

from __future__ import annotations

from typing import Protocol

from store.replay_jobs import ReplayJob


class ReplayFault(ValueError):
    """What was asked for can't be done; the message says what to do instead."""


class Replays(Protocol):
    """The replays of this installation; every method raises Unreachable."""

    async def begin(self, saga: str, by: str) -> str:
        """Begin one, or join the one that runs for this saga; its id. Raises ReplayFault."""
        ...

    async def get(self, id: str) -> ReplayJob | None:
        """One as it stands, or None."""
        ...

    async def list(self, saga: str) -> list[ReplayJob]:
        """Those of a saga of the last days, the newest first."""
        ...

    async def cancel(self, job: ReplayJob) -> None:
        """Have it end; raises ReplayFault when it has."""
        ...
