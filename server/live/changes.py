"""A stored revision or dead letter becomes what listeners are told: event names and frames. Pure
but for one question to the log, what the instances were before.

The status before a revision does not stand in it. It is known from the revision read just before,
or else asked for: one request for all instances of a chunk, as they stood before the chunk.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from sagas.instance import Status
from store.codec import DeadLetter
from store.port import Log, Stored
from store.subjects import Names

log = logging.getLogger("snorri.live")

KNOWN_MAX = 50_000  # instances whose last status is remembered

ChangeName: TypeAlias = Literal[
    "started",
    "state_changed",
    "completed",
    "failed",
    "compensating",
    "compensated",
    "parked",
    "cancelled",
]
CHANGE_NAMES: dict[Status, ChangeName] = {
    "completed": "completed",
    "failed": "failed",
    "compensating": "compensating",
    "compensated": "compensated",
    "parked": "parked",
    "cancelled": "cancelled",
}


class ChangeCause(Struct, frozen=True):
    """The message that caused a transition: its kind, its type, and who acted."""

    kind: str
    type: str
    by: str = ""


class ChangeError(Struct, frozen=True):
    """Why an instance is parked, failed or cancelled."""

    type: str
    message: str


class SagaChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """The data of each ``saga:…`` event about an instance; ``seq`` is its revision and the id of
    the event. ``statusBefore`` is null for the first version; ``state`` is there when asked for.
    """

    seq: int
    saga: str
    key: str
    version: int
    status: str
    status_before: str | None
    at: str
    cause: ChangeCause
    error: ChangeError | None
    state: Raw | UnsetType = UNSET


class LetterChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """The data of a ``deadletter`` event: a dead letter that is new or was dealt with."""

    seq: int
    id: str
    status: str
    type: str
    saga: str
    key: str
    reason: str


class View(Struct, frozen=True):
    """What a listener gets to see of a change: with the state or not, secrets clear or masked."""

    state: bool = False
    clear: bool = False


class _Head(Struct):
    saga: str
    key: str
    version: int
    status: Status
    at: str
    cause: ChangeCause
    error: ChangeError | None
    state: Raw


class Change:
    """One message of the log as listeners are told of it; ``place`` names what is changed.

    ``names`` are its events, in order: two when an instance ends with its first transition.
    """

    __slots__ = ("_data", "_frames", "_stored", "key", "names", "place", "saga", "seq", "status")

    def __init__(
        self, stored: Stored, names: tuple[str, ...], data: SagaChange | LetterChange
    ) -> None:
        self.seq = stored.seq
        self.place = stored.subject
        self.saga = data.saga
        self.key = data.key
        self.status = data.status
        self.names = names
        self._stored = stored
        self._data = data
        self._frames: dict[View, bytes] = {}

    def frame(self, view: View, mask: Callable[[bytes], bytes]) -> bytes:
        """The event as it goes over the wire, made once for each view; ``mask`` hides what is
        secret in a whole document.
        """
        found = self._frames.get(view)
        if found is None:
            found = self._frames[view] = self._frame(view, mask)
        return found

    def _frame(self, view: View, mask: Callable[[bytes], bytes]) -> bytes:
        data = self._data
        if isinstance(data, SagaChange):
            document = self._stored.data
            try:
                shown = _head.decode(document if view.clear else mask(document))
                state = shown.state if view.state else UNSET
                data = structs.replace(data, cause=shown.cause, error=shown.error, state=state)
            except msgspec.MsgspecError:  # the mask hid it as a whole
                data = structs.replace(data, error=None)
        body = _encode(data)
        # Only the last one moves the client's Last-Event-ID: whoever loses the connection between
        # the two gets both again.
        first = (event(name, body) for name in self.names[:-1])
        return b"".join(first) + event(self.names[-1], body, self.seq)


def event(name: str, body: bytes, id: int | None = None) -> bytes:
    """One server-sent event; ``body`` is JSON in one line."""
    head = b"" if id is None else b"id: %d\n" % id
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), body)


def change_names(before: str | None, status: Status) -> tuple[ChangeName, ...]:
    """What a transition is called; ``before`` is the status it found, None for the first one.

    An instance that ends, parks or compensates with its first transition has two names.
    """
    if before is None:
        name = CHANGE_NAMES.get(status)
        return ("started",) if name is None else ("started", name)
    return (CHANGE_NAMES.get(status, "state_changed") if status != before else "state_changed",)


class Teller:
    """Makes changes of stored messages and remembers the last status of instances.

    One for each reading: its memory is right only when it sees every revision of what it reads.
    """

    def __init__(self, log: Log, names: Names) -> None:
        self._log = log
        self._names = names
        self._known: OrderedDict[str, tuple[int, str]] = OrderedDict()

    async def tell(self, chunk: Sequence[Stored]) -> list[Change]:
        """The changes of a chunk of messages, in order; raises Unreachable.

        What is no revision and no dead letter is left out.
        """
        heads = [(stored, _read(stored)) for stored in chunk if stored.data]
        await self._learn(chunk[0].seq - 1 if chunk else 0, heads)
        changes: list[Change] = []
        for stored, head in heads:
            if isinstance(head, _Head):
                changes.append(self._revision(stored, head))
            elif head is not None:
                changes.append(_letter(stored, head))
        return changes

    async def _learn(
        self, upto: int, heads: list[tuple[Stored, _Head | DeadLetter | None]]
    ) -> None:
        """Ask for what the instances were before this chunk, those that are not known."""
        missing: set[str] = set()
        seen: set[str] = set()
        for stored, head in heads:
            if not isinstance(head, _Head) or stored.subject in seen:
                continue
            seen.add(stored.subject)
            known = self._known.get(stored.subject)
            if head.version > 1 and (known is None or known[0] != head.version - 1):
                missing.add(stored.subject)
        if missing:
            for subject, stored in (await self._log.load(sorted(missing), upto)).items():
                head = _read(stored)
                if isinstance(head, _Head):
                    self._known[subject] = (head.version, head.status)

    def _revision(self, stored: Stored, head: _Head) -> Change:
        """A revision as a change; from now on it is the known one of its instance."""
        version, status = self._known.pop(stored.subject, (0, ""))
        before = status if version and version == head.version - 1 else None
        self._known[stored.subject] = (head.version, head.status)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        data = SagaChange(
            seq=stored.seq,
            saga=head.saga,
            key=head.key,
            version=head.version,
            status=head.status,
            status_before=before,
            at=head.at,
            cause=head.cause,
            error=head.error,
        )
        # What came before may be archived: it was not the first one all the same.
        known = before if head.version == 1 else before or ""
        names = tuple(f"saga:{name}" for name in change_names(known, head.status))
        return Change(stored, names, data)


def _read(stored: Stored) -> _Head | DeadLetter | None:
    """What a message of the bucket says; None when it is neither of the two or can't be read."""
    try:
        match stored.subject.split(".", 3)[2]:
            case "i":
                return _head.decode(stored.data)
            case "d":
                return _letter_decoder.decode(stored.data)
            case _:
                return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.warning("revision %d (%s) can't be shown: %s", stored.seq, stored.subject, error)
        return None


def _letter(stored: Stored, letter: DeadLetter) -> Change:
    data = LetterChange(
        seq=stored.seq,
        id=letter.id,
        status=letter.status,
        type=letter.type,
        saga=letter.saga,
        key=letter.key,
        reason=letter.reason,
    )
    return Change(stored, ("deadletter",), data)


_encode = msgspec.json.Encoder().encode
_head = msgspec.json.Decoder(_Head)
_letter_decoder = msgspec.json.Decoder(DeadLetter)
