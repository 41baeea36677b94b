"""One stream in memory: messages by sequence, expiry, schedules and the window of message ids.

It promises what nats-server promises of a stream: sequences only grow and are never used twice,
removed messages leave holes, and what one batch stores becomes visible together. Whether a message
may be stored is decided in ``admission``; this module knows no ports and no faults.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from store.memory import schedule as schedules
from store.memory.clock import NS, Agenda
from store.memory.routing import Transform, matches
from store.memory.schedule import NEXT, PURGE, SCHEDULE, SCHEDULER, TARGET, TIME_ZONE, Schedule
from store.port import Extent, Stored

MARKER = "Nats-Marker-Reason"
MSG_ID = "Nats-Msg-Id"
ROLLUP = "Nats-Rollup"
MESSAGE_TTL = "Nats-TTL"


class Rules(Struct, frozen=True):
    """How a stream is configured, as far as callers can tell."""

    name: str
    subjects: tuple[str, ...]
    transform: Transform | None = None
    rollup: bool = False
    ttl: bool = False
    schedules: bool = False
    per_subject_max: int = 0  # 0: no limit
    marker_ttl_s: int = 0  # an expired last message leaves a marker for this long; 0: no marker
    window_s: float = 120.0  # how long a message id is remembered

    def accepts(self, subject: str) -> bool:
        """Whether a publish on ``subject`` reaches this stream."""
        return any(matches(filter, subject) for filter in self.subjects)


class Admitted(Struct, frozen=True):
    """A message that has passed all checks, its ``subject`` the one to store it under."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    ttl_ns: int = 0
    schedule: Schedule | None = None
    cancels: str = ""


