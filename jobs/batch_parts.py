"""Parts of a batch in the making: where instances stand in it, what one message adds, its notes."""

from __future__ import annotations

from jobs.cache import Entry
from sagas.definition import SagaDefinition
from sagas.instance import Instance
from sagas.kernel import Ignored, Snapshot, Transition
from sagas.messages import Cause
from store.codec import DeadLetter, Note

NOTE_CHARS = 150  # the names of its fields and its numbers


class Place:
    """Where in a batch an instance's first and last revision stand."""

    __slots__ = ("entry", "first", "last")

    def __init__(self, entry: Entry, index: int) -> None:
        self.entry = entry
        self.first = index
        self.last = index


class Work:
    """What one intake adds to a batch beside its messages, and what to put back when it doesn't
    fit.
    """

    __slots__ = ("ahead", "doubts", "inline", "letters", "notes", "parked", "revisions", "timers")

    def __init__(self) -> None:
        # Tuples: nearly all of them stay empty, and one is made for each message.
        self.parked: tuple[Instance, ...] = ()
        self.revisions: tuple[tuple[int, Entry, Snapshot, Transition], ...] = ()
        self.notes: tuple[Note, ...] = ()
        self.letters: tuple[DeadLetter, ...] = ()
        self.doubts: tuple[str, ...] = ()
        self.ahead: tuple[str, ...] = ()
        self.timers: tuple[str, ...] = ()
        self.inline: tuple[tuple[str, SagaDefinition, Instance], ...] = ()


def is_new(transition: Transition) -> bool:
    """Whether a parked instance was parked by this transition, not by one before."""
    before, after = transition.before, transition.after
    return before is None or before.parked != after.parked


def chars(note: Note) -> int:
    """How long a note is at most when it is written."""
    texts = (note.type, note.reason, note.saga, note.key, note.id, note.by)
    return NOTE_CHARS + sum(map(len, texts))


def let_go(after: Instance, cause: Cause, ignored: Ignored) -> Note:
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
