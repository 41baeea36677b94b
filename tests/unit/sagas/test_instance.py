"""Goal: a document is read back as it was written, and a history that lies is found out.

Method: a short history, then the same with one thing changed: version, hash, status, schema.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import structs

from sagas import define_saga, send
from sagas.errors import IllegalTransition
from sagas.instance import (
    FINISHED,
    SCHEMA_VERSION,
    STATUS_TRANSITIONS,
    Instance,
    decode,
    document_hash,
    encode,
    evolve,
)
from sagas.kernel import Transition, decide
from tests.unit.sagas.factories import AT, event, started

SAGA = (
    define_saga("S")
    .state({"n": 1})
    .on("Start", lambda saga: send("job", {"x": 1}))
    .on("Do", lambda saga: None)
    .build()
)


def _two() -> tuple[Instance, str, Instance]:
    snapshot = started(SAGA)
    decision = decide(SAGA, snapshot, event("Do"), AT)
    assert isinstance(decision, Transition)
    assert snapshot.instance is not None
    return snapshot.instance, snapshot.hash, decision.after


def test_a_document_has_what_the_contract_promises() -> None:
    first, hash, second = _two()
    document = json.loads(encode(first))
    assert set(document) >= {
        *("v", "saga", "key", "version", "status", "state", "started", "at", "cause", "effects"),
        *("error", "definition", "trace", "prev"),
    }
    assert document["effects"] == [
        {"kind": "send", "target": "job", "id": "S.k.1.0", "payload": {"x": 1}}
    ]
    assert (second.prev, second.version) == (hash, 2)
    assert decode(encode(first)) == first
    assert document_hash(encode(first)) == hash


def test_fields_a_reader_does_not_know_are_no_trouble() -> None:
    document = json.loads(encode(_two()[0])) | {"new": {"x": 1}}
    assert decode(json.dumps(document).encode()).saga == "S"


def test_a_newer_schema_is_refused() -> None:
    newer = encode(structs.replace(_two()[0], v=SCHEMA_VERSION + 1))
    with pytest.raises(IllegalTransition, match="newer Snorri"):
        decode(newer)
    with pytest.raises(msgspec.ValidationError):
        decode(b"{}")


def test_a_history_that_fits_is_taken() -> None:
    first, hash, second = _two()
    assert evolve(None, "", first) is first
    assert evolve(first, hash, second) is second


@pytest.mark.parametrize(
    ("change", "words"),
    [({"version": 3}, "missing"), ({"prev": "0" * 64}, "continue"), ({"status": "x"}, "become")],
)
def test_a_history_that_does_not_fit_is_found_out(change: dict[str, object], words: str) -> None:
    first, hash, second = _two()
    with pytest.raises(IllegalTransition, match=words):
        evolve(first, hash, structs.replace(second, **change))


def test_statuses_lead_on_and_only_operators_lead_back() -> None:
    everyone = set(STATUS_TRANSITIONS)
    assert all(after <= everyone for after in STATUS_TRANSITIONS.values())
    for status in FINISHED:
        assert not STATUS_TRANSITIONS[status] & {"running", "paused", "completed"}
