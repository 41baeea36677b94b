"""Goal: a backup is whole or none: cut off anywhere it is gone on with, and what does not belong
together is refused.

Method: the memory broker; a disk that is full at the n-th file, files that are altered, removed or
of another backup, and logs that are in the middle of a commit.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from store.archive.catalog import Catalog
from store.archive.reading import Archive
from store.backup.cut import find_cut
from store.backup.manifest import (
    MANIFEST,
    UNFINISHED,
    BackupError,
    ConsumerPlace,
    Manifest,
    chain_of,
    read_manifest,
)
from store.backup.restored import Restored
from store.backup.saving import Saving, Source
from store.backup.segments import SegmentWriter
from store.duck.archive import ParquetSets
from store.maintenance import InMaintenance, maintenance
from store.memory import MemoryBroker
from store.memory.broker import MemoryBackend
from store.port import Outgoing, Stored
from store.subjects import Names

pytestmark = pytest.mark.asyncio

NAMES = Names()


class _Nobody:
    async def places(self) -> tuple[ConsumerPlace, ...]:
        return ()


class _Installation:
    """A broker with messages, backed up into folders of ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.broker = MemoryBroker(NAMES, partitions=2)
        self.backend: MemoryBackend = self.broker.backend()
        self._count = 0

    async def fill(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            await self.backend.door.publish(NAMES.event("Ordered", f"k{self._count}"), b"{}")
            revision = Outgoing(NAMES.instance("S", f"k{self._count}"), b'{"n":1}', (), 0)
            await self.backend.log.commit([revision])

    def saving(self, folder: str, since: str | None = None) -> Saving:
        source = Source(
            backend=self.backend,
            archive=Archive(Catalog(self.home / "archive"), ParquetSets),
            names=NAMES,
            places=_Nobody(),
            program="1",
            server="2",
        )
        before = self.home / since if since else None
        return Saving(source, self.home / folder, before, lambda *_: None)

    async def save(self, folder: str, since: str | None = None) -> Manifest:
        return await self.saving(folder, since).run()


@pytest.fixture
def place(tmp_path: Path) -> _Installation:
    """An empty installation."""
    return _Installation(tmp_path)


def _sequences(folder: Path) -> list[int]:
    restored = Restored(chain_of(folder), ParquetSets())
    restored.check()
    return [stored.seq for stored in restored.messages("events")]


async def test_a_chain_of_backups_has_every_message_once(place: _Installation) -> None:
    await place.fill(5)
    await place.save("one")
    await place.fill(3)
    second = await place.save("two", since="one")
    await place.fill(2)
    await place.save("three", since="two")
    assert sum(s.messages for s in second.segments if s.stream == "events") == 3
    assert _sequences(place.home / "three") == list(range(1, 11))
    assert _sequences(place.home / "two") == list(range(1, 9))


async def test_nothing_new_is_a_backup_too(place: _Installation) -> None:
    await place.fill(2)
    await place.save("one")
    again = await place.save("two", since="one")
    assert again.segments == ()
    assert _sequences(place.home / "two") == [1, 2]


async def test_an_empty_installation_is_backed_up(place: _Installation) -> None:
    manifest = await place.save("one")
    assert (manifest.cut.log, manifest.cut.events) == (0, 0)
    assert _sequences(place.home / "one") == []


async def test_a_run_that_was_cut_off_is_no_backup_and_is_gone_on_with(
    place: _Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.fill(4)

    def full(writer: SegmentWriter, stored: Stored) -> None:
        if stored.subject.startswith("saga.in."):
            raise OSError(28, "No space left on device")
        written(writer, stored)

    written = SegmentWriter.add
    monkeypatch.setattr(SegmentWriter, "add", full)
    with pytest.raises(OSError, match="No space left"):
        await place.save("one")
    monkeypatch.undo()

    folder = place.home / "one"
    assert sorted(path.name for path in folder.iterdir()) == ["log-000001.gz", UNFINISHED]
    with pytest.raises(BackupError, match="was cut off before it was whole"):
        read_manifest(folder)
    await place.fill(2)
    saving = place.saving("one")
    manifest = await saving.run()
    assert saving.resumed
    assert [s.messages for s in manifest.segments] == [4, 2, 6]
    assert not (folder / UNFINISHED).exists()
    assert _sequences(folder) == list(range(1, 7))


async def test_a_folder_with_anything_in_it_is_refused(place: _Installation) -> None:
    await place.save("one")
    with pytest.raises(BackupError, match="holds a whole backup already"):
        await place.save("one")
    (place.home / "mine").mkdir()
    (place.home / "mine" / "letter.txt").touch()
    with pytest.raises(BackupError, match="is not empty"):
        await place.save("mine")


async def test_streams_that_were_made_anew_are_not_gone_on_from(place: _Installation) -> None:
    await place.fill(3)
    await place.save("one")
    another = _Installation(place.home)
    await another.broker.advance(60)
    await another.fill(5)
    with pytest.raises(BackupError, match="can't be gone on from the earlier backup"):
        await another.save("two", since="one")


async def test_a_file_that_was_altered_is_found(place: _Installation) -> None:
    await place.fill(3)
    manifest = await place.save("one")
    file = place.home / "one" / manifest.segments[0].file
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(BackupError, match="its bytes are not those that were written"):
        Restored(chain_of(place.home / "one"), ParquetSets()).check()
    file.unlink()
    with pytest.raises(BackupError, match="No such file"):
        Restored(chain_of(place.home / "one"), ParquetSets()).check()


async def test_a_chain_without_its_beginning_says_what_is_missing(place: _Installation) -> None:
    await place.fill(1)
    first = await place.save("one")
    await place.save("two", since="one")
    (place.home / "one").rename(place.home / "elsewhere")
    assert len(chain_of(place.home / "two")) == 2  # it is found beside the other
    (place.home / "elsewhere" / MANIFEST).unlink()
    with pytest.raises(BackupError, match=first.id):
        chain_of(place.home / "two")


async def test_a_folder_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is no backup"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BackupError, match="can't be read"):
        read_manifest(tmp_path)


async def test_a_cut_is_never_within_a_commit(place: _Installation) -> None:
    middle = (("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "1"))
    await place.backend.log.commit([Outgoing(NAMES.instance("S", "k"), b"{}", middle, 0)])
    with pytest.raises(BackupError, match="ends in the middle of a commit and nothing is added"):
        await find_cut(place.backend, NAMES, patience_s=0.05)
    adding = asyncio.create_task(_add_halves(place, middle))
    with pytest.raises(BackupError, match="no moment between two commits"):
        await find_cut(place.backend, NAMES, patience_s=0.05)
    adding.cancel()
    await asyncio.wait({adding})
    last = (await place.backend.log.extent("log")).last
    end = (*middle, ("Nats-Batch-Commit", "1"))
    await place.backend.log.commit([Outgoing(NAMES.position(0), b'{"events":0}', end, 0)])
    cut = await find_cut(place.backend, NAMES)
    assert cut.log == last + 1
    assert list(cut.positions) == ["0"]


async def _add_halves(place: _Installation, middle: tuple[tuple[str, str], ...]) -> None:
    """Messages from the middle of commits, without end."""
    for number in itertools.count():
        half = Outgoing(NAMES.instance("S", f"half-{number}"), b"{}", middle, 0)
        await place.backend.log.commit([half])
        await asyncio.sleep(0)


async def test_positions_and_schedules_are_not_copied(place: _Installation) -> None:
    await place.fill(1)
    batch = [
        Outgoing(NAMES.position(1), b'{"events":1}', (("Nats-Rollup", "sub"),), 0),
        Outgoing(NAMES.timer("S", "k", "t"), b"{}"),
    ]
    await place.backend.log.commit(batch)
    await place.save("one")
    restored = Restored(chain_of(place.home / "one"), ParquetSets())
    assert [stored.subject for stored in restored.messages("log")] == [NAMES.instance("S", "k1")]
    last = [stored for stored in restored.log()][-1]
    assert (last.subject, last.data) == (NAMES.position(1), b'{"events":1}')
    assert last.seq > restored.manifest.cut.log


async def test_one_at_a_time(place: _Installation) -> None:
    meta = place.backend.meta
    async with maintenance(meta, "snorri backup (here 1)"):
        with pytest.raises(InMaintenance, match=r"snorri backup \(here 1\) is at work"):
            async with maintenance(meta, "snorri archive"):
                pass
    async with maintenance(meta, "snorri archive"):
        await asyncio.sleep(0)
