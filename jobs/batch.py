"""The second step of the lane: intakes become one atomic batch. No I/O.

Messages are decided in order; an instance may appear many times, its later decisions see its
earlier ones. The batch ends with the position of each partition it read from, so it is either in
the log with its positions moved or it never was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

import msgspec

from jobs.cache import Cache, Entry
from jobs.intake import Arrival, Intake
from jobs.partition import Partition
from jobs.trouble import Trouble
from sagas.actions import act
from sagas.effects import Schedule, Unschedule
from sagas.instance import Instance, document_hash
from sagas.kernel import Ignored, Refused, Snapshot, Transition, Undeliverable, decide
from sagas.messages import Cause
from store import codec
from store.codec import DeadLetter, Note, Notes, Position
from store.masking import Mask
from store.outbox import to_messages
from store.port import BATCH_MESSAGES_MAX, Outgoing
from store.subjects import Names

BATCH_BYTES_MAX = 8 * 1024 * 1024
NOTES_CHARS_MAX = 200_000  # of one batch: as JSON that is under the 1 MiB of one message
NOTE_CHARS = 150  # the names of its fields and its numbers

log = logging.getLogger("snorri.engine")
_encoder = msgspec.json.Encoder()


class Batch:
    """One commit in the making; ``add`` intakes until it says that it is full, then ``seal`` it."""

    def __init__(
        self, names: Names, cache: Cache, id: str, owner: str, mask: Mask | None = None
    ) -> None:
        self.id = id
        self.intakes: list[Intake] = []
        self.messages: list[Outgoing] = []
        self.transitions: list[Transition] = []
        self.letters = 0
        self.trouble = Trouble(mask or Mask())
        self._names = names
        self._cache = cache
        self._owner = owner
        self._bytes = 0
        self._places: dict[str, _Place] = {}
        self._timers: set[str] = set()
        self.doubts: set[str] = set()
        self._notes: dict[int, list[Note]] = {}
        self._notes_chars = 0
        self._partitions: dict[int, Partition] = {}
        self._positions: list[tuple[int, Partition]] = []

    @property
    def subjects(self) -> set[str]:
        """The instances this batch writes."""
        return set(self._places)

    @property
    def partitions(self) -> Iterable[Partition]:
        """The partitions whose positions it moves."""
        return self._partitions.values()

    def add(self, intake: Intake, now: datetime) -> bool:
        """Decide one message for all its instances, or leave everything as it was and return False
        when it is full.

        It is also False when an instance would take nothing and write nothing on the word of a
        replica that may be behind: its subject is then in ``doubts``, to be read from the leader.
        """
        start = len(self.messages)
        work = _Work()
        for arrival in intake.arrivals:
            entry = self._cache.get(arrival.subject)
            if entry is None:  # loaded before, and let go since by a load of others
                return self._put_back(start, work)
            self._decide(intake, arrival, entry, now, work)
        if work.doubts:
            self.doubts.update(work.doubts)
            return self._put_back(start, work)
        if intake.letters or work.letters:
            for letter in (*intake.letters, *work.letters):
                self._write_letter(letter)
        size = 0
        for message in self.messages[start:]:
            size += len(message.payload)
        if self.intakes and not self._fits(size, work):
            return self._put_back(start, work)
        self._accept(intake, work, size)
        return True

    def _fits(self, size: int, work: _Work) -> bool:
        if work.timers and not self._timers.isdisjoint(work.timers):
            return False  # the broker refuses a batch that sets one timer twice (10111)
        reserve = 2 * (len(self._partitions) + 1)  # positions and notes
        full = len(self.messages) + reserve > BATCH_MESSAGES_MAX
        full = full or self._notes_chars > NOTES_CHARS_MAX
        return not full and self._bytes + size <= BATCH_BYTES_MAX

    def _put_back(self, start: int, work: _Work) -> bool:
        del self.messages[start:]
        for _, entry, snapshot, _ in reversed(work.revisions):
            entry.snapshot = snapshot
        return False

    def _accept(self, intake: Intake, work: _Work, size: int) -> None:
        for index, entry, snapshot, transition in work.revisions:
            entry.learn(snapshot.instance)
            entry.sure = True  # the expected revision of this write tells when it was not
            place = self._places.get(entry.subject)
            if place is None:
                self._places[entry.subject] = _Place(entry, index)
            else:
                place.last = index
            self._cache.resize(entry, len(transition.document))
            self.transitions.append(transition)
        self._bytes += size
        self._timers.update(work.timers)
        self.intakes.append(intake)
        if intake.letters or work.letters or work.parked:
            self.letters += len(intake.letters) + len(work.letters)
            self.trouble.letters += (*intake.letters, *work.letters)
            self.trouble.parked += work.parked
        partition = intake.partition
        self._partitions[partition.number] = partition
        if intake.notes or work.notes:
            notes = self._notes.setdefault(partition.number, [])
            notes += intake.notes
            notes += work.notes
            self._notes_chars += sum(map(_chars, intake.notes)) + sum(map(_chars, work.notes))

    def _decide(
        self, intake: Intake, arrival: Arrival, entry: Entry, now: datetime, work: _Work
    ) -> None:
        cause, definition = arrival.cause, arrival.definition
        if entry.fault:
            work.letters.append(intake.letter_to(arrival, entry.fault))
            return
        try:
            if cause.kind == "operator":
                decision = act(definition, entry.snapshot, cause, now, handled=entry.ids or ())
            else:
                decision = decide(
                    definition,
                    entry.snapshot,
                    cause,
                    now,
                    payload=arrival.payload,
                    handled=entry.ids or (),
                )
        except Exception as error:  # a fault of ours must not stop the messages behind this one
            log.exception(
                "%s/%s can't take %r",
                definition.id,
                arrival.key,
                cause.type,
                extra={"instance": f"{definition.id}/{arrival.key}", "trace": cause.trace},
            )
            fault = f"{type(error).__name__}: {error}; see the engine's log"
            decision = Undeliverable(f"it could not be decided: {fault}")
        if not entry.sure and not isinstance(decision, Transition):
            work.doubts.add(entry.subject)
            return
        match decision:
            case Transition():
                self._transit(intake, entry, decision, work)
            case Ignored():
                work.notes.append(intake.note_to(arrival, decision.code, decision.reason))
            case Refused():
                work.notes.append(intake.note_to(arrival, "refused", decision.reason))
            case Undeliverable():
                work.letters.append(intake.letter_to(arrival, decision.reason))
            case _:
                assert_never(decision)

    def _transit(self, intake: Intake, entry: Entry, transition: Transition, work: _Work) -> None:
        after, document = transition.after, transition.document
        work.revisions.append((len(self.messages), entry, entry.snapshot, transition))
        entry.snapshot = Snapshot(after.key, after, document_hash(document))
        if after.status == "parked" and _is_new(transition):
            work.parked.append(after)
        carrier = self._names.timer_cancel(intake.partition.number)
        self.messages += to_messages(self._names, after, document, None, carrier)
        if after.timers or (transition.before is not None and transition.before.timers):
            work.timers += [
                self._names.timer(after.saga, after.key, effect.id)
                for effect in after.effects
                if isinstance(effect, (Schedule, Unschedule))
            ]
        work.notes += [_let_go(after, cause, ignored) for cause, ignored in transition.ignored]

    def bury(self, letter: DeadLetter) -> None:
        """Add a dead letter that turned up after the decision, before the batch is sealed."""
        self.letters += 1
        self.trouble.letters.append(letter)
        self._write_letter(letter)

    def _write_letter(self, letter: DeadLetter) -> None:
        self.messages.append(Outgoing(self._names.dead_letter(letter.id), _encoder.encode(letter)))

    def seal(self, now: datetime) -> list[Outgoing]:
        """The messages to commit, with the expectations as they are known now.

        The commit before must be over.
        """
        messages = list(self.messages)
        for place in self._places.values():
            message = messages[place.first]
            messages[place.first] = Outgoing(
                message.subject, message.payload, message.headers, place.entry.revision
            )
        for number, notes in self._notes.items():
            record = Notes(at=now, items=tuple(notes))
            messages.append(Outgoing(self._names.notes(number), _encoder.encode(record)))
        self._positions = []
        for partition in self._partitions.values():
            self._positions.append((len(messages), partition))
            messages.append(self._position(partition))
        return messages

    def _position(self, partition: Partition) -> Outgoing:
        events, signals = partition.events, partition.signals
        events_at_ns = partition.events_at_ns
        for intake in self.intakes:
            if intake.partition is partition:
                if intake.stream == "events":
                    events, events_at_ns = intake.stored.seq, intake.stored.at_ns
                else:
                    signals = intake.stored.seq
        record = Position(
            events=events,
            signals=signals,
            owner=self._owner,
            batch=self.id,
            events_at_ns=events_at_ns,
        )
        return Outgoing(
            self._names.position(partition.number),
            _encoder.encode(record),
            ((codec.ROLLUP, "sub"),),
            partition.revision,
        )

    def committed(self, last: int, count: int) -> None:
        """Take the new revisions and positions after the batch is stored.

        ``last`` is its last sequence.
        """
        first = last - count + 1
        for place in self._places.values():
            place.entry.revision = first + place.last
        for index, partition in self._positions:
            partition.revision = first + index
        for intake in self.intakes:
            partition = intake.partition
            if intake.stream == "events":
                partition.events = intake.stored.seq
                partition.events_at_ns = intake.stored.at_ns
            else:
                partition.signals = intake.stored.seq
            partition.settle(1)
        self.trouble.tell()

    def position_index(self, partition: Partition) -> int:
        """Where in the sealed batch a partition's position stands."""
        return next(index for index, one in self._positions if one is partition)


