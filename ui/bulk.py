"""Acting on many instances, as the pages ask for it of whoever mounts them."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from sagas.actions import ACTIONS, InstanceAction
from sagas.messages import Address
from store.bulk import BulkJob
from ui.asked import Asked

# A state is patched one by one: what fits one instance seldom fits another.
BULK_ACTIONS: tuple[InstanceAction, ...] = tuple(one for one in ACTIONS if one != "patch")
# What ends or leaves out something of every instance: the number has to be typed.
DESTRUCTIVE: frozenset[InstanceAction] = frozenset({"cancel", "compensate", "skip"})


class Wish(Struct, frozen=True, kw_only=True):
    """What to do with which instances: those in ``picks``, or without any those ``asked`` finds.

    ``payload`` is JSON or empty.
    """

    action: InstanceAction
    reason: str
    asked: Asked = Asked()
    picks: tuple[Address, ...] = ()
    types: tuple[str, ...] = ()
    name: str = ""
    payload: str = ""
    by_hand: bool = False


class Group(Struct, frozen=True):
    """Instances to which the same would happen."""

    saga: str
    status: str
    status_after: str
    commands: list[str]
    count: int


class Reason(Struct, frozen=True):
    """Why some would refuse, and how many."""

    reason: str
    count: int


class Refusal(Struct, frozen=True):
    """One that would refuse."""

    saga: str
    key: str
    reason: str


class Target(Struct, frozen=True):
    """A command of a plan."""

    target: str


class First(Struct, frozen=True):
    """The plan for one instance."""

    saga: str
    key: str
    status: str
    status_after: str
    commands: list[Target]
    error: str


class Outlook(Struct, frozen=True):
    """What would happen if it were done now. ``exact`` is False where only statuses were looked
    at, since the code of a saga is not loaded.
    """

    total: int
    would_change: int
    would_refuse: int
    exact: bool
    groups: list[Group]
    reasons: list[Reason]
    refusals: list[Refusal]
    plans: list[First]


class BulkFault(ValueError):
    """What was asked for can't be done; the message says what to change."""


class Bulk(Protocol):
    """Bulk actions of this installation; every method raises Unreachable."""

    async def preview(self, wish: Wish, by: str) -> Outlook:
        """Ask every instance; nothing is done. Raises BulkFault."""
        ...

    async def begin(self, wish: Wish, by: str, origin: str, most: int) -> str:
        """Make the job and begin; its id. Raises BulkFault, also for more than ``most``."""
        ...

    async def get(self, id: str) -> BulkJob | None:
        """A job as it stands, or None."""
        ...

    async def list(self) -> list[BulkJob]:
        """The jobs of the last days, the newest first."""
        ...

    async def cancel(self, job: BulkJob) -> None:
        """Have it end; raises BulkFault when it can't."""
        ...

    async def resume(self, job: BulkJob) -> None:
        """Have it go on; raises BulkFault when it can't."""
        ...
