"""Goal: the proof of a log finds what is wrong with it, says where, and is silent when all is well.

Method: a log made by the chaos orders on the memory broker is given message by message, whole and
with one planted fault each: a version left out, a document altered, a command removed, doubled or
made up, a record that is no JSON.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio
from msgspec import structs

from sagas.names import call_command_id
from store.memory import MemoryBroker
from store.port import Stored
from store.proof.findings import SHOWN_MAX, Findings
from store.proof.log import LogProof
from store.subjects import Names
from tests.orders_kit import run_orders

NAMES = Names()
ORDERS = 6

Log = list[Stored]


@pytest_asyncio.fixture
async def log() -> AsyncIterator[Log]:
    """The log after some orders have ended."""
    broker = MemoryBroker(NAMES)
    backend = broker.backend()
    await run_orders(backend, NAMES, ORDERS)
    yield [stored async for stored in backend.log.history(">")]
    await backend.close()


def _found(log: Log) -> dict[str, str]:
    """The first fault of each kind."""
    findings = Findings()
    proof = LogProof(NAMES, findings)
    for stored in log:
        proof.take(stored)
    proof.end()
    return {finding.kind: finding.shown[0] for finding in findings.list()}


def _place(log: Log, fits: Callable[[Stored], bool]) -> int:
    return next(index for index, stored in enumerate(log) if fits(stored))


def _is_version(version: int) -> Callable[[Stored], bool]:
    return lambda stored: (
        f'"version":{version},'.encode() in stored.data and ".i." in stored.subject
    )


def _is_command(stored: Stored) -> bool:
    return stored.subject.startswith("saga.commands.")


@pytest.mark.asyncio
async def test_a_whole_log_has_no_faults_and_is_counted(log: Log) -> None:
    findings = Findings()
    proof = LogProof(NAMES, findings)
    for stored in log:
        proof.take(stored)
    proof.end()
    assert findings.list() == ()
    assert proof.instances == ORDERS
    assert proof.revisions == sum(".i." in stored.subject for stored in log)
    assert proof.commands == sum(map(_is_command, log)) > ORDERS
    assert sum(proof.stretches.counts.values()) == proof.revisions


@pytest.mark.asyncio
async def test_a_version_left_out_is_named(log: Log) -> None:
    del log[_place(log, _is_version(2))]
    found = _found(log)
    assert "version 3" in found["version"]
    assert "follows version 1" in found["version"]


@pytest.mark.asyncio
async def test_a_first_version_left_out_is_named(log: Log) -> None:
    del log[_place(log, _is_version(1))]
    assert "is the first there is" in _found(log)["version"]


@pytest.mark.asyncio
async def test_an_altered_document_breaks_the_chain(log: Log) -> None:
    place = _place(log, _is_version(1))
    altered = log[place].data.replace(b'"steps":["created"]', b'"steps":["CREATED"]')
    assert altered != log[place].data
    log[place] = structs.replace(log[place], data=altered)
    assert "does not continue" in _found(log)["chain"]


@pytest.mark.asyncio
async def test_a_lost_command_is_named_with_its_revision(log: Log) -> None:
    command = log.pop(_place(log, _is_command))
    assert command.headers["Snorri-Command-Id"] in _found(log)["lost_command"]


@pytest.mark.asyncio
async def test_a_second_copy_of_a_command_is_named(log: Log) -> None:
    copy = log[_place(log, _is_command)]
    log.append(structs.replace(copy, seq=log[-1].seq + 1))
    assert "a second time" in _found(log)["double_command"]


@pytest.mark.asyncio
async def test_a_command_without_a_transition_is_an_orphan(log: Log) -> None:
    copy = log[_place(log, _is_command)]
    headers = {**copy.headers, "Snorri-Key": "nobody", "Snorri-Command-Id": "ChaosOrder.nobody.1.0"}
    log.append(structs.replace(copy, seq=log[-1].seq + 1, headers=headers))
    assert "ChaosOrder/nobody has no version 1" in _found(log)["orphan_command"]


@pytest.mark.asyncio
async def test_a_command_sent_again_by_an_operator_is_no_fault(log: Log) -> None:
    copy = log[_place(log, _is_command)]
    headers = {**copy.headers, "Snorri-Attempt": "2"}
    log.append(structs.replace(copy, seq=log[-1].seq + 1, headers=headers))
    assert _found(log) == {}


@pytest.mark.asyncio
async def test_what_a_step_has_sent_itself_is_no_fault_once(log: Log) -> None:
    copy = log[_place(log, _is_command)]
    id = call_command_id(copy.headers["Snorri-Command-Id"], "0" * 32, waits=True)
    headers = {**copy.headers, "Snorri-Command-Id": id}
    log.append(structs.replace(copy, seq=log[-1].seq + 1, headers=headers))
    assert _found(log) == {}
    log.append(structs.replace(copy, seq=log[-1].seq + 1, headers=headers))
    assert "a second time" in _found(log)["double_command"]


def test_bytes_that_are_no_document_are_named() -> None:
    stored = Stored(NAMES.instance("S", "k"), 7, 1, b"\xff{")
    assert "revision 7" in _found([stored])["unreadable"]


def test_a_document_under_another_key_is_named() -> None:
    document = {
        "saga": "S",
        "key": "other",
        "version": 1,
        "status": "running",
        "cause": {"kind": "event", "seq": 1},
        "effects": [],
        "prev": "",
    }
    stored = Stored(NAMES.instance("S", "k"), 7, 1, msgspec.json.encode(document))
    assert "stands under" in _found([stored])["chain"]


def test_of_many_faults_the_first_are_shown_and_all_counted() -> None:
    findings = Findings()
    for number in range(3 * SHOWN_MAX):
        findings.add("chain", f"fault {number}")
    (finding,) = findings.list()
    assert finding.count == 3 * SHOWN_MAX == len(findings)
    assert len(finding.shown) == SHOWN_MAX
    assert finding.mend
