"""What the projections write, as columns: the staged tables that a batch of messages becomes.

``rows_log`` and ``rows_events`` fill them, a writer merges them into the tables of ``schema``.
A value that is absent is an empty text (``json`` and ``text``) or -1 (``int``), and becomes NULL
where the public column may be; so a column is one plain buffer and needs no mask of nulls.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["text", "json", "int", "flag", "time"]
# text: str, json: bytes or Raw, int: 64 bits, flag: 0 or 1, time: nanoseconds since 1970, UTC

Row: TypeAlias = tuple[Any, ...]  # values in the order and of the kinds of their table's columns


class Table(Struct, frozen=True):
    """One staged table: its name and the name and kind of each column."""

    name: str
    columns: tuple[tuple[str, Kind], ...]


def _table(name: str, /, **columns: Kind) -> Table:
    return Table(name, tuple(columns.items()))


TRANSITIONS = _table(
    "staged_transitions",
    saga="text",
    key="text",
    version="int",
    seq="int",
    committed_at="time",
    status="text",
    state="json",
    started="text",
    cause_kind="text",
    cause_type="text",
    cause_id="text",
    cause_seq="int",
    cause_at="text",
    cause_payload="json",
    cause_by="text",
    cause_reason="text",
    answers="text",
    failed="flag",
    effect_count="int",
    error_type="text",
    error_message="text",
    definition="text",
    trace="text",
    prev="text",
    parent_saga="text",
    parent_key="text",
    open_commands="int",
    open_timers="int",
    open_children="int",
    backlog="int",
    result="json",
)
EFFECTS = _table(
    "staged_effects",
    saga="text",
    key="text",
    version="int",
    ordinal="int",
    seq="int",
    committed_at="time",
    kind="text",
    name="text",
    id="text",
    payload="json",
    detail="json",
)
SENDS = _table(  # again: the command was sent before, an operator sends it once more
    "staged_sends",
    id="text",
    target="text",
    saga="text",
    key="text",
    version="int",
    seq="int",
    committed_at="time",
    payload="json",
    again="flag",
)
COMMANDS = _table(  # the command messages themselves
    "staged_commands",
    id="text",
    seq="int",
    sends="int",
    payload="json",
    deadline="text",
    trace="text",
)
STILL_OPEN = _table(  # after an operator's action: the commands its instance still waits for
    "staged_still_open",
    saga="text",
    key="text",
    version="int",
    id="text",
)
TIMERS = _table(
    "staged_timers",
    saga="text",
    key="text",
    id="text",
    version="int",
    ordinal="int",
    seq="int",
    type="text",
    payload="json",
    committed_at="time",
    due="text",
)
TIMER_ENDS = _table(  # version: of the timer that fired, -1 for whichever is pending
    "staged_timer_ends",
    saga="text",
    key="text",
    id="text",
    version="int",
    ordinal="int",
    seq="int",
    status="text",
    committed_at="time",
    fired_at="text",
)
OUTCOMES = _table(  # of messages that changed nothing
    "staged_outcomes",
    stream="text",
    seq="int",
    type="text",
    id="text",
    saga="text",
    key="text",
    outcome="text",
    code="text",
    reason="text",
    by="text",
    recorded_at="time",
)
LETTERS = _table(
    "staged_letters",
    id="text",
    status="text",
    type="text",
    saga="text",
    key="text",
    command="text",
    reason="text",
    stream="text",
    seq="int",
    stored_at="time",
    log_seq="int",
    by="text",
    note="text",
)
ACTIONS = _table(
    "staged_actions",
    seq="int",
    id="text",
    action="text",
    saga="text",
    key="text",
    by="text",
    origin="text",
    reason="text",
    requested_at="time",
    request="json",
)
DECIDED = _table(  # what became of an operator's action
    "staged_decided",
    seq="int",
    outcome="text",
    version="int",
    refusal="text",
    decided_at="time",
)
EVENTS = _table(
    "staged_events",
    seq="int",
    type="text",
    key="text",
    id="text",
    stored_at="time",
    payload="json",
    answers="text",
    failed="flag",
    trace="text",
    headers="json",
    bytes="int",
)
EXECUTIONS = _table(
    "staged_executions",
    seq="int",
    command="text",
    target="text",
    saga="text",
    key="text",
    worker="text",
    attempt="int",
    queued="text",
    started="text",
    ended="text",
    outcome="text",
    error="text",
)
UNREADABLE = _table(
    "staged_unreadable",
    stream="text",
    seq="int",
    subject="text",
    stored_at="time",
    reason="text",
)

TABLES = (
    TRANSITIONS,
    EFFECTS,
    SENDS,
    COMMANDS,
    STILL_OPEN,
    TIMERS,
    TIMER_ENDS,
    OUTCOMES,
    LETTERS,
    ACTIONS,
    DECIDED,
    EVENTS,
    EXECUTIONS,
    UNREADABLE,
)


class Rows:
    """The rows of one batch, a list for each staged table; filled in the order of the streams."""

    def __init__(self) -> None:
        self.transitions: list[Row] = []
        self.effects: list[Row] = []
        self.sends: list[Row] = []
        self.commands: list[Row] = []
        self.still_open: list[Row] = []
        self.timers: list[Row] = []
        self.timer_ends: list[Row] = []
        self.outcomes: list[Row] = []
        self.letters: list[Row] = []
        self.actions: list[Row] = []
        self.decided: list[Row] = []
        self.events: list[Row] = []
        self.executions: list[Row] = []
        self.unreadable: list[Row] = []

    def of(self, table: Table) -> list[Row]:
        """The rows of one staged table."""
        return getattr(self, table.name.removeprefix("staged_"))
