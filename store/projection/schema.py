"""The tables people query: every public relation with its columns, as data.

The DDL, the page of the docs, completion in the dashboard and the tests are made from this list.
A relation may be a table or a view, that is the database's own business; names, types and meaning
stand here. Times are TIMESTAMPTZ in UTC, durations are milliseconds as DOUBLE, JSON columns hold
masked values (secret fields are replaced before anything is written). ``VERSION`` changes with the
meaning of any column: a file of another version is rebuilt at start.
"""

from __future__ import annotations

from msgspec import Struct

VERSION = 1


class Column(Struct, frozen=True):
    """One column: its name, its DuckDB type, and what it means."""

    name: str
    type: str
    doc: str


class Relation(Struct, frozen=True):
    """One table or view that people query."""

    name: str
    doc: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of that name; raises KeyError."""
        return {column.name: column for column in self.columns}[name]


class Macro(Struct, frozen=True):
    """A function in the database: ``name`` and the names of what it takes, in order.

    ``table`` says whether it gives rows, so that it stands in FROM, or a value.
    """

    name: str
    takes: tuple[str, ...]
    table: bool
    doc: str

    @property
    def call(self) -> str:
        """How it is written."""
        return f"{self.name}({', '.join(self.takes)})"


def _columns(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


SAGA = ("saga", "VARCHAR", "Id of the saga definition")
KEY = ("key", "VARCHAR", "Correlation key: with the saga it names the instance")
VERSION_COLUMN = ("version", "INTEGER", "Version of the instance: 1, 2, 3 …")
TRACE = ("trace", "VARCHAR", "W3C traceparent, empty when there is none")

INSTANCES = Relation(
    "instances",
    "One row for each instance, as it stands now.",
    _columns(
        SAGA,
        KEY,
        VERSION_COLUMN,
        ("status", "VARCHAR", "Our status: running, completed, failed, …"),
        ("own_status", "VARCHAR", "The author's own state.status when it is text, else null"),
        ("state", "JSON", "The state now"),
        ("started_at", "TIMESTAMPTZ", "When version 1 was decided"),
        ("changed_at", "TIMESTAMPTZ", "When the last version was stored"),
        ("ended_at", "TIMESTAMPTZ", "When it came to its end, null while it is open"),
        ("status_since", "TIMESTAMPTZ", "Since when it has this status"),
        ("seq", "BIGINT", "Revision of the last version (sequence in the log)"),
        (
            "error_type",
            "VARCHAR",
            "Exception or word of ours why it is parked, failed or cancelled",
        ),
        ("error_message", "VARCHAR", "The error's message"),
        ("definition", "VARCHAR", "Hash of the definition that decided the last version"),
        ("definition_version", "INTEGER", "Version of the saga whose code made its state"),
        TRACE,
        ("parent_saga", "VARCHAR", "Saga of the instance that spawned it, else null"),
        ("parent_key", "VARCHAR", "Key of the instance that spawned it, else null"),
        ("cause_kind", "VARCHAR", "Kind of the message that caused the last version"),
        ("cause_type", "VARCHAR", "Type of the message that caused the last version"),
        ("open_commands", "INTEGER", "Commands without an answer"),
        ("open_timers", "INTEGER", "Timers that are set"),
        ("open_children", "INTEGER", "Children that have not ended"),
        ("backlog", "INTEGER", "Messages that wait in the instance"),
        ("result", "JSON", "What complete(…) was given, else null"),
    ),
)

TRANSITIONS = Relation(
    "transitions",
    "One row for each version of each instance: the history.",
    _columns(
        SAGA,
        KEY,
        VERSION_COLUMN,
        ("seq", "BIGINT", "Its revision (sequence in the log)"),
        ("committed_at", "TIMESTAMPTZ", "When the broker stored it"),
        ("status_before", "VARCHAR", "Status of the version before, null for the first"),
        ("status", "VARCHAR", "Status after it"),
        ("state_before", "JSON", "State of the version before, null for the first"),
        ("state_after", "JSON", "State after it"),
        ("cause_kind", "VARCHAR", "event, signal, timer, operator, spawn or child"),
        ("cause_type", "VARCHAR", "Type of the message, for operators the action"),
        ("cause_id", "VARCHAR", "Id of the message (idempotency key), may be empty"),
        ("cause_seq", "BIGINT", "Its sequence: of events in SAGA_EVENTS, of others in the log"),
        ("cause_at", "TIMESTAMPTZ", "When the message was stored"),
        ("cause_payload", "JSON", "Its payload"),
        ("cause_by", "VARCHAR", "Who acted, empty unless an operator did"),
        ("cause_reason", "VARCHAR", "Why, as the operator said"),
        ("answers", "VARCHAR", "Id of the command this message answers, else empty"),
        ("failed", "BOOLEAN", "Whether the answered command failed"),
        ("since_previous_ms", "DOUBLE", "Time since the version before, null for the first"),
        ("waited_ms", "DOUBLE", "Time from the message's storing to the transition's"),
        ("effect_count", "INTEGER", "How many effects it had"),
        ("error_type", "VARCHAR", "Error on the instance after it, else null"),
        ("error_message", "VARCHAR", "The error's message"),
        ("definition", "VARCHAR", "Hash of the definition that decided it"),
        ("definition_version", "INTEGER", "Version of the saga whose code made the state"),
        TRACE,
        ("prev", "VARCHAR", "SHA-256 of the document before it, empty for the first"),
    ),
)

EFFECTS = Relation(
    "effects",
    "One row for each effect of each transition, in order.",
    _columns(
        SAGA,
        KEY,
        VERSION_COLUMN,
        ("ordinal", "INTEGER", "Place among the effects of its transition, from 0"),
        ("seq", "BIGINT", "Revision of its transition"),
        ("committed_at", "TIMESTAMPTZ", "When its transition was stored"),
        ("kind", "VARCHAR", "send, publish, schedule, unschedule, spawn, complete, fail, …"),
        ("name", "VARCHAR", "Target, event type, timer's message type or child saga"),
        ("id", "VARCHAR", "Id of the effect; of a send the command's id"),
        ("payload", "JSON", "Payload, result or null"),
        ("detail", "JSON", "The whole effect as it is recorded"),
    ),
)

EVENTS = Relation(
    "events",
    "One row for each public event, handled or not; results of jobs are events too.",
    _columns(
        ("seq", "BIGINT", "Sequence in SAGA_EVENTS"),
        ("type", "VARCHAR", "Event type"),
        ("key", "VARCHAR", "Ordering key, null when it has none"),
        ("id", "VARCHAR", "Nats-Msg-Id, empty when it has none"),
        ("stored_at", "TIMESTAMPTZ", "When the broker stored it"),
        ("payload", "JSON", "Payload, null when it is no JSON"),
        ("answers", "VARCHAR", "Command it answers, else empty"),
        ("failed", "BOOLEAN", "Whether it reports a failed command"),
        TRACE,
        ("headers", "JSON", "All its headers"),
        ("bytes", "INTEGER", "Size of the payload"),
        (
            "outcome",
            "VARCHAR",
            "applied, ignored, refused, no_saga, dead_letter, or waiting while no engine has said",
        ),
        ("reason", "VARCHAR", "Why, when it was not applied; null otherwise"),
        ("instances", "INTEGER", "How many instances it changed"),
    ),
)

OUTCOMES = Relation(
    "outcomes",
    "What became of each message at each instance: the answer to what happened to an event.",
    _columns(
        ("stream", "VARCHAR", "events or log: where the message is"),
        ("seq", "BIGINT", "Its sequence there"),
        ("type", "VARCHAR", "Its type"),
        ("id", "VARCHAR", "Its id, may be empty"),
        ("saga", "VARCHAR", "Saga it reached, empty when none handles its type"),
        ("key", "VARCHAR", "Instance it reached, empty when none"),
        ("outcome", "VARCHAR", "applied, ignored, refused, no_saga or dead_letter"),
        ("version", "INTEGER", "Version it caused, null when none"),
        ("code", "VARCHAR", "Word of ours for the reason, empty when applied"),
        ("reason", "VARCHAR", "Reason in plain words, empty when applied"),
        ("by", "VARCHAR", "Who acted, empty unless an operator did"),
        ("recorded_at", "TIMESTAMPTZ", "When that was stored"),
    ),
)

COMMANDS = Relation(
    "commands",
    "One row for each command a saga sent to a job.",
    _columns(
        ("id", "VARCHAR", "Snorri-Command-Id"),
        ("target", "VARCHAR", "Job it is for"),
        SAGA,
        KEY,
        ("version", "INTEGER", "Version that sent it"),
        ("sends", "INTEGER", "How often it was sent: 1, more after an operator's retry"),
        ("seq", "BIGINT", "Its last sequence in the log, null while it waits for its key"),
        ("sent_at", "TIMESTAMPTZ", "When it was first sent or began to wait"),
        ("payload", "JSON", "Payload as it was last sent"),
        ("deadline", "TIMESTAMPTZ", "Snorri-Deadline, null when it has none"),
        (
            "status",
            "VARCHAR",
            "open, completed, failed, dead_letter or dropped (its instance ended or skipped it)",
        ),
        ("attempts", "INTEGER", "Attempts of workers on record"),
        ("answered_at", "TIMESTAMPTZ", "When its answer was stored, null while open"),
        ("total_ms", "DOUBLE", "From sending to the answer, null while open"),
        ("error", "VARCHAR", "Error of the last attempt, null when there was none"),
        TRACE,
    ),
)

EXECUTIONS = Relation(
    "executions",
    "One row for each attempt of a job at a command.",
    _columns(
        ("stream", "VARCHAR", "Where its record is: events, or log for steps run by the engine"),
        ("seq", "BIGINT", "Sequence of its record there"),
        ("command", "VARCHAR", "Id of the command"),
        ("target", "VARCHAR", "Job"),
        SAGA,
        KEY,
        ("worker", "VARCHAR", "Worker that ran it"),
        ("attempt", "INTEGER", "1, 2, 3 …"),
        ("queued_at", "TIMESTAMPTZ", "When the command was stored"),
        ("started_at", "TIMESTAMPTZ", "When the attempt began"),
        ("ended_at", "TIMESTAMPTZ", "When it ended"),
        ("queued_ms", "DOUBLE", "From queued to started"),
        ("duration_ms", "DOUBLE", "From started to ended"),
        ("outcome", "VARCHAR", "completed, failed, retried, timed_out or returned"),
        ("error", "VARCHAR", "Error text, empty when it went well"),
    ),
)

TIMERS = Relation(
    "timers",
    "One row for each timer that was ever set.",
    _columns(
        SAGA,
        KEY,
        ("id", "VARCHAR", "Id of the timer within its instance"),
        ("version", "INTEGER", "Version that set it"),
        ("type", "VARCHAR", "Type of the message it delivers"),
        ("payload", "JSON", "Payload of that message"),
        ("set_at", "TIMESTAMPTZ", "When it was set"),
        ("due_at", "TIMESTAMPTZ", "When it fires"),
        ("status", "VARCHAR", "pending, fired, cancelled or replaced"),
        ("ended_at", "TIMESTAMPTZ", "When it fired or was cancelled or replaced"),
    ),
)

DEAD_LETTERS = Relation(
    "dead_letters",
    "One row for each message that could make no progress.",
    _columns(
        ("id", "VARCHAR", "Id of the dead letter"),
        ("status", "VARCHAR", "open, redriven or discarded"),
        ("type", "VARCHAR", "Type of the message"),
        ("saga", "VARCHAR", "Saga it could not reach, may be empty"),
        ("key", "VARCHAR", "Instance it could not reach, may be empty"),
        ("command", "VARCHAR", "Command that was given up, else empty"),
        ("reason", "VARCHAR", "Why, in plain words"),
        ("stream", "VARCHAR", "events or log: where the message is"),
        ("seq", "BIGINT", "Its sequence there"),
        ("created_at", "TIMESTAMPTZ", "When it became one"),
        ("changed_at", "TIMESTAMPTZ", "When its status changed last"),
        ("by", "VARCHAR", "Who redrove or discarded it"),
        ("note", "VARCHAR", "What that person said"),
    ),
)

OPERATOR_ACTIONS = Relation(
    "operator_actions",
    "One row for each action of a person or program on an instance, refused ones too.",
    _columns(
        ("id", "VARCHAR", "Id of the action"),
        (
            "action",
            "VARCHAR",
            "retry, resume, pause, cancel, compensate, signal, patch, skip, fire_timer,"
            " postpone_timer or cancel_timer",
        ),
        SAGA,
        KEY,
        ("by", "VARCHAR", "Who"),
        ("origin", "VARCHAR", "From where: door and address, empty when unknown"),
        ("reason", "VARCHAR", "Why, as that person said"),
        ("requested_at", "TIMESTAMPTZ", "When it was stored"),
        ("request", "JSON", "What it carried"),
        ("outcome", "VARCHAR", "done, refused or waiting"),
        ("version", "INTEGER", "Version it caused, null when none"),
        ("refusal", "VARCHAR", "Why it was refused, null otherwise"),
        ("decided_at", "TIMESTAMPTZ", "When it was decided, null while waiting"),
    ),
)

RELATIONS = (
    INSTANCES,
    TRANSITIONS,
    EFFECTS,
    EVENTS,
    OUTCOMES,
    COMMANDS,
    EXECUTIONS,
    TIMERS,
    DEAD_LETTERS,
    OPERATOR_ACTIONS,
)

MACROS = (
    Macro("state_at", ("saga", "key", "time"), False, "State of an instance as it was then"),
    Macro("history", ("saga", "key"), True, "Transitions of an instance in order of version"),
    Macro(
        "diff",
        ("saga", "key", "version_a", "version_b"),
        True,
        "Fields that differ between the states of two versions: path, before, after",
    ),
    Macro(
        "sagas_at",
        ("time",),
        True,
        "All instances as they stood then: saga, key, version, status, state, started_at,"
        " changed_at",
    ),
)
