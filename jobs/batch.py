"""The second step of the lane: intakes become one atomic batch. No I/O.

Messages are decided in order; an instance may appear many times, its later decisions see its
earlier ones. The batch ends with the position of each partition it read from, so it is either in
the log with its positions moved or it never was.

A few answers of steps that the engine carried out itself move no position: each revision is then a
whole commit, and the batch is ``light``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import assert_never

import msgspec
from msgspec import structs

from jobs.batch_parts import Place, Work, chars, is_new, let_go
from jobs.cache import Cache, Entry
from jobs.inline import InlineSteps
from jobs.intake import Answer, Arrival, Intake
from jobs.partition import Partition
from jobs.trouble import Trouble
from sagas.actions import act
from sagas.definition import SagaDefinition
from sagas.effects import Schedule, Unschedule
from sagas.instance import Instance, document_hash
from sagas.kernel import Ignored, Refused, Snapshot, Transition, Undeliverable, decide
from sagas.requeue import inline_commands
from store import codec
from store.codec import DeadLetter, Note, Notes, Position
from store.masking import Mask
from store.outbox import to_messages
from store.port import BATCH_MESSAGES_MAX, Outgoing
from store.subjects import Names

BATCH_BYTES_MAX = 8 * 1024 * 1024
LIGHT_MAX = 16  # revisions; from there on one batch is cheaper than as many publishes
# Instances of a partition with inline steps, for one batch; those of others go to their queues.
INLINE_MAX = 256
NOTES_CHARS_MAX = 200_000  # of one batch: as JSON that is under the 1 MiB of one message

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
        self._places: dict[str, Place] = {}
        self._timers: set[str] = set()
        self.doubts: set[str] = set()
        self.ahead: set[str] = set()
        self._notes: dict[int, list[Note]] = {}
        self._notes_chars = 0
        self._partitions: dict[int, Partition] = {}
        self._positions: list[tuple[int, Partition, frozenset[str]]] = []
        self._inline: dict[str, tuple[Partition, SagaDefinition, Instance]] = {}

    @property
    def subjects(self) -> set[str]:
        """The instances this batch writes."""
        return set(self._places)

    def writes(self, subject: str) -> bool:
        """Whether it writes this instance."""
        return subject in self._places

    @property
    def partitions(self) -> Iterable[Partition]:
        """The partitions whose positions it moves."""
        return self._partitions.values()

    def add(self, intake: Intake, now: datetime) -> bool:
        """Decide one message for all its instances, or leave everything as it was and return False
        when it is full.

        It is also False when an instance would take nothing and write nothing on the word of a
        replica that may be behind: its subject is then in ``doubts``, to be read from the leader.
        One that newer code wrote is in ``ahead``: this code must not decide on it.
        """
        start = len(self.messages)
        work = Work()
        for arrival in intake.arrivals:
            entry = self._cache.get(arrival.subject)
            if entry is None:  # loaded before, and let go since by a load of others
                return self._put_back(start, work)
            self._decide(intake, arrival, entry, now, work)
        if work.doubts or work.ahead:
            self.doubts.update(work.doubts)
            self.ahead.update(work.ahead)
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

    def _fits(self, size: int, work: Work) -> bool:
        if work.timers and not self._timers.isdisjoint(work.timers):
            return False  # the broker refuses a batch that sets one timer twice (10111)
        reserve = 2 * (len(self._partitions) + 1)  # positions and notes
        full = len(self.messages) + reserve > BATCH_MESSAGES_MAX
        full = full or self._notes_chars > NOTES_CHARS_MAX
        return not full and self._bytes + size <= BATCH_BYTES_MAX

    def _put_back(self, start: int, work: Work) -> bool:
        del self.messages[start:]
        for _, entry, snapshot, _ in reversed(work.revisions):
            entry.snapshot = snapshot
        return False

    def _accept(self, intake: Intake, work: Work, size: int) -> None:
        for index, entry, snapshot, transition in work.revisions:
            entry.learn(snapshot.instance)
            entry.sure = True  # the expected revision of this write tells when it was not
            place = self._places.get(entry.subject)
            if place is None:
                self._places[entry.subject] = Place(entry, index)
            else:
                place.last = index
            self._cache.changed(entry, len(transition.document))
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
        for subject, definition, instance in work.inline:
            self._inline[subject] = (partition, definition, instance)
        if intake.notes or work.notes:
            notes = self._notes.setdefault(partition.number, [])
            notes += intake.notes
            notes += work.notes
            self._notes_chars += sum(map(chars, intake.notes)) + sum(map(chars, work.notes))

    def _decide(
        self, intake: Intake, arrival: Arrival, entry: Entry, now: datetime, work: Work
    ) -> None:
        cause, definition = arrival.cause, self._definition(intake.partition, arrival)
        if entry.fault:
            work.letters += (intake.letter_to(arrival, entry.fault),)
            return
        instance = entry.snapshot.instance
        if instance and instance.definition_version > definition.version and not entry.orphan:
            work.ahead += (entry.subject,)
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
            work.doubts += (entry.subject,)
            return
        instance = entry.snapshot.instance
        answer = isinstance(intake, Answer)
        if isinstance(decision, Transition) and (answer or definition.inline):
            work.inline += ((entry.subject, definition, decision.after),)
        elif answer and instance is not None:
            work.inline += ((entry.subject, definition, instance),)
        match decision:
            case Transition():
                self._transit(intake, entry, decision, work)
            case Ignored() | Refused() if answer:
                pass  # another answer came first, and no stream holds this one
            case Ignored():
                work.notes += (intake.note_to(arrival, decision.code, decision.reason),)
            case Refused():
                work.notes += (intake.note_to(arrival, "refused", decision.reason),)
            case Undeliverable():
                work.letters += (intake.letter_to(arrival, decision.reason),)
            case _:
                assert_never(decision)

    def _definition(self, partition: Partition, arrival: Arrival) -> SagaDefinition:
        """The definition, without inline steps while the position lists enough instances."""
        definition, listed = arrival.definition, partition.inline
        if not definition.inline or arrival.subject in listed:
            return definition
        full = len(listed) + len(self._inline) >= INLINE_MAX
        return structs.replace(definition, inline=frozenset()) if full else definition

    def _transit(self, intake: Intake, entry: Entry, transition: Transition, work: Work) -> None:
        after, document = transition.after, transition.document
        work.revisions += ((len(self.messages), entry, entry.snapshot, transition),)
        digest = document_hash(document)
        entry.snapshot = Snapshot(after.key, after, digest, transition.standing)
        if after.status == "parked" and is_new(transition):
            work.parked += (after,)
        self.messages.append(Outgoing(entry.subject, document))
        if after.effects:
            self.messages += to_messages(self._names, after, intake.partition.number)
        if after.timers or (transition.before is not None and transition.before.timers):
            work.timers += tuple(
                self._names.timer(after.saga, after.key, effect.id)
                for effect in after.effects
                if isinstance(effect, (Schedule, Unschedule))
            )
        if transition.ignored:
            work.notes += tuple(let_go(after, *one) for one in transition.ignored)

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
        messages = self.seal_apart()
        for number, notes in self._notes.items():
            record = Notes(at=now, items=tuple(notes))
            messages.append(Outgoing(self._names.notes(number), _encoder.encode(record)))
        self._positions = []
        for partition in self._partitions.values():
            inline = frozenset(self._with_inline(partition))
            self._positions.append((len(messages), partition, inline))
            messages.append(self._position(partition, inline))
        return messages

    def seal_apart(self) -> list[Outgoing]:
        """Its messages without positions, each instance's first with its expected revision."""
        messages = list(self.messages)
        for place in self._places.values():
            message = messages[place.first]
            messages[place.first] = Outgoing(
                message.subject, message.payload, message.headers, place.entry.revision
            )
        return messages

    @property
    def light(self) -> bool:
        """Whether each of its messages is a commit by itself, since no position has to move.

        An instance whose steps go on must be listed already: whoever takes over finds it there. And
        this engine must have written it last: what another one wrote may be the mark that the
        partition is theirs now, and only a position in the batch would tell.
        """
        return (
            len(self.messages) == len(self._places) <= LIGHT_MAX
            and all(place.entry.own for place in self._places.values())
            and all(isinstance(intake, Answer) for intake in self.intakes)
            and not self._notes
            and all(
                subject in partition.listed or not inline_commands(instance)
                for subject, (partition, _, instance) in self._inline.items()
            )
        )

    def begin(self, steps: InlineSteps) -> None:
        """Begin the steps that its transitions ask the engine for, after the commit."""
        for intake in self.intakes:
            if isinstance(intake, Answer):
                steps.landed(intake.id)
        for partition, definition, instance in self._inline.values():
            steps.begin(partition, definition, instance)

    def _with_inline(self, partition: Partition) -> set[str]:
        """The instances of a partition with such steps, as they are after this batch."""
        found = set(partition.inline)
        for subject, (place, _, instance) in self._inline.items():
            if place is partition and inline_commands(instance):
                found.add(subject)
            elif place is partition:
                found.discard(subject)
        return found

    def _position(self, partition: Partition, inline: frozenset[str]) -> Outgoing:
        events, signals = partition.events, partition.signals
        events_at_ns = partition.events_at_ns
        for intake in self.intakes:
            if intake.partition is partition and not isinstance(intake, Answer):
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
            inline=tuple(sorted(inline)),
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
            place.entry.own = True
        for index, partition, inline in self._positions:
            partition.revision = first + index
            partition.inline, partition.listed = set(inline), inline
        self._settle()

    def committed_apart(self, revisions: Mapping[str, int]) -> None:
        """The same for a light batch: the sequence of each instance's revision, by subject."""
        for subject, place in self._places.items():
            place.entry.revision = revisions[subject]
            place.entry.own = True
        for partition in self._partitions.values():
            partition.inline = self._with_inline(partition)
        self._settle()

    def _settle(self) -> None:
        for intake in self.intakes:
            partition = intake.partition
            if isinstance(intake, Answer):
                pass
            elif intake.stream == "events":
                partition.events = intake.stored.seq
                partition.events_at_ns = intake.stored.at_ns
            else:
                partition.signals = intake.stored.seq
            partition.settle(1)
        self.trouble.tell()

    def position_index(self, partition: Partition) -> int:
        """Where in the sealed batch a partition's position stands."""
        return next(index for index, one, _ in self._positions if one is partition)