class _Place:
    """Where in a batch an instance's first and last revision stand."""

    __slots__ = ("entry", "first", "last")

    def __init__(self, entry: Entry, index: int) -> None:
        self.entry = entry
        self.first = index
        self.last = index


class _Work:
    """What one intake adds to a batch beside its messages, and what to put back when it doesn't
    fit.
    """

    __slots__ = ("doubts", "letters", "notes", "parked", "revisions", "timers")

    def __init__(self) -> None:
        self.parked: list[Instance] = []
        self.revisions: list[tuple[int, Entry, Snapshot, Transition]] = []
        self.notes: list[Note] = []
        self.letters: list[DeadLetter] = []
        self.doubts: set[str] = set()
        self.timers: list[str] = []


def _is_new(transition: Transition) -> bool:
    """Whether a parked instance was parked by this transition, not by one before."""
    before, after = transition.before, transition.after
    return before is None or before.parked != after.parked


def _chars(note: Note) -> int:
    texts = (note.type, note.reason, note.saga, note.key, note.id, note.by)
    return NOTE_CHARS + sum(map(len, texts))


def _let_go(after: Instance, cause: Cause, ignored: Ignored) -> Note:
    """A note about a message of the backlog: under its own sequence, not that of the message at
    hand.
    """
    return Note(
        stream="events" if cause.kind == "event" else "log",
        seq=cause.seq,
        type=cause.type,
        code=ignored.code,
        reason=ignored.reason,
        saga=after.saga,
        key=after.key,
        id=cause.id,
        by=cause.by,
    )
