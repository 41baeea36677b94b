"""Goal: attempts at steps that the engine carried out itself are rows like those of workers.

Such a record is in the revision that the answer caused, not in an event. Method: one document with
a record in its place, and others in which something only looks like one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from store.port import Stored
from store.subjects import Names
from tests.unit.store.projected import Story, execution, rows, tables_of

COMMAND = "Order.zz.1.0"
RECORD = msgspec.json.decode(execution(COMMAND, 1, "failed", "bank is gone"))


def _log(cause: dict[str, Any]) -> list[Stored]:
    """A sender of the command, and the revision that its answer caused."""
    common = {"v": 1, "saga": "Order", "key": "zz", "status": "running", "state": {}}
    sent = {
        **common,
        "version": 1,
        "cause": {"kind": "event", "type": "Placed", "id": "", "seq": 1},
        "effects": [{"kind": "send", "target": "pay", "id": COMMAND, "payload": {}}],
    }
    answered = {
        **common,
        "version": 2,
        "cause": {
            "kind": "signal",
            "type": "Paid",
            "id": "",
            "seq": 2,
            "answers": COMMAND,
            **cause,
        },
        "effects": [],
    }
    subject = Names().instance("Order", "zz")
    return [
        Stored(subject, seq, seq, msgspec.json.encode(document))
        for seq, document in enumerate((sent, answered), 1)
    ]


@pytest.mark.parametrize("batches", [[(0, 2)], [(0, 1), (0, 1)]])
def test_the_record_in_a_revision_is_an_attempt(
    tmp_path: Path, batches: list[tuple[int, int]]
) -> None:
    story = Story(Names(), [], _log({"execution": RECORD}))
    file = tables_of(tmp_path, story, batches)
    sql = "SELECT stream, seq, command, target, saga, key, attempt, outcome, error FROM executions"
    found = ("pay", "Order", "zz", 1, "failed", "bank is gone")
    assert rows(file, sql) == [("log", 2, COMMAND, *found)]
    assert rows(file, "SELECT attempts, error FROM commands") == [(1, "bank is gone")]
    file.close()


@pytest.mark.parametrize("batches", [[(0, 2)], [(0, 1), (0, 1)]])
def test_the_error_of_an_attempt_stands_before_the_reason_in_its_answer(
    tmp_path: Path, batches: list[tuple[int, int]]
) -> None:
    answer = {"seq": 0, "failed": True, "payload": {"reason": "given up"}}
    for number, cause in enumerate((answer, {**answer, "execution": RECORD})):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = tables_of(folder, Story(Names(), [], _log(cause)), batches)
        found = rows(file, "SELECT status, attempts, error FROM commands")
        assert found == [("failed", number, ("given up", "bank is gone")[number])]
        file.close()


@pytest.mark.parametrize(
    "cause",
    [
        {},
        {"execution": None},
        {"execution": []},
        {"execution": {"command": COMMAND}},
        {"payload": {"execution": RECORD, "kind": "operator"}},
        {"reason": '"execution":{"command":"x","attempt":1,"outcome":"completed"}'},
    ],
    ids=["none", "null", "a list", "half of one", "in a payload", "in a text"],
)
def test_what_is_no_record_is_no_attempt(tmp_path: Path, cause: dict[str, Any]) -> None:
    file = tables_of(tmp_path, Story(Names(), [], _log(cause)))
    assert rows(file, "SELECT count(*) FROM executions") == [(0,)]
    assert rows(file, "SELECT count(*) FROM transitions") == [(2,)]
    assert rows(file, "SELECT attempts, error, status FROM commands") == [(0, None, "completed")]
    assert file.unreadable == 0
    file.close()
