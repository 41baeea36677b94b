"""Goal: an archive is made whole or gone on with, wherever it is cut off, and what must stay stays.

Method: the memory broker with lives of chained documents and their commands. A run is cut off at
each of its calls that change anything, one after the other; the next run ends it, and what the log
with its archive holds is the same as before, message by message. Subjects that instances share,
parents that run, chains that are broken and archives of others are tried one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sagas.instance import document_hash
from store import codec
from store.archive.archiving import Archived, Archiving, Source
from store.archive.catalog import ArchiveError, Catalog
from store.archive.choosing import PARENT_RUNS, Rule
from store.archive.reading import Archive
from store.archive.spanning import Spanning
from store.archive.survey import DAMAGED, ELSEWHERE, OPEN
from store.backup.manifest import ConsumerPlace
from store.backup.reading import Reading
from store.duck.archive import ParquetSets
from store.memory import MemoryBroker
from store.memory.broker import MemoryBackend
from store.port import Committed, Outgoing, Stored
from store.subjects import Names, escape

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

NAMES = Names()
OLD = Rule(all_s=0.0)


class _Crash(Exception):
    """The process is gone."""


class _Place:
    """An installation, its archive in a folder, and workers that have acknowledged everything."""

    def __init__(self, home: Path) -> None:
        self.broker = MemoryBroker(NAMES, partitions=2)
        self.backend: MemoryBackend = self.broker.backend()
        self.folder = home / "archive"
        self.acknowledged = 10**9
        self._last: dict[str, tuple[int, str]] = {}

    async def places(self) -> tuple[ConsumerPlace, ...]:
        config = {"filter_subject": NAMES.command_filter("pay")}
        return (ConsumerPlace(name="pay", config=config, delivered=0, stream=self.acknowledged),)

    @property
    def archive(self) -> Archive:
        return Archive(Catalog(self.folder), ParquetSets)

    @property
    def whole(self) -> Spanning:
        return Spanning(self.backend, self.archive, NAMES)

    async def run(self, rule: Rule = OLD, archive: Archive | None = None) -> Archived:
        source = Source(
            backend=self.backend,
            names=NAMES,
            places=self,
            program="1",
            now_ns=self.broker.clock.now_ns,
        )
        archive = archive or self.archive
        return await Archiving(source, archive, ParquetSets(), rule, lambda *_: None).run()

    async def step(self, saga: str, key: str, status: str = "running", **more: Any) -> None:
        """Another version of an instance, with a command."""
        subject = NAMES.instance(saga, key)
        version, prev = self._last.get(subject, (0, ""))
        document = {
            **{"saga": saga, "key": key, "version": version + 1, "status": status},
            **{"prev": prev, "state": {"at": version}, **more},
        }
        data = msgspec.json.encode(document)
        self._last[subject] = (version + 1, document_hash(data))
        headers = (
            (codec.COMMAND_ID, f"{saga}.{version}"),
            (codec.SAGA, escape(saga)),
            (codec.KEY, escape(key)),
        )
        command = Outgoing(NAMES.command("pay", key), b'{"n":1}', headers)
        outcome = await self.backend.log.commit([Outgoing(subject, data), command])
        assert isinstance(outcome, Committed)

    async def live(self, saga: str, key: str, steps: int = 3, status: str = "completed") -> None:
        """A whole life, ended."""
        for _ in range(steps - 1):
            await self.step(saga, key)
        await self.step(saga, key, status)

    async def all(self, backend: Any, goal: int) -> list[Stored]:
        reading = Reading(backend.feeds, "log", 0, goal)
        found: list[Stored] = []
        while not reading.done:
            found += await reading.take()
        await reading.close()
        return found

    async def held(self, goal: int) -> list[Stored]:
        """What the log has up to a sequence, with its archive."""
        return [one for one in await self.all(self.whole, goal) if one.seq <= goal]

    async def left(self, saga: str, key: str) -> tuple[int, int]:
        """How many versions and commands the log still has."""
        revisions = [m async for m in self.backend.log.history(NAMES.instance(saga, key))]
        commands = [m async for m in self.backend.log.history(NAMES.command("pay", key))]
        return len(revisions), len(commands)


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    return _Place(tmp_path)


def _failing_at(
    call: int, monkeypatch: pytest.MonkeyPatch, place: _Place, archive: Archive
) -> None:
    """Let the run crash before or after its ``call``-th change, half of them each."""
    count = 0

    def around(target: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(target, name)

        def due() -> bool:
            nonlocal count
            count += 1
            return count == call

        async def later(*arguments: Any) -> Any:
            if due():
                raise _Crash
            result = await real(*arguments)
            if due():
                raise _Crash
            return result

        def now(*arguments: Any) -> Any:
            if due():
                raise _Crash
            result = real(*arguments)
            if due():
                raise _Crash
            return result

        monkeypatch.setattr(
            target, name, later if asyncio.iscoroutinefunction(real) else now, raising=True
        )

    around(place.backend.log, "purge")
    around(place.backend.log, "commit")
    around(archive.catalog, "add")
    around(archive.catalog, "mark_purged")


async def test_cut_off_anywhere_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = 0
    crashed = True
    while crashed:
        call += 1
        place = _Place(tmp_path / str(call))
        await place.live("Order", "o-1")
        await place.live("Order", "o-2", 2, "failed")
        await place.live("Order", "runs", status="running")
        goal = (await place.backend.log.extent("log")).last
        before = await place.all(place.backend, goal)
        archive = place.archive
        with monkeypatch.context() as patched:
            _failing_at(call, patched, place, archive)
            try:
                await place.run(archive=archive)
                crashed = False
            except _Crash:
                pass
        assert await place.held(goal) == before, call
        await place.run()
        assert await place.held(goal) == before, call
        [one] = place.archive.catalog.sets()
        assert one.instances == 2
        assert await place.left("Order", "o-1") == (1, 0), call
        assert await place.left("Order", "o-2") == (1, 0), call
        assert await place.left("Order", "runs") == (3, 3), call
        left = sorted(path.suffix for path in place.folder.iterdir())
        assert left == [".json", ".parquet", ".parquet", ".purged"], call
    assert call > 10


async def test_commands_of_instances_that_share_a_subject_go_together(place: _Place) -> None:
    await place.live("Order", "k")
    await place.live("Bill", "k", status="running")
    assert (await place.run()).instances == 1
    assert await place.left("Order", "k") == (1, 6)
    await place.step("Bill", "k", "failed")
    goal = (await place.backend.log.extent("log")).last
    before = await place.all(place.whole, goal)
    assert (await place.run()).instances == 1
    assert await place.left("Order", "k") == (1, 0)
    assert await place.left("Bill", "k") == (1, 0)
    assert await place.held(goal) == before


async def test_what_no_worker_acknowledged_stays(place: _Place) -> None:
    await place.live("Order", "first")
    place.acknowledged = (await place.backend.log.extent("log")).last
    await place.live("Order", "second")
    done = await place.run()
    assert (done.instances, done.left) == (1, {OPEN: 1})
    assert await place.left("Order", "second") == (3, 3)
    place.acknowledged += 100
    assert (await place.run()).left == {}


async def test_children_of_a_parent_that_runs_stay(place: _Place) -> None:
    await place.live("Trip", "t", status="running")
    parent = {"parent": {"saga": "Trip", "key": "t"}}
    await place.step("Hotel", "h", "running", **parent)
    await place.step("Hotel", "h", "completed", **parent)
    done = await place.run()
    assert (done.instances, done.left) == (0, {PARENT_RUNS: 1})
    await place.step("Trip", "t", "completed")
    assert (await place.run()).instances == 2


async def test_a_broken_chain_stays_where_it_can_be_looked_at(place: _Place) -> None:
    await place.live("Order", "whole")
    await place.step("Order", "altered")
    place._last[NAMES.instance("Order", "altered")] = (1, "another hash")
    await place.step("Order", "altered", "completed")
    done = await place.run()
    assert (done.instances, done.left) == (1, {DAMAGED: 1})
    assert await place.left("Order", "altered") == (2, 2)


async def test_what_another_archive_has_the_beginning_of_stays(place: _Place) -> None:
    await place.live("Order", "k")
    await place.run()
    await place.step("Order", "k", "compensated")
    other = Archive(Catalog(place.folder.with_name("other")), ParquetSets)
    done = await place.run(archive=other)
    assert (done.instances, done.left) == (0, {ELSEWHERE: 1})
    assert (await place.run()).instances == 1


async def test_the_archive_of_another_log_removes_nothing(place: _Place, tmp_path: Path) -> None:
    other = _Place(tmp_path / "other")
    await other.live("Order", "k", 4)
    await other.run()
    await place.live("Order", "k", 3)
    await place.live("Order", "more", 3)
    for mark in other.folder.glob("*.purged"):
        mark.unlink()
    before = await place.all(place.backend, 12)
    with pytest.raises(ArchiveError, match="is not of this log"):
        await place.run(archive=other.archive)
    assert (await place.all(place.backend, 12))[:12] == before[:12]


async def test_definitions_say_how_long(place: _Place) -> None:
    await place.live("Order", "k")
    await place.live("Bill", "k2")
    await place.broker.advance(100.0)
    rule = Rule(by_saga={"Order": 50.0, "Bill": 1000.0})
    done = await place.run(rule)
    assert done.by_saga == {"Order": 1}
    assert (await place.run(Rule(by_saga={}))).instances == 0


async def test_files_that_were_altered_remove_nothing(place: _Place) -> None:
    await place.live("Order", "k")
    await place.run()
    [one] = place.archive.catalog.sets()
    (place.folder / f"{one.id}.purged").unlink()
    (place.folder / one.subjects_file.file).write_bytes(b"PAR1")
    with pytest.raises(ArchiveError, match="its bytes are not those"):
        await place.run()
