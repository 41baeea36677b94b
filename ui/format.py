"""How values are written for people: times, durations, sizes, JSON. Pure; no value is ever markup.

Times are relative on the page and exact on hover, always with the zone named. Everything returned
here is plain text: the templates escape it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

MINUTE, HOUR, DAY = 60, 3600, 86400
JSON_SHOWN_MAX = 20_000  # characters of a payload on a page; the whole is a click away


def exact(at: datetime) -> str:
    """A time to the millisecond with its zone, e.g. ``2026-11-21 09:13:07.120 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def machine(at: datetime) -> str:
    """A time as a ``datetime`` attribute wants it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or in how long: ``12 s ago``, ``in 5 min 3 s``, ``just now``.

    What is long past needs no second unit: a list of such times stands still. app.js does the same.
    """
    past = (now - at).total_seconds()
    if abs(past) < 1:
        return "just now"
    if past < 0:
        return f"in {span(-past)}"
    for size, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if past >= 10 * size or name == "s":
            return f"{past // size:.0f} {name} ago"
        if past >= size:
            return f"{span(past)} ago"
    raise AssertionError("unreachable")


def span(seconds: float | timedelta) -> str:
    """A duration in at most two units: ``340 ms``, ``41 s``, ``5 min 3 s``, ``3 d 4 h``."""
    s = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if s <= 0:
        return "0 s"
    if s < 0.0995:
        return f"{s * 1000:.1f} ms" if s < 0.00995 else f"{s * 1000:.0f} ms"
    if s < 1:
        return f"{s * 1000:.0f} ms"
    if s < 10:
        return f"{s:.1f}".removesuffix(".0") + " s"
    whole = round(s)
    for size, name, part, part_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes for people: ``812 B``, ``4.1 kB``, ``1.2 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def number(value: float) -> str:
    """A count with thin groups: ``12 345``."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def pretty(raw: bytes, limit: int = JSON_SHOWN_MAX) -> str:
    """JSON indented by two, other text as it is; cut at ``limit`` characters, saying so."""
    try:
        text = msgspec.json.format(raw, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = raw.decode("utf-8", "replace")
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {number(len(text) - limit)} more characters; open the raw JSON"


def compact(raw: bytes) -> str:
    """JSON in one line with a space after each comma and colon, other text as it is."""
    try:
        return msgspec.json.format(raw, indent=0).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")


def one_line(text: str, limit: int = 120) -> str:
    """The first line, shortened."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"
