"""What an engine knows of instances: their last documents with their revisions, the least used let
go first.

An entry may run ahead of the log while its commit is on the way; when a commit fails its entries
are forgotten and loaded again. The cache is never an authority: the expected revision of each write
is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

import msgspec
from msgspec import structs

from sagas.errors import IllegalTransition
from sagas.instance import SEEN_MAX, Instance, decode, document_hash
from sagas.kernel import Snapshot
from store.port import Stored

log = logging.getLogger("snorri.engine")

ENTRIES_MAX = 20_000
BYTES_MAX = 96 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 2500  # an instance decoded takes about this beside its document
STANDING_MAX = 256  # functions of workflows kept where they wait; others run from their start


class Entry:
    """An instance as this engine knows it.

    ``revision`` is its last sequence in the log, 0 when it has none.

    ``fault`` says why its document can't be read; ``ids`` are the message ids of its whole history,
    when they were needed and loaded.
    """

    __slots__ = ("fault", "ids", "orphan", "own", "revision", "size", "snapshot", "subject", "sure")

    def __init__(self, subject: str, snapshot: Snapshot, revision: int, size: int) -> None:
        self.subject = subject
        self.snapshot = snapshot
        self.revision = revision
        self.size = size
        self.fault = ""
        self.ids: set[str] | None = None
        self.sure = False  # read from the leader, or written by this engine since
        self.orphan = False  # newer code wrote it, and no engine that has that code is left
        self.own = False  # this engine wrote it last

    def learn(self, before: Instance | None) -> None:
        """Keep the id that the present snapshot has taken in after ``before``.

        The ids of the whole history are known without reading it when the window was seen to fill.
        """
        after = self.snapshot.instance
        seen = after.seen if after else ()
        if self.ids is not None:
            self.ids.update(seen[-1:])
        elif len(seen) >= SEEN_MAX and (before is None or len(before.seen) < SEEN_MAX):
            self.ids = set(seen)


class Cache:
    """Entries by subject, bounded by count and by bytes."""

    def __init__(self, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._standing: OrderedDict[str, Entry] = OrderedDict()
        self.look = self._entries.get  # the same as ``get``, and its use is not noted

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, subject: str) -> Entry | None:
        """The entry of a subject, now the most recently used, or None."""
        entry = self._entries.get(subject)
        if entry is not None:
            self._entries.move_to_end(subject)
        return entry

    def put(self, key: str, subject: str, stored: Stored | None, *, sure: bool = False) -> Entry:
        """Keep what was loaded: a stored document, or None for an instance that does not exist.

        ``sure`` when the leader said so, and not a replica that may be behind.
        """
        if stored is None or not stored.data:
            entry = Entry(subject, Snapshot(key), stored.seq if stored else 0, 0)
        else:
            entry = self._decoded(key, subject, stored)
        entry.sure = sure
        self.drop(subject)
        self._entries[subject] = entry
        self._bytes += entry.size + ENTRY_OVERHEAD_BYTES
        return entry

    def _decoded(self, key: str, subject: str, stored: Stored) -> Entry:
        try:
            instance = decode(stored.data)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
            IllegalTransition,
        ) as error:
            entry = Entry(subject, Snapshot(key), stored.seq, len(stored.data))
            entry.fault = f"its stored document can't be read: {error}"
            return entry
        snapshot = Snapshot(key, instance, document_hash(stored.data))
        return Entry(subject, snapshot, stored.seq, len(stored.data))

    def changed(self, entry: Entry, size: int) -> None:
        """Account for a new document of an entry, and for its snapshot, which may hold a function
        where it waits.
        """
        if self._entries.get(entry.subject) is entry:
            self._bytes += size - entry.size
        entry.size = size
        self._standing.pop(entry.subject, None)
        if entry.snapshot.standing is None:
            return
        self._standing[entry.subject] = entry
        if len(self._standing) > STANDING_MAX:
            _, oldest = self._standing.popitem(last=False)
            oldest.snapshot = structs.replace(oldest.snapshot, standing=None)

    def drop(self, subject: str) -> None:
        """Forget a subject."""
        self._standing.pop(subject, None)
        entry = self._entries.pop(subject, None)
        if entry is not None:
            self._bytes -= entry.size + ENTRY_OVERHEAD_BYTES

    @property
    def full(self) -> bool:
        """Whether a bound is passed."""
        return len(self._entries) > self._entries_max or self._bytes > self._bytes_max

    def trim(self, keep: set[str]) -> None:
        """Let the least used go until the bounds hold.

        ``keep`` are subjects of commits that are on their way.
        """
        while self.full:
            subject = next(iter(self._entries))
            if subject in keep:
                break
            self.drop(subject)


def ids_in(stored: Stored) -> tuple[str, ...]:
    """The message ids that a stored revision remembers; none when it can't be read."""
    try:
        return decode(stored.data).seen if stored.data else ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IllegalTransition):
        log.warning("%s, revision %d can't be read for its ids", stored.subject, stored.seq)
        return ()
