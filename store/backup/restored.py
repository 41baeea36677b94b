"""What a restored installation holds: the messages of a chain of backups, and what follows from
them.

Messages keep their sequences and times. Behind the last of them come the positions of the cut. Each
timer that an instance has set is armed anew: one that fell due meanwhile fires at once. A timer
whose message was stored and not handled yet may so come twice; its instance takes it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from sagas.instance import decode
from store.archive.catalog import ArchivedSet, Catalog
from store.archive.merging import Past, merged
from store.archive.port import SetFiles
from store.backup.manifest import ARCHIVE, BackupError, Manifest, Segment
from store.backup.segments import damages, read_segment
from store.codec import ROLLUP
from store.outbox import armed
from store.port import Outgoing, Stored, StreamName
from store.subjects import Names

POSITION = {ROLLUP: "sub"}


class Restored:
    """The messages of a chain of backups, the first one first; ``store.backup.manifest.chain_of``
    finds it.
    """

    def __init__(
        self,
        chain: list[tuple[Path, Manifest]],
        files: SetFiles,
        until: datetime | None = None,
    ) -> None:
        """``files`` reads what was archived. With ``until`` what was stored later is left out, and
        the positions with it: such a log is for looking at, no engine can go on from it.
        """
        self._chain = chain
        self._files = files
        self._until_ns = 2**63 if until is None else int(until.timestamp() * 1e9)
        self._has_positions = until is None
        self.manifest = chain[-1][1]
        self.names = Names(self.manifest.namespace, self.manifest.bucket)
        self._at_ns = 0  # of the last message of the log
        self._timers: dict[str, tuple[Outgoing, ...]] = {}  # by the subject of the instance

    @property
    def segments(self) -> list[Segment]:
        """The files of the whole chain, those of a stream in its order."""
        return [segment for _, manifest in self._chain for segment in manifest.segments]

    def check(self) -> None:
        """Raise BackupError when a file is not what its manifest says."""
        for folder, manifest in self._chain:
            for damage in damages(folder, manifest.segments):
                raise BackupError(f"{damage}; use another backup")
        for one in self.manifest.archive:
            for damage in Catalog(self.archive_of(one)).damages(one):
                raise BackupError(f"{damage}; use another backup")

    def archive_of(self, one: ArchivedSet) -> Path:
        """The folder that has the files of an archived set; raises BackupError."""
        for folder, _ in self._chain:
            if (folder / ARCHIVE / one.messages_file.file).exists():
                return folder / ARCHIVE
        raise BackupError(
            f"no backup of the chain has the archived set {one.id}; use another backup"
        )

    def past(self) -> Past:
        """All that is archived; raises BackupError, ArchiveError."""

        def read(one: ArchivedSet, after: int) -> Iterator[Sequence[Stored]]:
            return self._files.messages(self.archive_of(one), one, after)

        return Past(merged(read, self.manifest.archive))

    def whole(self) -> Iterator[Stored]:
        """The log's messages with what was archived of them, in order; raises BackupError,
        ArchiveError.
        """
        past = self.past()
        for stored in self.messages("log"):
            yield from (one for one in past.before(stored.seq) if one.at_ns <= self._until_ns)
            yield stored
        yield from (one for one in past.rest() if one.at_ns <= self._until_ns)

    def messages(self, stream: StreamName) -> Iterator[Stored]:
        """What the segments have of a stream, in order; raises BackupError."""
        last = 0
        for folder, manifest in self._chain:
            for segment in manifest.segments:
                if segment.stream != stream:
                    continue
                for stored in read_segment(folder, segment):
                    if stored.seq <= last:
                        raise BackupError(
                            f"{folder / segment.file} does not follow the files before it; "
                            "use another backup"
                        )
                    last = stored.seq
                    if stored.at_ns > self._until_ns:
                        return
                    yield stored

    def log(self, *, whole: bool = False) -> Iterator[Stored]:
        """All messages of the restored log; with ``whole`` also what was archived of it."""
        instances = f"$KV.{self.names.bucket}.i."
        self._timers.clear()
        for stored in self.whole() if whole else self.messages("log"):
            self._at_ns = max(self._at_ns, stored.at_ns)
            if stored.subject.startswith(instances):
                self._note_timers(stored)
            yield stored
        if not self._has_positions:
            return
        seq = self.manifest.cut.log
        for number, document in self.manifest.cut.positions.items():
            seq += 1
            plain = msgspec.json.format(document, indent=-1)  # the manifest is written for people
            yield Stored(self.names.position(int(number)), seq, self._at_ns, plain, POSITION)

    def timers(self) -> Iterator[Outgoing]:
        """All timers that are set, once ``log`` has come to its end."""
        for timers in self._timers.values():
            yield from timers

    def _note_timers(self, stored: Stored) -> None:
        self._timers.pop(stored.subject, None)
        if b'"timers":{' not in stored.data:
            return
        instance = decode(stored.data)
        if instance.timers:
            timers = tuple(armed(self.names, instance, id) for id in instance.timers)
            self._timers[stored.subject] = timers
