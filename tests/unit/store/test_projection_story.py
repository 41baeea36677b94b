"""Goal: each kind of message makes the rows it should, and only those.

Method: the story of `projected` told once by an engine; transitions and instances are compared with
the documents themselves, read by the code of the sagas; what is derived (commands, timers,
outcomes, dead letters, actions) against expectations written down here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sagas.draft import GATE_SAGA
from sagas.instance import Instance
from store.codec import moment
from store.duck.file import DuckFile
from store.lookup import revision_of
from tests.unit.store.projected import Story, rows, tables_of, tell


@pytest.fixture(scope="module")
def story() -> Story:
    """The story."""
    return asyncio.run(tell())


@pytest.fixture(scope="module")
def tables(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckFile]:
    """Its tables, made in one batch."""
    file = tables_of(tmp_path_factory.mktemp("story"), story)
    yield file
    file.close()


def _documents(story: Story) -> list[tuple[int, datetime, Instance]]:
    prefix = story.names.instances().removesuffix("*.*")
    found = [revision_of(one) for one in story.log if one.subject.startswith(prefix)]
    return [(one.seq, one.at, one.instance) for one in found if one.instance.saga != GATE_SAGA]


def _json(text: Any) -> Any:
    return None if text is None else json.loads(text)


def test_transitions_are_the_documents(story: Story, tables: DuckFile) -> None:
    documents = _documents(story)
    before: dict[tuple[str, str], tuple[datetime, Instance]] = {}
    expected = []
    for seq, at, one in documents:
        earlier = before.get((one.saga, one.key))
        before[one.saga, one.key] = (at, one)
        cause = one.cause
        expected.append(
            (
                *(one.saga, one.key, one.version, seq, at),
                *(earlier and earlier[1].status, one.status),
                *(earlier and _json(bytes(earlier[1].state)), _json(bytes(one.state))),
                *(cause.kind, cause.type, cause.id, cause.seq, cause.at),
                *(_json(bytes(cause.payload)), cause.by, cause.reason),
                *(cause.answers, cause.failed, len(one.effects)),
                *(one.error and one.error.type, one.error and one.error.message),
                *(one.definition, one.trace, one.prev),
                earlier and (at - earlier[0]) / timedelta(milliseconds=1),
            )
        )
    found = rows(
        tables,
        """SELECT saga, key, version, seq, committed_at, status_before, status, state_before,
        state_after, cause_kind, cause_type, cause_id, cause_seq, cause_at, cause_payload,
        cause_by, cause_reason, answers, failed, effect_count, error_type, error_message,
        definition, trace, prev, since_previous_ms FROM transitions""",
    )
    read = [(*row[:7], _json(row[7]), _json(row[8]), *row[9:14], _json(row[14]), *row[15:])
            for row in found]  # fmt: skip
    assert read == expected


def test_instances_are_the_last_documents(story: Story, tables: DuckFile) -> None:
    last: dict[tuple[str, str], tuple[int, datetime, Instance]] = {}
    since: dict[tuple[str, str], datetime] = {}
    for seq, at, one in _documents(story):
        identity = (one.saga, one.key)
        if identity not in last or last[identity][2].status != one.status:
            since[identity] = at
        last[identity] = (seq, at, one)
    expected = {
        identity: (
            *(one.version, one.status, _json(bytes(one.state)), one.started, at, since[identity]),
            since[identity] if one.finished else None,
            *(seq, one.cause.kind, one.cause.type, len(one.commands), len(one.timers)),
            list(one.children.values()).count("running"),
            *(len(one.backlog), one.parent and one.parent.saga, one.parent and one.parent.key),
        )
        for identity, (seq, at, one) in last.items()
    }
    found = rows(
        tables,
        """SELECT saga, key, version, status, state, started_at, changed_at, status_since, ended_at,
        seq, cause_kind, cause_type, open_commands, open_timers, open_children, backlog,
        parent_saga, parent_key FROM instances""",
    )
    read = {(row[0], row[1]): (*row[2:4], _json(row[4]), *row[5:]) for row in found}
    assert read == expected
    assert len(found) == len(expected)


def test_instances_lie_in_the_order_of_their_last_change(tables: DuckFile) -> None:
    seqs = [seq for (seq,) in rows(tables, "SELECT seq FROM base.instances ORDER BY rowid")]
    assert seqs == sorted(seqs)


def test_effects_are_those_of_the_documents(story: Story, tables: DuckFile) -> None:
    expected = [
        (seq, ordinal, json.loads(msgspec.json.encode(effect)))
        for seq, _, one in _documents(story)
        for ordinal, effect in enumerate(one.effects)
    ]
    found = rows(tables, "SELECT seq, ordinal, detail FROM effects ORDER BY seq, ordinal")
    assert [(seq, ordinal, _json(detail)) for seq, ordinal, detail in found] == expected
    named = "SELECT DISTINCT kind, name FROM effects ORDER BY ALL"
    assert {("send", "pay"), ("schedule", "Rang"), ("unschedule", ""), ("spawn", "Child")} <= set(
        rows(tables, named)
    )
    result = "SELECT payload FROM effects WHERE kind = 'complete' AND key = 'o-1'"
    assert _json(rows(tables, result)[0][0]) == {"paid": True}


COMMANDS = {
    "Order.o-1.1.0": ("completed", 1, 1, 2000.0, None),
    "Order.o-2.1.0": ("completed", 1, 0, 2000.0, None),
    "Order.o-3.1.0": ("completed", 2, 2, 0.0, "bank is gone"),
    "Order.o-4.1.0": ("failed", 1, 0, 0.0, "no card"),
    "Order.o-6.1.0": ("open", 1, 0, None, None),
    "Keyed.g-1.1.0": ("completed", 1, 0, 0.0, None),
    "Keyed.g-2.1.0": ("dropped", 1, 0, None, None),
}


@pytest.mark.parametrize("id", COMMANDS)
def test_commands_stand_as_they_do(tables: DuckFile, id: str) -> None:
    sql = "SELECT status, sends, attempts, total_ms, error FROM commands WHERE id = $1"
    assert rows(tables, sql, id) == [COMMANDS[id]]


def test_a_command_knows_where_its_message_is(story: Story, tables: DuckFile) -> None:
    prefix = f"{story.names.namespace}.commands."
    last = {
        one.headers["Snorri-Command-Id"]: (one.seq, _json(one.data), one.headers["traceparent"])
        for one in story.log
        if one.subject.startswith(prefix)
    }
    found = rows(tables, "SELECT id, seq, payload, trace FROM commands WHERE seq IS NOT NULL")
    assert {id: (seq, _json(payload), trace) for id, seq, payload, trace in found} == last
    waiting = rows(tables, "SELECT id FROM commands WHERE seq IS NULL")
    assert waiting == [("Keyed.g-2.1.0",)]


def test_executions_are_the_records(tables: DuckFile) -> None:
    sql = """SELECT command, target, saga, key, worker, attempt, queued_ms, duration_ms, outcome,
        error FROM executions ORDER BY seq"""
    order = ("pay", "Order")
    assert rows(tables, sql) == [
        ("Order.o-1.1.0", *order, "o-1", "w-1", 1, 1000.0, 250.0, "completed", ""),
        ("Order.o-3.1.0", *order, "o-3", "w-1", 1, 1000.0, 250.0, "retried", "Timeout: bank"),
        ("Order.o-3.1.0", *order, "o-3", "w-1", 2, 1000.0, 250.0, "failed", "bank is gone"),
    ]


def test_timers_end_as_they_did(tables: DuckFile) -> None:
    sql = "SELECT key, status, ended_at - set_at, due_at - set_at FROM timers ORDER BY key, set_at"
    half, bell = timedelta(seconds=5), timedelta(seconds=30)
    assert rows(tables, sql) == [
        ("o-6", "cancelled", timedelta(0), bell),
        ("o-7", "replaced", half, bell),
        ("o-7", "fired", bell, bell),
        ("o-8", "cancelled", half, bell),
        ("t-1", "fired", half, bell),
        ("t-2", "replaced", half, bell),
        ("t-2", "fired", timedelta(0), timedelta(0)),
        ("t-3", "replaced", half, bell),
        ("t-3", "pending", None, timedelta(seconds=60)),
        ("t-4", "cancelled", half, bell),
    ]


OUTCOMES = [
    ("Placed", "place-1", "applied", 1, False),
    ("Placed", "place-1", "ignored", 0, True),
    ("Snorri-Attempted", "", "ignored", 0, True),
    ("Snorri-Failed", "", "applied", 1, False),
    ("Nobody", "", "no_saga", 0, True),
    ("Nothing", "", "no_saga", 0, True),
    ("Grown", "", "applied", 1, False),
    ("OrderTold", "Order.o-9.3.0", "applied", 1, False),
]


@pytest.mark.parametrize("expected", OUTCOMES, ids=lambda row: f"{row[0]}-{row[2]}")
def test_an_event_shows_what_became_of_it(tables: DuckFile, expected: Any) -> None:
    sql = "SELECT type, id, outcome, instances, reason IS NOT NULL FROM events"
    assert expected in rows(tables, sql)


def test_no_event_waits_when_all_are_handled(story: Story, tables: DuckFile) -> None:
    found = dict(rows(tables, "SELECT outcome, count(*) FROM events GROUP BY outcome"))
    assert "waiting" not in found
    assert sum(found.values()) == len(story.events)
    bad = rows(tables, "SELECT payload, bytes FROM events WHERE outcome = 'dead_letter'")
    assert (None, len(b"{no json")) in bad


def test_events_that_no_engine_has_read_wait(
    story: Story, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = Story(names=story.names, events=story.events, log=[])
    file = tables_of(tmp_path_factory.mktemp("alone"), alone)
    found = rows(file, "SELECT DISTINCT outcome, instances FROM events WHERE type <> $1",
                 "Snorri-Attempted")  # fmt: skip
    assert found == [("waiting", 0)]
    file.close()


def test_keys_and_payloads_come_through_as_they_were(tables: DuckFile) -> None:
    sql = "SELECT key, payload FROM events WHERE key LIKE 'ä%'"
    (key, payload), *more = rows(tables, sql)
    assert (key, _json(payload), more) == ("ä b.>/*", {"order": "ä b.>/*"}, [])
    assert rows(tables, "SELECT saga, key FROM instances WHERE key LIKE 'ä%'") == [
        ("Order", "ä b.>/*")
    ]


def test_dead_letters_show_their_last_status(tables: DuckFile) -> None:
    sql = 'SELECT id, status, command, created_at = changed_at, "by", note FROM dead_letters'
    found = {row[0]: row[1:] for row in rows(tables, sql)}
    assert found["events-9-Order-job"] == ("open", "Order.o-3.1.0", True, "", "")
    closed = [row for row in found.values() if row[0] == "discarded"]
    assert [(row[3], row[4]) for row in closed] == [("Ola", "old news")]


ACTIONS = {
    "op-retry": ("retry", "done", 3, None),
    "op-skip": ("skip", "done", 4, None),
    "op-cancel": ("cancel", "done", 3, None),
    "op-late": ("pause", "refused", None, "Order/o-1 is completed"),
    "op-nobody": ("pause", "refused", None, "Order/nobody does not exist"),
}


@pytest.mark.parametrize("id", ACTIONS)
def test_actions_show_what_became_of_them(tables: DuckFile, id: str) -> None:
    action, outcome, version, refusal = ACTIONS[id]
    sql = """SELECT action, outcome, version, refusal, "by", decided_at IS NOT NULL
        FROM operator_actions WHERE id = $1"""
    ((*found, said, by, decided),) = rows(tables, sql, id)
    assert (found, by, decided) == ([action, outcome, version], "Ola", True)
    assert (said or "").startswith(refusal or "")
    assert (said is None) == (refusal is None)


def test_gates_are_left_out(story: Story, tables: DuckFile) -> None:
    gates = story.names.instances(GATE_SAGA).removesuffix("*")
    assert any(one.subject.startswith(gates) for one in story.log)
    for relation in ("instances", "transitions", "effects"):
        assert rows(tables, f"SELECT count(*) FROM {relation} WHERE saga = $1", GATE_SAGA) == [(0,)]


def test_the_times_are_those_of_the_broker(story: Story, tables: DuckFile) -> None:
    expected = [(one.seq, moment(one.at_ns)) for one in story.events]
    assert rows(tables, "SELECT seq, stored_at FROM events ORDER BY seq") == expected
    assert expected[0][1].tzinfo is UTC
