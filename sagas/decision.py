"""The answers of the kernel: a closed union, and how a finished draft becomes a transition.

A Transition changes the instance; Ignored, Undeliverable and Refused say why nothing changes.
Whoever matches them ends with ``assert_never``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from sagas.draft import Draft
from sagas.instance import Instance, encode
from sagas.messages import Cause
from sagas.programs.standing import Standing

IgnoredCode: TypeAlias = Literal[
    "duplicate",
    "finished",
    "timer_moot",
    "already_answered",
    "unknown_instance",
    "no_handler",
    "moot",
]


class Snapshot(Struct, frozen=True, gc=False):
    """What is known of an instance before a message: its last document and that document's hash, or
    neither.

    ``standing`` is that of the transition that made just this document. It changes no decision.
    """

    key: str
    instance: Instance | None = None
    hash: str = ""
    standing: Standing | None = None


class Transition(Struct, frozen=True, gc=False):
    """The instance changes: ``after`` is its next document, ``document`` the same as it is stored.

    ``ignored`` are messages that had waited and were let go, with reasons. ``standing`` is the
    function of a workflow where it waits, for the next Snapshot.
    """

    before: Instance | None
    after: Instance
    document: bytes
    ignored: tuple[tuple[Cause, Ignored], ...] = ()
    standing: Standing | None = None


class Ignored(Struct, frozen=True):
    """The instance stays as it is, for this reason."""

    code: IgnoredCode
    reason: str


class Undeliverable(Struct, frozen=True):
    """The message can make no progress; it is kept as a dead letter with this reason."""

    reason: str


class Refused(Struct, frozen=True):
    """An operator's action that the instance doesn't allow now; ``version`` is where it stands."""

    reason: str
    version: int


Decision: TypeAlias = Transition | Ignored | Undeliverable | Refused


def commit(draft: Draft, snapshot: Snapshot) -> Transition:
    """The transition a finished draft stands for."""
    after = draft.finish(snapshot.hash)
    dropped = draft.dropped
    ignored = tuple((c, Ignored(code, reason)) for c, code, reason in dropped) if dropped else ()
    standing = draft.standing if draft.standing is not snapshot.standing else None
    draft.standing = None  # which holds this draft, and is closed as soon as nobody holds it
    return Transition(snapshot.instance, after, encode(after), ignored, standing)
