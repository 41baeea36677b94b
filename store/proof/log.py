"""The proof of the log: versions 1 … n without gaps, each with the hash of the one before, each
command with the transition that sent it.

Messages are given once, in the order of the log, and forgotten. What is kept is some 150 bytes for
each *instance* (its last version and hash under a digest of its subject) and the commands of the
commit at hand, so a million transitions of a hundred thousand instances take fifteen megabytes.
Pure.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from sagas.draft import GATE_SAGA
from sagas.instance import document_hash
from sagas.names import is_call
from store import codec
from store.port import BATCH_MESSAGES_MAX, Stored
from store.proof.findings import Findings
from store.proof.stretches import Stretches, transition_text
from store.subjects import BadName, Names, unescape

HASH_BITS = 256


class _Effect(Struct, gc=False):
    kind: str
    id: str = ""
    gated: bool = False
    inline: bool = False


class _Cause(Struct, gc=False):
    kind: str
    seq: int


class _Document(Struct, gc=False):
    saga: str
    key: str
    version: int
    status: str
    cause: _Cause
    effects: tuple[_Effect, ...]
    prev: str


_document = msgspec.json.Decoder(_Document)
_any = msgspec.json.Decoder(Any)  # notes and dead letters: whether it is JSON at all


class LogProof:
    """Takes the messages of a log, ``end`` says that there are no more."""

    def __init__(self, names: Names, findings: Findings) -> None:
        self.revisions = 0
        self.commands = 0
        self.messages = 0
        self.events_referred = 0  # the highest sequence of an event that changed an instance
        self.stretches = Stretches()
        self._found = findings
        self._names = names
        self._instances = f"$KV.{names.bucket}.i."
        self._records = tuple(f"$KV.{names.bucket}.{room}." for room in "ndah")
        self._commands = f"{names.namespace}.commands."
        self._last: dict[int, int] = {}
        self._sent: dict[str, int] = {}  # commands of revisions that have not come yet
        self._called: set[int] = set()  # digests of the ids of what steps have sent themselves

    @property
    def instances(self) -> int:
        """How many instances have turned up."""
        return len(self._last)

    def take(self, stored: Stored) -> None:
        """The next message."""
        self.messages += 1
        subject = stored.subject
        if subject.startswith(self._instances):
            self._revision(stored)
        elif subject.startswith(self._commands):
            self._command(stored)
        elif subject.startswith(self._records) and stored.data:
            self._record(stored)

    def end(self) -> None:
        """No more messages."""
        self._overdue(None)

    def _revision(self, stored: Stored) -> None:
        self.revisions += 1
        self._overdue(stored.seq)
        try:
            document = _document.decode(stored.data)
            named = self._names.parse_instance(stored.subject)
        except (msgspec.MsgspecError, BadName, UnicodeError) as error:
            self._found.add("unreadable", f"revision {stored.seq} ({stored.subject}): {error}")
            return
        name = f"{document.saga}/{document.key}"
        if named != (document.saga, document.key):
            self._found.add("chain", f"revision {stored.seq} of {name} stands under {named}")
        self._link(stored, document, name)
        for effect in document.effects:
            if effect.kind == "send" and not effect.gated and not effect.inline:
                self._sent[effect.id] = stored.seq
        if document.cause.kind == "event":
            self.events_referred = max(self.events_referred, document.cause.seq)
        if document.saga != GATE_SAGA:
            text = transition_text(
                *(document.saga, document.key, document.version),
                *(stored.seq, document.status, document.prev),
            )
            self.stretches.add(stored.seq, text)

    def _link(self, stored: Stored, document: _Document, name: str) -> None:
        """Whether it follows the version before it."""
        place = _digest(stored.subject)
        before = self._last.get(place, 0)
        version, hash_before = before >> HASH_BITS, before & (1 << HASH_BITS) - 1
        if document.version != version + 1:
            follows = f"follows version {version}" if version else "is the first there is"
            self._found.add(
                "version", f"{name}: version {document.version} (revision {stored.seq}) {follows}"
            )
        elif document.prev != (f"{hash_before:064x}" if before else ""):
            self._found.add(
                "chain",
                f"{name}: version {document.version} (revision {stored.seq}) does not continue the"
                " version before it",
            )
        own = int(document_hash(stored.data), 16)
        self._last[place] = document.version << HASH_BITS | own

    def _command(self, stored: Stored) -> None:
        self.commands += 1
        headers = stored.headers
        id = headers.get(codec.COMMAND_ID, "")
        if self._sent.pop(id, None) is not None:
            return
        if codec.BY in headers or headers.get(codec.ATTEMPT, "1") != "1":
            return  # sent again by an operator
        try:
            saga, key = unescape(headers[codec.SAGA]), unescape(headers[codec.KEY])
            version = int(headers[codec.VERSION])
        except (KeyError, ValueError) as error:
            self._found.add("orphan_command", f"command {stored.seq} does not say whose: {error}")
            return
        last = self._last.get(_digest(self._names.instance(saga, key)), 0) >> HASH_BITS
        if last < version:
            self._found.add(
                "orphan_command",
                f"command {id} ({stored.seq}): {saga}/{key} has no version {version}",
            )
        elif not is_call(id) or _digest(id) in self._called:
            self._found.add("double_command", f"command {id} is there a second time ({stored.seq})")
        else:
            self._called.add(_digest(id))

    def _record(self, stored: Stored) -> None:
        try:
            _any.decode(stored.data)
        except (msgspec.MsgspecError, UnicodeError) as error:
            self._found.add("unreadable", f"record {stored.seq} ({stored.subject}): {error}")

    def _overdue(self, seq: int | None) -> None:
        """Commands stand within their commit, so behind its longest they have been lost."""
        while self._sent:
            id = next(iter(self._sent))
            sent = self._sent[id]
            if seq is not None and seq - sent < BATCH_MESSAGES_MAX:
                return
            del self._sent[id]
            self._found.add("lost_command", f"command {id} of revision {sent} is not in the log")


def _digest(text: str) -> int:
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12)
    return int.from_bytes(hashed.digest(), "big")
