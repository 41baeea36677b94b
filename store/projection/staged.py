"""The staged tables: what a batch of messages becomes before it is merged into the tables of
``schema``.

``rows_log`` and ``rows_events`` fill them. What comes in masses (revisions, commands, events) is
passed on as the JSON it is, and taken apart by the database; the rest is read here. A value that is
absent is an empty text or -1, so a column is one plain buffer and needs no mask of nulls.
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


REVISIONS = _table(  # documents of instances; saga and key are those of the subject
    "staged_revisions",
    seq="int",
    committed_at="time",
    saga="text",
    key="text",
    document="json",
    before_seq="int",  # the revision before it in the same batch, or -1
)
COMMANDS = _table(
    "staged_commands",
    id="text",
    seq="int",
    sends="int",
    payload="json",
    deadline="text",
    trace="text",
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
    execution="text",  # the header with the record of an attempt
)
UNREADABLE = _table(
    "staged_unreadable",
    stream="text",
    seq="int",
    subject="text",
    stored_at="time",
    reason="text",
)

TABLES = (REVISIONS, COMMANDS, OUTCOMES, LETTERS, ACTIONS, DECIDED, EVENTS, UNREADABLE)


RESENT = "resent"  # traits: the batch may have a command whose revision is not in it, or sent again
ATTEMPTS = "attempts"  # the record of an attempt


class Rows:
    """The rows of one batch, a list for each staged table; filled in the order of the streams.

    ``traits`` are what else it may have, so that steps of a merge can be left out; the merge itself
    finds more of them.
    """

    def __init__(self) -> None:
        self.revisions: list[Row] = []
        self.revised: dict[str, int] = {}  # the last sequence of each instance's subject
        self.last_revised = ""  # the subject of the last revision
        self.traits: set[str] = set()
        self.commands: list[Row] = []
        self.outcomes: list[Row] = []
        self.letters: list[Row] = []
        self.actions: list[Row] = []
        self.decided: list[Row] = []
        self.events: list[Row] = []
        self.unreadable: list[Row] = []

    def of(self, table: Table) -> list[Row]:
        """The rows of one staged table."""
        return getattr(self, table.name.removeprefix("staged_"))
