"""Goal: the cache keeps its bounds, forgets the least used first, and never a subject in use.

Method: entries put and read by hand.
"""

from __future__ import annotations

import pytest

from jobs.cache import ENTRY_OVERHEAD_BYTES, Cache
from sagas import WorkflowSaga, workflow
from sagas.draft import Draft
from sagas.instance import StepRecord
from sagas.kernel import Snapshot
from sagas.programs.run import Run
from sagas.programs.standing import Standing
from sagas.programs.workflow_execution import Execution
from sagas.testing import given
from store.port import Stored


@workflow("Sleepy")
async def _sleepy(saga: WorkflowSaga) -> None:
    await saga.sleep("1h")


def _nothing(record: StepRecord) -> None: ...


def test_the_least_used_goes_first() -> None:
    cache = Cache(entries_max=2)
    for key in ("a", "b", "c"):
        cache.put(key, key, None)
    cache.get("a")
    cache.trim(set())
    assert (cache.get("b"), len(cache)) == (None, 2)
    assert cache.get("a") is not None


def test_subjects_in_use_stay_over_the_bound() -> None:
    cache = Cache(entries_max=1)
    for key in ("a", "b", "c"):
        cache.put(key, key, None)
    cache.trim({"a", "b", "c"})
    assert len(cache) == 3


def test_bytes_are_counted_as_documents_grow_and_go() -> None:
    cache = Cache(bytes_max=3 * ENTRY_OVERHEAD_BYTES)
    first = cache.put("a", "a", None)
    cache.put("b", "b", None)
    cache.trim(set())
    assert len(cache) == 2
    cache.changed(first, 2 * ENTRY_OVERHEAD_BYTES)
    cache.trim(set())
    assert len(cache) == 1
    cache.drop("b")
    cache.drop("b")
    assert len(cache) == 0


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 5000, b"null", b'{"v":1}'], ids=repr)
def test_a_document_that_cant_be_read_is_an_entry_with_a_fault(data: bytes) -> None:
    entry = Cache().put("a", "a", Stored("a", 7, 0, data))
    assert entry.fault
    assert (entry.revision, entry.snapshot.instance) == (7, None)


def test_a_deleted_instance_is_none_but_its_revision_counts() -> None:
    entry = Cache().put("a", "a", Stored("a", 7, 0, b""))
    assert (entry.revision, entry.snapshot.instance, entry.fault) == (7, None, "")


def test_only_so_many_functions_are_kept_where_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.cache.STANDING_MAX", 2)
    cache, program = Cache(), object()
    run = given(_sleepy, key="k").when("Sleepy")
    entries = {key: cache.put(key, key, None) for key in "abc"}
    for key, entry in entries.items():
        execution = Execution(Run(Draft(_sleepy, key, None, run.instance.cause, run.now)), _nothing)
        entry.snapshot = Snapshot(key, run.instance, "", Standing(execution, program))
        cache.changed(entry, entry.size)
    assert [key for key, entry in entries.items() if entry.snapshot.standing] == ["b", "c"]
    cache.drop("b")
    entries["c"].snapshot = Snapshot("c", run.instance)
    cache.changed(entries["c"], entries["c"].size)
    cache.changed(entries["a"], entries["a"].size)
    assert not cache._standing