class MemoryStream:
    """The messages of one stream; listeners are called, in order of joining, after each change."""

    def __init__(self, rules: Rules, agenda: Agenda) -> None:
        self.rules = rules
        self.last_seq = 0
        self.listeners: dict[object, Callable[[], None]] = {}
        self._agenda = agenda
        self._created = datetime.fromtimestamp(agenda.clock.now_ns() / 1e9, UTC)
        self._messages: dict[int, Stored] = {}
        self._by_subject: dict[str, list[int]] = {}
        self._ids: dict[str, tuple[int, int]] = {}

    def get(self, seq: int) -> Stored | None:
        """The message with this sequence, None when there is none any more."""
        return self._messages.get(seq)

    def extent(self) -> Extent:
        """The first and the last sequence that has a message, and when the stream was made."""
        first, last = next(iter(self._messages), 0), next(reversed(self._messages), 0)
        return Extent(first, last, self._created)

    def last(self, subject: str, seq_max: int | None = None) -> Stored | None:
        """The last message of ``subject``, of those up to ``seq_max`` if given."""
        seqs = self._by_subject.get(subject)
        if not seqs:
            return None
        index = len(seqs) if seq_max is None else bisect_right(seqs, seq_max)
        return self._messages[seqs[index - 1]] if index else None

    def since(self, after: int, filters: Sequence[str]) -> Iterator[Stored]:
        """What any of ``filters`` takes with a sequence over ``after``, in order, as it is while
        read.
        """
        if len(filters) == 1 and (seqs := self._by_subject.get(filters[0])):
            found = [self._messages[seq] for seq in seqs[bisect_right(seqs, after) :]]
        else:
            found = (
                message
                for seq in range(after + 1, self.last_seq + 1)
                if (message := self._messages.get(seq)) is not None
                and any(matches(filter, message.subject) for filter in filters)
            )
        yield from found

    def subjects(self) -> list[str]:
        """All subjects that have a message, sorted."""
        return sorted(self._by_subject)

    def route(self, subject: str) -> str:
        """The subject under which a publish on ``subject`` is stored."""
        return self.rules.transform.apply(subject) if self.rules.transform else subject

    def known_id(self, msg_id: str) -> int | None:
        """The sequence that the window holds for a message id, None when it holds none."""
        self._forget_old()
        known = self._ids.get(msg_id)
        return known[0] if known else None

    def forget_ids(self, *, all: bool = False) -> None:
        """What a restart does to the window: ids live on only in messages that are still there."""
        kept = {} if all else {k: v for k, v in self._ids.items() if v[0] in self._messages}
        self._ids = kept

    def put(self, batch: Sequence[Admitted]) -> int:
        """Store admitted messages under consecutive sequences and tell the listeners; the last
        sequence.
        """
        now_ns = self._agenda.clock.now_ns()
        last = self.last_seq + len(batch)
        for message in batch:
            self._store(message, now_ns)
        for listener in list(self.listeners.values()):
            listener()
        return last

    def remove(self, seq: int) -> None:
        """Delete one message; its sequence becomes a hole."""
        message = self._messages.pop(seq, None)
        if message is None:
            return
        seqs = self._by_subject[message.subject]
        del seqs[bisect_left(seqs, seq)]
        if not seqs:
            del self._by_subject[message.subject]

    def purge(self, subject: str, before: int | None = None) -> int:
        """Delete the messages of one subject, with ``before`` those under that sequence; how many
        there were.
        """
        seqs = self._by_subject.pop(subject, [])
        end = len(seqs) if before is None else bisect_left(seqs, before)
        for seq in seqs[:end]:
            del self._messages[seq]
        if seqs[end:]:
            self._by_subject[subject] = seqs[end:]
        return end

    def _store(self, message: Admitted, now_ns: int) -> None:
        rollup = message.headers.get(ROLLUP)
        if rollup == "all":
            self._messages.clear()
            self._by_subject.clear()
        elif rollup == "sub":
            self.purge(message.subject)
        self.last_seq += 1
        seq = self.last_seq
        self._messages[seq] = Stored(message.subject, seq, now_ns, message.payload, message.headers)
        seqs = self._by_subject.setdefault(message.subject, [])
        seqs.append(seq)
        if self.rules.per_subject_max and len(seqs) > self.rules.per_subject_max:
            self.remove(seqs[0])
        if msg_id := message.headers.get(MSG_ID):
            self._ids[msg_id] = (seq, now_ns)
        if message.cancels:
            self.purge(message.cancels)
        if message.ttl_ns:
            self._agenda.at(now_ns + message.ttl_ns, lambda: self._expire(seq))
        if message.schedule is not None:
            self._plan(seq, message.schedule, now_ns)

    def _plan(self, seq: int, schedule: Schedule, after_ns: int) -> None:
        due_ns = schedule.next_ns(after_ns)
        self._agenda.at(due_ns, lambda: self._fire(seq, schedule, due_ns))

    def _fire(self, seq: int, schedule: Schedule, due_ns: int) -> None:
        source = self._messages.get(seq)
        if source is None:
            return  # replaced or cancelled since it was planned
        headers = {k: v for k, v in source.headers.items() if k not in _NOT_FIRED}
        headers[SCHEDULER] = source.subject
        if schedule.once:
            headers[NEXT] = PURGE
        else:
            headers[NEXT] = schedules.rfc3339(schedule.next_ns(due_ns))
            self._plan(seq, schedule, due_ns)
        if schedule.ttl:
            headers[MESSAGE_TTL] = schedule.ttl
        fired = Admitted(
            subject=self.route(schedule.target),
            payload=source.data,
            headers=headers,
            ttl_ns=schedules.ttl_ns(schedule.ttl) or 0,
            cancels=source.subject if schedule.once else "",
        )
        self.put([fired])

    def _expire(self, seq: int) -> None:
        message = self._messages.get(seq)
        if message is None:
            return
        self.remove(seq)
        leaves_marker = self.rules.marker_ttl_s and MARKER not in message.headers
        if leaves_marker and message.subject not in self._by_subject:
            ttl_s = self.rules.marker_ttl_s
            headers = {MARKER: "MaxAge", MESSAGE_TTL: f"{ttl_s}s"}
            self.put([Admitted(message.subject, b"", headers, ttl_ns=ttl_s * NS)])

    def _forget_old(self) -> None:
        oldest_ns = self._agenda.clock.now_ns() - round(self.rules.window_s * NS)
        while self._ids:
            msg_id, (_, at_ns) = next(iter(self._ids.items()))
            if at_ns > oldest_ns:
                return
            del self._ids[msg_id]


# What the server takes off when a schedule fires; every other header travels on.
_NOT_FIRED = frozenset(
    {
        SCHEDULE,
        TARGET,
        schedules.TTL,
        TIME_ZONE,
        ROLLUP,
        MSG_ID,
        MESSAGE_TTL,
        "Nats-Expected-Last-Subject-Sequence",
    }
)
