"""The record of a run, read: histories, commands, signals, timers, positions, notes, dead letters,
and which messages each commit took in. Nothing here judges.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, NamedTuple

import msgspec

from jobs.intake import Reader
from sagas import Registry
from sagas.instance import Instance, decode
from sagas.messages import Cause
from store import codec
from store.codec import DeadLetter, Envelope, Note, Notes, Position
from store.memory import MemoryBroker
from store.port import Stored
from store.schedules import SCHEDULE, SCHEDULER
from tests.simulation.ledger import Ledger
from tests.simulation.record import Commit, Record

Name = tuple[str, str]
Stream = Literal["events", "log"]
_position = msgspec.json.Decoder(Position).decode
_envelope = msgspec.json.Decoder(Envelope).decode
_notes = msgspec.json.Decoder(Notes).decode
_letter = msgspec.json.Decoder(DeadLetter).decode


class Revision(NamedTuple):
    """A version of an instance: where it is stored and what it says."""

    commit: int
    seq: int
    data: bytes
    instance: Instance


class Signal(NamedTuple):
    """An internal message: where it is stored, what it says, and whether a schedule fired it."""

    commit: int
    stored: Stored
    envelope: Envelope
    fired: bool


class Moved(NamedTuple):
    """A position as one commit left it."""

    commit: int
    number: int
    position: Position


class Taken(NamedTuple):
    """A message that a commit says it dealt with, and for which instance."""

    stream: str
    seq: int
    saga: str
    key: str


class Evidence:
    """Everything that was stored in one run, by what it is."""

    def __init__(
        self,
        record: Record,
        broker: MemoryBroker,
        ledger: Ledger,
        interfered: set[Name],
        registry: Registry,
    ) -> None:
        self.names = broker.names
        self.broker = broker
        self.record = record
        self.ledger = ledger
        self.interfered = interfered
        self.reader = Reader(broker.names, registry)
        self.revisions: list[Revision] = []
        self.histories: dict[Name, list[Revision]] = defaultdict(list)
        self.commands: list[tuple[int, Stored]] = []
        self.signals: list[Signal] = []
        self.armed: list[tuple[int, Stored]] = []
        self.clocks: list[Stored] = []
        self.cancelled: list[tuple[int, str]] = []
        self.moved: dict[int, list[Moved]] = defaultdict(list)
        self.notes: list[tuple[int, Note]] = []
        self.letters: list[tuple[int, DeadLetter]] = []
        self.events: list[tuple[int, Stored]] = []
        self.event_ids: dict[str, int] = {}
        self.taken: dict[int, list[Taken]] = defaultdict(list)
        self.kept: set[tuple[int, Taken]] = set()  # messages that an instance keeps for later
        self.written: dict[int, set[Name]] = defaultdict(set)
        for commit in record.commits:
            for stored in commit.messages:
                self._read(commit, stored)

    def _read(self, commit: Commit, stored: Stored) -> None:
        if commit.stream == "events":
            self.events.append((commit.index, stored))
            if id := stored.headers.get(codec.MSG_ID):
                self.event_ids.setdefault(id, commit.index)
            return
        index, subject = commit.index, stored.subject
        bucket, space = f"$KV.{self.names.bucket}.", f"{self.names.namespace}."
        if subject.startswith(f"{bucket}i."):
            self._read_revision(index, stored)
        elif subject.startswith(f"{bucket}p."):
            number = int(subject.rpartition(".")[2])
            self.moved[number].append(Moved(index, number, _position(stored.data)))
        elif subject.startswith(f"{bucket}n."):
            for note in _notes(stored.data).items:
                self.notes.append((index, note))
                taken = Taken(note.stream, note.seq, note.saga, note.key)
                if (index, taken) not in self.kept:  # else what was kept is given up at once
                    self.taken[index].append(taken)
        elif subject.startswith(f"{bucket}d."):
            letter = _letter(stored.data)
            self.letters.append((index, letter))
            self.taken[index].append(Taken(letter.stream, letter.seq, letter.saga, letter.key))
        elif subject.startswith(f"{space}commands."):
            self.commands.append((index, stored))
        elif subject.startswith(f"{space}sig."):
            fired = SCHEDULER in stored.headers
            self.signals.append(Signal(index, stored, _envelope(stored.data), fired))
        elif SCHEDULE in stored.headers and subject.startswith(self.names.cron("x")[:-1]):
            self.clocks.append(stored)
        elif SCHEDULE in stored.headers:
            self.armed.append((index, stored))
        elif SCHEDULER in stored.headers:
            self.cancelled.append((index, stored.headers[SCHEDULER]))

    def _read_revision(self, index: int, stored: Stored) -> None:
        instance = decode(stored.data)
        revision = Revision(index, stored.seq, stored.data, instance)
        name = self.names.parse_instance(stored.subject)
        self.revisions.append(revision)
        self.histories[name].append(revision)
        cause = instance.cause
        if cause.seq:
            taken = Taken(stream_of(cause), cause.seq, *name)
            self.taken[index].append(taken)
            waiting = {(stream_of(one), one.seq) for one in instance.backlog}
            if instance.status == "parked" or (stream_of(cause), cause.seq) in waiting:
                self.kept.add((index, taken))
        self.written[index].add(name)

    @staticmethod
    def position(broker: MemoryBroker, number: int) -> Position:
        """How far a partition is committed now."""
        stored = broker.log.last(broker.names.position(number))
        if stored is None:
            return Position(events=0, signals=0, owner="", batch="")
        return _position(stored.data)


def stream_of(cause: Cause) -> Stream:
    """The stream whose sequence a cause carries."""
    return "events" if cause.kind == "event" else "log"
