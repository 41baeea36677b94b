"""What of the log belongs to instances that may go, found in one reading of it. Pure.

Their versions must be whole: 1, 2, 3 … or continuing what was archived before, each with the hash
of the one before it. Commands stand under subjects that instances of several sagas may share, so a
subject goes only when all that stands there belongs to instances that go or have gone. A command
that no worker has acknowledged keeps its whole instance where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from sagas.instance import document_hash
from store import codec
from store.archive.port import ArchivedSubject
from store.port import Stored
from store.subjects import Names


class Candidate(Struct, kw_only=True, gc=False):
    """An ended instance: its last version in the log, and what is found of it before that.

    ``fault`` says why it stays.
    """

    subject: str
    saga: str
    key: str
    status: str
    version: int
    last: int
    size: int  # of its last version, bytes
    ids: bool = False
    first: int = 0
    first_version: int = 0
    first_hash: str = ""
    reached: int = 0
    hash: str = ""
    messages: int = 0
    payload: int = 0
    fault: str = ""


class Shared(Struct, kw_only=True, gc=False):
    """A subject of commands: whose they are, and why it stays, if it does."""

    subject: str
    owners: set[str]
    first: int = 0
    last: int = 0
    hash: str = ""
    messages: int = 0
    payload: int = 0
    fault: bool = False


class _Revision(Struct, gc=False):
    version: int
    prev: str


_revision = msgspec.json.Decoder(_Revision)

CHANGED = "it changes again"
DAMAGED = "its history is damaged; see `snorri verify`"
OPEN = "a command of it was acknowledged by no worker"
ELSEWHERE = "its first versions are in another archive; name that with --archive"


class Survey:
    """Takes the messages of the log in order; ``settle`` ends it.

    ``floors`` has for each target up to where all of its commands are acknowledged.
    """

    def __init__(
        self, names: Names, candidates: Sequence[Candidate], floors: Mapping[str, int]
    ) -> None:
        self._instances = f"$KV.{names.bucket}.i."
        self._commands = f"{names.namespace}.commands."
        self._floors = floors
        self.candidates = {one.subject: one for one in candidates}
        self._keys = {one.subject.rpartition(".")[2] for one in candidates}
        self.shared: dict[str, Shared] = {}

    @property
    def filters(self) -> list[str]:
        """What it wants of the log."""
        return [f"{self._instances}>", f"{self._commands}>"]

    def take(self, stored: Stored) -> None:
        """The next message that ``filters`` take."""
        if stored.subject.startswith(self._instances):
            candidate = self.candidates.get(stored.subject)
            if candidate is not None:
                _note_revision(candidate, stored)
        elif stored.subject.rpartition(".")[2] in self._keys:
            self._note_command(stored)

    def _note_command(self, stored: Stored) -> None:
        shared = self.shared.get(stored.subject)
        if shared is None:
            shared = Shared(subject=stored.subject, owners=set(), first=stored.seq)
            self.shared[stored.subject] = shared
        shared.last, shared.hash = stored.seq, document_hash(stored.data)
        shared.messages += 1
        shared.payload += len(stored.data)
        saga, key = stored.headers.get(codec.SAGA), stored.headers.get(codec.KEY)
        if not saga or not key:
            shared.fault = True  # nobody's that we know of
            return
        owner = f"{self._instances}{saga}.{key}"
        shared.owners.add(owner)
        target = stored.subject[len(self._commands) :].partition(".")[0]
        if stored.seq > self._floors.get(target, 0):
            shared.fault = True
            if owner in self.candidates:
                self.candidates[owner].fault = OPEN

    def continued(self) -> list[str]:
        """The candidates whose first version here is not their first one."""
        return [one.subject for one in self.candidates.values() if one.first_version > 1]

    def strangers(self) -> set[str]:
        """Whose commands stand beside those of candidates."""
        owners = {owner for shared in self.shared.values() for owner in shared.owners}
        return owners - self.candidates.keys()

    def settle(self, before: Mapping[str, ArchivedSubject], gone: set[str]) -> None:
        """Decide who goes: ``before`` has what is archived of the continued ones, ``gone`` are the
        strangers that are in the archive as they are now.
        """
        for one in self.candidates.values():
            if one.reached != one.version and not one.fault:
                one.fault = DAMAGED
            if one.first_version > 1 and not one.fault:
                known = before.get(one.subject)
                if known is None:
                    one.fault = ELSEWHERE
                elif (known.version, known.hash) != (one.first_version, one.first_hash):
                    one.fault = DAMAGED
        for shared in self.shared.values():
            for owner in shared.owners:
                candidate = self.candidates.get(owner)
                if owner not in gone and (candidate is None or candidate.fault):
                    shared.fault = True

    def subjects(self) -> list[ArchivedSubject]:
        """What goes."""
        found = [_instance(one) for one in self.candidates.values() if not one.fault]
        found += [_shared(one) for one in self.shared.values() if not one.fault]
        return found

    def left(self) -> Counter[str]:
        """How many candidates stay, by why."""
        return Counter(one.fault for one in self.candidates.values() if one.fault)


def _note_revision(candidate: Candidate, stored: Stored) -> None:
    if stored.seq > candidate.last:
        candidate.fault = CHANGED
        return
    try:
        revision = _revision.decode(stored.data)
    except (msgspec.MsgspecError, UnicodeError):
        candidate.fault = DAMAGED
        return
    own = document_hash(stored.data)
    if candidate.messages == 0:
        candidate.first, candidate.first_version = stored.seq, revision.version
        candidate.first_hash = own
        if revision.version == 1 and revision.prev:
            candidate.fault = DAMAGED
    elif (revision.version, revision.prev) != (candidate.reached + 1, candidate.hash):
        candidate.fault = DAMAGED
    candidate.reached, candidate.hash = revision.version, own
    candidate.messages += 1
    candidate.payload += len(stored.data)


def _instance(one: Candidate) -> ArchivedSubject:
    return ArchivedSubject(
        subject=one.subject,
        kind="instance",
        saga=one.saga,
        key=one.key,
        version=one.version,
        status=one.status,
        first=one.first,
        last=one.last,
        messages=one.messages,
        hash=one.hash,
        ids=one.ids,
    )


def _shared(one: Shared) -> ArchivedSubject:
    return ArchivedSubject(
        subject=one.subject,
        kind="commands",
        saga="",
        key="",
        version=0,
        status="",
        first=one.first,
        last=one.last,
        messages=one.messages,
        hash=one.hash,
    )
