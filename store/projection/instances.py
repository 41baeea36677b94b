"""Pages of instances, by last change, out of the projections.

A page goes on from a sequence, so it stays right while rows arrive: an instance that changes moves
to the front and is neither shown twice nor lost in between. The search reads windows of sequences
from the place on, each larger than the one before, until the page is full. Where it has to read the
text of states it also stops when its time is up, says how far it came, and the next page goes on
from there: a search of any size answers in time and never pretends to be complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType

from store.projection.filters import InstanceFilter, condition, key_condition
from store.projection.port import ReadModel
from store.projection.where import Where

Order: TypeAlias = Literal["newest", "oldest"]

WINDOW = 10_000  # sequences of the first window: some thousand instances
GROWTH = 64
STATE_GROWTH = 8  # where states are read, which takes a hundred times longer
BUDGET_S = 0.06
BUDGET_S_MAX = 5.0
NEAR_ROWS = 10_000
NEAR_MIN = 0.8
_WORTH_S = 0.004  # less time than this is not worth another window

_COLUMNS = (
    "saga, key, version, status, own_status, started_at, changed_at, ended_at, status_since, seq,"
    " error_type, error_message, definition, trace, parent_saga, parent_key, cause_kind,"
    " cause_type, open_commands, open_timers, open_children, backlog"
)


class InstanceRow(Struct, frozen=True, kw_only=True):
    """A row of ``instances``; ``state`` and ``result`` only when asked for."""

    saga: str
    key: str
    version: int
    status: str
    own_status: str | None
    started_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    status_since: datetime
    seq: int
    error_type: str | None
    error_message: str | None
    definition: str
    trace: str
    parent_saga: str | None
    parent_key: str | None
    cause_kind: str
    cause_type: str
    open_commands: int
    open_timers: int
    open_children: int
    backlog: int
    state: Raw | UnsetType = UNSET
    result: Raw | UnsetType | None = UNSET


class Found(Struct, frozen=True, kw_only=True):
    """A page: ``next`` is the sequence to go on from, None at the end. When not ``complete`` the
    time was up before the page was full, and everything up to ``through`` has been searched.
    """

    rows: list[InstanceRow]
    next: int | None
    complete: bool
    through: int


class _Extent(Struct, frozen=True):
    low: int | None
    high: int | None


class _Key(Struct, frozen=True):
    key: str


class _Count(Struct, frozen=True):
    saga: str
    status: str
    count: int


async def find_instances(
    read: ReadModel,
    filter: InstanceFilter,
    *,
    limit: int,
    place: int | None = None,
    order: Order = "newest",
    with_state: bool = False,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """The instances behind ``place`` (None: from the beginning of the order); raises ReadError."""
    started_s = clock()
    extent = await _extent(read, filter)
    if extent.low is None or extent.high is None:
        return Found(rows=[], next=None, complete=True, through=0)
    windows = _Windows(extent.low, extent.high, place, order, filter.reads_state)
    sql, values = _page_sql(filter, order, with_state)
    rows: list[InstanceRow] = []
    while (window := windows.next()) is not None:
        wanted = limit + 1 - len(rows)
        bounds = {"low": window[0], "high": window[1], "wanted": wanted}
        rows += await read.fetch(sql, {**values, **bounds}, InstanceRow)
        if len(rows) > limit:
            last = rows[limit - 1].seq
            return Found(rows=rows[:limit], next=last, complete=True, through=last)
        if filter.reads_state:
            left_s = budget_s - (clock() - started_s)
            windows.pace(clock() - started_s, left_s)
            if left_s < _WORTH_S and not windows.exhausted:
                through = windows.through
                return Found(rows=rows, next=through, complete=False, through=through)
    return Found(rows=rows, next=None, complete=True, through=windows.through)


class _Windows:
    """The windows of sequences a search reads one after the other, both ends inclusive."""

    def __init__(
        self, low: int, high: int, place: int | None, order: Order, reads_state: bool
    ) -> None:
        self._newest = order == "newest"
        self._low, self._high = low, high
        if place is not None and self._newest:
            self._high = min(high, place - 1)
        elif place is not None:
            self._low = max(low, place + 1)
        self._growth = STATE_GROWTH if reads_state else GROWTH
        self._width = WINDOW
        self._searched = 0
        self.through = self._high + 1 if self._newest else self._low - 1

    @property
    def exhausted(self) -> bool:
        """Whether everything has been searched."""
        return self._low > self._high

    def next(self) -> tuple[int, int] | None:
        """The next window, or None at the end."""
        if self.exhausted:
            return None
        width = self._width
        self._width *= self._growth
        self._searched += width
        if self._newest:
            low, high = max(self._low, self._high - width + 1), self._high
            self._high, self.through = low - 1, low
        else:
            low, high = self._low, min(self._high, self._low + width - 1)
            self._low, self.through = high + 1, high
        return low, high

    def pace(self, taken_s: float, left_s: float) -> None:
        """Make the next window no larger than what the time left allows at the pace so far."""
        pace = self._searched / max(taken_s, 1e-6)
        self._width = max(1, min(self._width, int(pace * max(left_s, _WORTH_S) * 0.8)))


async def count_instances(read: ReadModel, saga: str = "") -> dict[str, dict[str, int]]:
    """How many instances each saga (or one) has in each status; raises ReadError."""
    where = Where()
    where.equal("saga", saga)
    sql = f"SELECT saga, status, count(*) AS count FROM instances WHERE {where.sql} GROUP BY ALL"  # noqa: S608
    found: dict[str, dict[str, int]] = {}
    for row in await read.fetch(sql, where.parameters, _Count):
        found.setdefault(row.saga, {})[row.status] = row.count
    return found


async def page_of_keys(read: ReadModel, saga: str, after: str, limit: int) -> list[str]:
    """Keys of a saga that come after ``after`` by their bytes, in order; raises ReadError."""
    parameters = {"saga": saga, "after": after, "limit": limit}
    return [row.key for row in await read.fetch(_KEYS, parameters, _Key)]


_KEYS = """
SELECT key FROM instances WHERE saga = $saga AND key > $after ORDER BY key LIMIT $limit
"""


async def near_keys(read: ReadModel, saga: str, key: str, limit: int) -> list[str]:
    """Keys of a saga that come near to ``key``, the nearest first; raises ReadError.

    Only the instances that changed last are looked at, so that the answer is quick.
    """
    parameters = {"saga": saga, "key": key, "newest": NEAR_ROWS, "near": NEAR_MIN, "limit": limit}
    return [row.key for row in await read.fetch(_NEAR, parameters, _Key)]


_NEAR = """
SELECT key FROM (SELECT key FROM instances WHERE saga = $saga ORDER BY seq DESC LIMIT $newest)
WHERE jaro_winkler_similarity(lower(key), lower($key)) >= $near
ORDER BY jaro_winkler_similarity(lower(key), lower($key)) DESC, key LIMIT $limit
"""


async def _extent(read: ReadModel, filter: InstanceFilter) -> _Extent:
    """Between which sequences anything can match, as far as that is quickly told."""
    where = Where()
    key_condition(filter, where)
    where.between("changed_at", filter.since, filter.until)
    sql = f"SELECT min(seq) AS low, max(seq) AS high FROM instances WHERE {where.sql}"  # noqa: S608
    return (await read.fetch(sql, where.parameters, _Extent))[0]


def _page_sql(
    filter: InstanceFilter, order: Order, with_state: bool
) -> tuple[str, Mapping[str, object]]:
    """The query of one window; ``$low``, ``$high`` and ``$wanted`` are its own."""
    where = condition(filter)
    columns = f"{_COLUMNS}, state, result" if with_state else _COLUMNS
    direction = "DESC" if order == "newest" else "ASC"
    sql = (
        f"SELECT {columns} FROM instances WHERE seq BETWEEN $low AND $high AND {where.sql}"  # noqa: S608
        f" ORDER BY seq {direction} LIMIT $wanted"
    )
    return sql, where.parameters
