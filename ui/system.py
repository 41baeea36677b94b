"""What the system page shows that only the serving process knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from store.broker_state import BrokerState
from store.partitions import PartitionState


class Check(Struct, frozen=True):
    """One part of the installation: how it is, in a sentence."""

    name: str
    ok: bool
    words: str


class Setting(Struct, frozen=True):
    """A setting in force, without secrets, and where its value came from."""

    name: str
    value: str
    origin: str
    help: str


class Rebuild(Struct, frozen=True):
    """A rebuild of the projections that runs (``part`` 0 to 1) or has ended (``words`` say how)."""

    part: float | None
    words: str


class System(Struct, frozen=True):
    """What a page asks of the process; ``begin_rebuild`` is None where somebody else projects,
    ``broker`` and ``partitions`` where there is no broker to ask; they raise StoreErrors.
    ``versions`` are of what Snorri stands on, by name.
    """

    version: str
    settings: tuple[Setting, ...]
    checks: Callable[[], Awaitable[tuple[Check, ...]]]
    rebuild: Callable[[], Rebuild | None]
    begin_rebuild: Callable[[], None] | None
    broker: Callable[[], Awaitable[BrokerState]] | None
    partitions: Callable[[], Awaitable[list[PartitionState]]] | None
    versions: Mapping[str, str]
