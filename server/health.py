"""Whether this process can do its work now, and if not, why: what readiness answers.

The checks ask the broker itself, each with a time limit, so the answer is true and never hangs; it
is kept for a second, so probes and dashboards cost no more than one. The words are for anyone who
asks: no addresses, no paths, nothing of an exception's text.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from msgspec import Struct

from server.live.hub import Hub
from store.port import Backend, Denied, StoreError
from store.projection.port import ReadModel
from store.room import RoomReader
from store.subjects import Names

log = logging.getLogger("snorri.health")

KEPT_S = 1.0
CHECK_S = 2.0
PROBE_TTL_S = 60
LAG_S_MAX = 60.0


class Check(Struct, frozen=True):
    """One thing that has to be so: ``detail`` says how it is and, when it is not, what to do."""

    name: str
    ok: bool
    detail: str


class Health(Struct, frozen=True):
    """All checks; ``reasons`` are the details of those that failed."""

    ready: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]


class Readiness:
    """Looks at the parts of one process; those that it does not have are None."""

    def __init__(
        self,
        backend: Backend,
        names: Names,
        *,
        read: ReadModel | None = None,
        live: Hub | None = None,
        healthy: Callable[[], Awaitable[bool]] | None = None,
        engines: bool = True,
        room: RoomReader | None = None,
    ) -> None:
        """``engines``: whether there should be some."""
        self._has_engines = engines
        self._backend = backend
        self._names = names
        self._read = read
        self._live = live
        self._healthy = healthy
        self._probe = f"probe.{secrets.token_hex(6)}"
        self._room = room or RoomReader(backend.meta)
        self._last: Health | None = None
        self._asked_s = 0.0
        self._lock = asyncio.Lock()

    async def look(self) -> Health:
        """How it is now, at most a second old; never raises."""
        async with self._lock:
            now_s = asyncio.get_running_loop().time()
            if self._last is None or now_s - self._asked_s > KEPT_S:
                self._last = await self._look()
                self._asked_s = now_s
            return self._last

    async def _look(self) -> Health:
        checks: list[Check] = []
        if not self._backend.connected:
            detail = "there is no connection to NATS; it comes back by itself when NATS does"
            checks.append(Check("nats", False, detail))
        else:
            checks.append(Check("nats", True, "connected"))
            asked = [("streams", self._streams), ("store", self._store)]
            asked.append(("room", self._space))
            if self._has_engines:
                asked.append(("engines", self._engines))
            checks += await asyncio.gather(*(_guarded(name, check) for name, check in asked))
        if self._read is not None:
            checks.append(_projections(self._read))
        if self._live is not None:
            is_open = self._live.is_open
            detail = "open" if is_open else "the live view does not run; see this process's log"
            checks.append(Check("live", is_open, detail))
        reasons = tuple(f"{check.name}: {check.detail}" for check in checks if not check.ok)
        return Health(not reasons, reasons, tuple(checks))

    async def _streams(self) -> Check:
        """The leaders of both streams answer."""
        log_port = self._backend.log
        await asyncio.gather(log_port.read(self._names.position(0)), log_port.at("events", 1))
        return Check("streams", True, "their leaders answer")

    async def _store(self) -> Check:
        """Something can be stored; a full disk is told by nothing else."""
        if self._healthy is not None and not await self._healthy():
            detail = "nats-server says it is not healthy; see its log and the space on its disk"
            return Check("store", False, detail)
        await self._backend.meta.put(self._probe, b"1", ttl_s=PROBE_TTL_S)
        return Check("store", True, "writable")

    async def _space(self) -> Check:
        """Whether new sagas are taken. It can work either way, so it stays ready."""
        full = await self._room.look()
        return Check("room", True, full.words if full is not None else "new sagas are taken")

    async def _engines(self) -> Check:
        """Every partition has an engine."""
        leases = await self._backend.meta.entries("lease.")
        held = {lease.key.partition(".")[2] for lease in leases}
        missing = [str(n) for n in range(self._backend.partitions) if str(n) not in held]
        if not missing:
            return Check("engines", True, f"all {self._backend.partitions} partitions have one")
        which = ", ".join(missing)
        return Check("engines", False, f"partitions without one: {which}; start `snorri engine`")


async def _guarded(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return Check(name, False, "no answer in time; run `snorri doctor`")
    except Denied:
        return Check(name, True, "not for this user of NATS to see")  # nor to need: a worker
    except StoreError as error:
        log.warning("not ready, %s: %s", name, error)
        return Check(name, False, "the broker refused or did not answer; run `snorri doctor`")


def _projections(read: ReadModel) -> Check:
    """They follow the streams closely enough to be shown."""
    progress = read.progress
    if progress.fault:
        return Check("projections", False, "they stand still; see this process's log")
    far = f"{progress.lag} messages, {progress.lag_s:.1f} s behind"
    if progress.lag_s > LAG_S_MAX:
        return Check("projections", False, f"{far}; lists are old until they catch up")
    if progress.rebuilding is not None:
        far = f"{far}; a rebuild is at {progress.rebuilding:.0%}"
    return Check("projections", True, far)
