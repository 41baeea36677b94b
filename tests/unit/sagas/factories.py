"""Small makers for tests of the kernel: causes, snapshots, and a world of one instance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sagas import SagaDefinition
from sagas.instance import document_hash
from sagas.kernel import Decision, Snapshot, Transition, decide
from sagas.messages import Cause, to_raw

AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(type: str, payload: object = None, **more: Any) -> Cause:
    """An event as the engine reads it."""
    return cause("event", type, payload, **more)


def cause(kind: Any, type: str, payload: object = None, **more: Any) -> Cause:
    """A message of any kind."""
    fields = {"id": "m-1", "seq": 1, "at": AT, **more}
    return Cause(kind=kind, type=type, payload=to_raw(payload), **fields)


def after(decision: Decision) -> Snapshot:
    """What is stored once a decision, which must be a transition, is committed."""
    assert isinstance(decision, Transition), decision
    return Snapshot(decision.after.key, decision.after, document_hash(decision.document))


def started(definition: SagaDefinition, payload: object = None, key: str = "k") -> Snapshot:
    """An instance after its starting message."""
    first = definition.starting[0]
    return after(decide(definition, Snapshot(key), event(first, payload, id="m-0"), AT))
