"""How commands print: tables and colours for people on stdout, JSON for programs, words on stderr.

Text that comes from messages is never read as markup or escape codes. Colours follow the terminal
and NO_COLOR; a pipe gets plain text of whatever width it takes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sagas.effects import (
    Cancel,
    Compensate,
    Complete,
    Effect,
    Fail,
    Publish,
    Schedule,
    Send,
    Signal,
    Spawn,
    Unschedule,
)

PIPE_WIDTH = 200
ABSENT = object()
STATUS_STYLES = {
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "compensating": "yellow",
    "compensated": "yellow",
    "cancelled": "dim",
    "paused": "magenta",
    "parked": "bold red",
}


def console(*, stderr: bool = False) -> Console:
    """A console on today's stdout or stderr; wide when nobody looks at it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(text: str | Text = "", style: str = "") -> None:
    """A line for people, on stdout."""
    console().print(
        Text(plain(text), style=style) if isinstance(text, str) else text, soft_wrap=True
    )


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    console(stderr=True).print(Text(plain(text), style="dim"), soft_wrap=True)


def problem(text: str) -> None:
    """What went wrong, on stderr."""
    line = Text("error: ", style="bold red").append(plain(text), style="not bold default")
    console(stderr=True).print(line, soft_wrap=True)


def full(struct: Struct) -> dict[str, object]:
    """All fields of a record, also those that are left out where it is stored."""
    return msgspec.structs.asdict(struct)


def emit(value: object) -> None:
    """A value as one line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table for people; cells are text, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(c)) if isinstance(c, str) else c for c in row))
    console().print(made)


def plain(text: str) -> str:
    """``text`` without control characters, which a terminal might obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def address(url: str) -> str:
    """The address of NATS without users and passwords."""
    return re.sub(r"(?<=//)[^/@]+@", "", url)


def status_text(status: str) -> Text:
    """A status word in its colour."""
    return Text(status, style=STATUS_STYLES.get(status, ""))


def time_text(at: datetime) -> str:
    """A time in UTC to the millisecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def pretty(raw: msgspec.Raw | bytes) -> str:
    """JSON over several lines."""
    return msgspec.json.format(bytes(raw), indent=2).decode(errors="replace")


def short(raw: msgspec.Raw | bytes, limit: int = 100) -> str:
    """JSON on one line, cut to ``limit`` characters."""
    text = bytes(raw).decode(errors="replace")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def difference(before: msgspec.Raw, after: msgspec.Raw) -> bytes:
    """What ``after`` has for other fields than ``before``, null for those that are gone; empty
    when nothing differs.
    """
    if bytes(before) == bytes(after):
        return b""
    old, new = msgspec.json.decode(before), msgspec.json.decode(after)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return bytes(after)
    changed = {name: value for name, value in new.items() if old.get(name, ABSENT) != value}
    gone = dict.fromkeys(old.keys() - new.keys())
    return msgspec.json.encode({**changed, **gone}) if changed or gone else b""


def effect_text(effect: Effect) -> str:
    """An effect in one line."""
    match effect:
        case Send():
            waits = " (waits for its turn)" if effect.gated else ""
            return f"send {effect.target} {short(effect.payload)}{waits}"
        case Publish():
            return f"publish {effect.type} {short(effect.payload)}"
        case Schedule():
            return f"set timer {effect.id} for {time_text(effect.at)} ({effect.type})"
        case Unschedule():
            return f"cancel timer {effect.id}"
        case Spawn():
            return f"spawn {effect.saga}/{effect.key} {short(effect.payload)}"
        case Complete():
            return f"complete {short(effect.result)}"
        case Fail():
            return f"fail: {effect.reason}"
        case Cancel():
            return f"cancel: {effect.reason}"
        case Compensate():
            return f"compensate {effect.type}" + (f": {effect.reason}" if effect.reason else "")
        case Signal():
            return f"signal {effect.cause.type} to {effect.to}"
