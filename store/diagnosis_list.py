"""What each instance of a page waits for, in a few words: a line of a list, from projections alone.

Three queries at most for a whole page. The single instance has the whole truth
(``store.diagnosis``); a list says the first thing that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sagas.instance import FINISHED
from store.projection.instances import InstanceRow
from store.projection.port import ReadModel
from store.projection.waiting import Address, OpenRow, TimerRow, next_timers, open_commands
from store.wording import count, first_line, span


async def headlines(
    read: ReadModel, rows: Sequence[InstanceRow], now: datetime
) -> dict[Address, str]:
    """A few words for each row that waits, by saga and key; finished ones have none. ``now`` is the
    broker's time. Raises ReadError.
    """
    waiting = [row for row in rows if row.status not in FINISHED]
    busy = [row for row in waiting if row.status not in ("parked", "paused")]
    sent = [(row.saga, row.key) for row in busy if row.open_commands]
    timed = [(row.saga, row.key) for row in busy if row.open_timers and not row.open_commands]
    commands = _first(await open_commands(read, sent)) if sent else {}
    timers = {(t.saga, t.key): t for t in await next_timers(read, timed)} if timed else {}
    return {
        (row.saga, row.key): _line(
            row, commands.get((row.saga, row.key)), timers.get((row.saga, row.key)), now
        )
        for row in waiting
    }


def _first(commands: Iterable[OpenRow]) -> dict[Address, OpenRow]:
    """The oldest open command of each instance; they come oldest first."""
    found: dict[Address, OpenRow] = {}
    for command in commands:
        found.setdefault((command.saga, command.key), command)
    return found


def _line(row: InstanceRow, command: OpenRow | None, timer: TimerRow | None, now: datetime) -> str:
    if row.status == "parked":
        why = first_line(row.error_message or "")
        return f"parked {span(now - row.status_since)}: {row.error_type}: {why}"
    if row.status == "paused":
        return f"paused {span(now - row.status_since)}"
    if command is not None:
        return _command(row, command, now)
    if row.open_children:
        what = "child" if row.open_children == 1 else "children"
        return f"{row.open_children} {what}"
    if timer is not None:
        return _timer(timer, now)
    if row.backlog:
        return f"its turn, {count(row.backlog, 'message')} in its backlog"
    return f"a message, for {span(now - row.changed_at)}"


def _command(row: InstanceRow, command: OpenRow, now: datetime) -> str:
    tries = ""
    if command.attempts:
        error = first_line(command.error or "") or "the worker stopped"
        tries = f", attempt {command.attempts + 1} after {error}"
    more = row.open_commands - 1
    others = f" and {count(more, 'command')} more" if more > 0 else ""
    return f"{command.target} {span(now - command.sent_at)}{tries}{others}"


def _timer(timer: TimerRow, now: datetime) -> str:
    left = timer.due_at - now
    if left.total_seconds() < 0:
        return f"timer {timer.id}, due {span(-left)} ago"
    return f"timer {timer.id} in {span(left)}"
