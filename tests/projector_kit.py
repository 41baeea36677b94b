"""What tests of the projector share: a running one over any backend, and the rows it has made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobs.projector import Projector
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.memory import MemoryBroker
from store.port import Backend
from store.subjects import Names
from tests.unit.store.projected import Story, dump
from tests.waiting import eventually

WITHIN_S = 30.0


class Projecting(NamedTuple):
    """A running projector and its tables."""

    backend: Backend
    projections: DuckProjections
    projector: Projector

    async def caught_up(self) -> None:
        """Wait until all that both streams hold now is applied."""
        ends = [(await self.backend.log.extent(name)).last for name in ("events", "log")]

        def level() -> bool:
            now = self.projections.progress
            return [now.events_seq, now.log_seq] >= ends and now.log_seq >= ends[1]

        await eventually(level, WITHIN_S, f"the projections reaching {ends}")

    def rows(self) -> dict[str, list[Any]]:
        """All rows of the tables that are read."""
        return dump(self.projections.live())


@asynccontextmanager
async def projecting(
    backend: Backend, names: Names, folder: Path, mask: LiveMask | None = None
) -> AsyncGenerator[Projecting]:
    """A projector that follows ``backend`` into ``folder`` and has caught up."""
    projections = DuckProjections(folder, names, mask or LiveMask())
    projector = Projector(backend, projections)
    await projector.start()
    try:
        made = Projecting(backend, projections, projector)
        await made.caught_up()
        yield made
    finally:
        await projector.stop()


async def rows_from_nothing(backend: Backend, names: Names, folder: Path) -> dict[str, list[Any]]:
    """The rows of tables that are built now from all that both streams hold."""
    async with projecting(backend, names, folder) as made:
        return made.rows()


def files(folder: Path) -> list[str]:
    """The names of the files in a folder of projections, without the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


async def retell(broker: MemoryBroker, story: Story) -> None:
    """Put the messages of a story into the streams of a broker, under their own sequences."""
    for stream, messages in ((broker.events, story.events), (broker.log, story.log)):
        for stored in messages:
            stream._messages[stored.seq] = stored
            stream._by_subject.setdefault(stored.subject, []).append(stored.seq)
            stream.last_seq = stored.seq
