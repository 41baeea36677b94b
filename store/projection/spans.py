"""What was recorded, counted in spans of time; each row is counted once and remembered.

Spans stand on a fixed grid (whole multiples of their width since 1970), so that two looks at the
same window speak of the same spans. Tables that only grow are counted so: every row has the tick of
the batch that wrote it, and a look counts the rows that came after those of the look before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from msgspec import Struct

from store.projection.port import ReadModel

EPOCH = datetime.fromtimestamp(0, UTC)
KEPT_MAX = 32


class Row(Struct, frozen=True, kw_only=True):
    """What some rows of a table have in one span."""

    from_at: datetime


R = TypeVar("R", bound=Row)
T = TypeVar("T")


class Counted(Struct, Generic[R, T], frozen=True, kw_only=True):
    """What is counted of a ``table`` that only grows, by the time in its column ``at``: in each
    span, for each value of each of ``by`` on its own, the ``figures``; both are columns as SQL.

    A ``row`` has None for those of ``by`` that it is not about. Of the table those ``where`` count.
    ``plus`` makes a new tally of one and what rows add to it.
    """

    table: str
    at: str
    by: Mapping[str, str]
    figures: Mapping[str, str]
    row: type[R]
    plus: Callable[[T | None, Sequence[R]], T]
    where: str = "true"

    @property
    def query(self) -> str:
        """Of the rows with a tick above ``$after`` up to ``$until``, in spans of ``$width_us``."""
        # Times as whole numbers: the same with intervals takes three times as long.
        span = f"(epoch_us({self.at}) - epoch_us($since)) // $width_us AS span"
        columns = [f"{sql} AS {name}" for name, sql in {**self.by, **self.figures}.items()]
        sets = ", ".join(f"(span, {name})" for name in self.by)
        return f"""
            SELECT $since + to_microseconds(span * $width_us) AS from_at, * EXCLUDE span
            FROM (
                SELECT {span}, {", ".join(columns)} FROM {self.table}
                WHERE tick > $after AND tick <= $until AND {self.at} >= $since AND {self.where}
                GROUP BY GROUPING SETS ({sets})
            )
        """  # noqa: S608 - our names


class _News(Struct, frozen=True):
    """``total`` rows there are, and how many are new."""

    total: int
    new: int
    tick: int | None


class _Kept(Struct, Generic[T], frozen=True):
    """The spans since a moment as the first ``total`` rows tell, up to those of ``tick``."""

    since: datetime
    tick: int
    total: int
    tallies: Mapping[datetime, T]  # by where their spans begin


def grid(now: datetime, width: timedelta, spans: int) -> datetime:
    """Where the first of so many spans begins, the last of which holds ``now``."""
    return now - (now - EPOCH) % width - width * (spans - 1)


class Spans(Generic[R, T]):
    """Remembers what it counted; one for a process, asked within its event loop."""

    def __init__(self, read: ReadModel, counted: Counted[R, T]) -> None:
        self._read = read
        self._counted = counted
        self._kept: dict[Hashable, _Kept[T]] = {}
        self._applied = 0

    async def since(
        self, since: datetime, width: timedelta, about: Mapping[str, str] | None = None
    ) -> list[tuple[datetime, T]]:
        """The spans of ``width`` since then that are not empty, each with its tally.

        ``since`` is on the grid; ``about`` are more parameters of the query. Raises ReadError.
        """
        self._doubt()
        memory = self._kept  # what is doubted meanwhile is not written into what follows it
        about = about or {}
        name = (width, *sorted(about.items()))
        kept = memory.get(name)
        if kept is None or since < kept.since:
            kept = _Kept[T](since, -1, 0, {})
        news = await self._news(kept.tick)
        if news.total - news.new != kept.total:  # these are other tables
            kept = _Kept[T](since, -1, 0, {})
            news = await self._news(kept.tick)
        known = {at: tally for at, tally in kept.tallies.items() if at >= since}
        if news.tick is not None:
            width_us = width // timedelta(microseconds=1)
            values = {**about, "since": since, "width_us": width_us}
            values |= {"after": kept.tick, "until": news.tick}
            known = self._added(
                known, await self._read.fetch(self._counted.query, values, self._counted.row)
            )
        if len(memory) >= KEPT_MAX:
            memory.clear()
        tick = kept.tick if news.tick is None else news.tick
        memory[name] = _Kept(since, tick, news.total, known)
        return sorted(known.items())

    async def _news(self, tick: int) -> _News:
        table = self._counted.table
        sql = (
            f"SELECT (SELECT count(*) FROM {table}) AS total, count(*) AS new, max(tick) AS tick"  # noqa: S608 - our names
            f" FROM {table} WHERE tick > $tick"
        )
        [found] = await self._read.fetch(sql, {"tick": tick}, _News)
        return found

    def _added(self, tallies: Mapping[datetime, T], rows: Sequence[R]) -> dict[datetime, T]:
        """These and what the rows say, as new ones: another look may be at work with the old."""
        by_span: defaultdict[datetime, list[R]] = defaultdict(list)
        for row in rows:
            by_span[row.from_at].append(row)
        new = {at: self._counted.plus(tallies.get(at), some) for at, some in by_span.items()}
        return {**tallies, **new}

    def _doubt(self) -> None:
        """Forget everything when the tables may be others than before."""
        progress = self._read.progress
        if progress.log_seq < self._applied or progress.rebuilding is not None:
            self._kept = {}
        self._applied = progress.log_seq
