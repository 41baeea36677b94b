"""How long things took around each fault, from the times at which the broker stored them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from msgspec import Struct

from tests.chaos.mixed.judge import Evidence

UNDER_WAY_NS = 100_000_000  # a commit that was sent before the strike may still be stored


class Recovery(Struct, frozen=True, kw_only=True):
    """One fault, all in seconds: how long it lasted, when after it struck the next transition was
    stored, the longest that an event waited for its decision, and how long after the fault new
    orders were complete.
    """

    kind: str
    lasted_s: float
    next_s: float
    waited_s: float
    complete_s: float


def recoveries(evidence: Evidence) -> list[Recovery]:
    """The times of each fault, in the order of the run."""
    decided_ns = sorted(one.at_ns for history in evidence.decided.values() for one in history)
    waits = sorted(
        (one.at_ns, one.at_ns / 1e9 - one.instance.cause.at.timestamp())
        for history in evidence.decided.values()
        for one in history
        if one.instance.cause.kind == "event"
    )
    found: list[Recovery] = []
    struck_ns = healed_ns = 0
    for entry in evidence.entries:
        if entry.did == "strike":
            struck_ns = entry.at_ns
        elif entry.did == "heal":
            healed_ns = entry.at_ns
        elif entry.did == "alive":
            found.append(
                Recovery(
                    kind=entry.word,
                    lasted_s=(healed_ns - struck_ns) / 1e9,
                    next_s=_next_s(decided_ns, struck_ns),
                    waited_s=_waited_s(waits, struck_ns, entry.at_ns),
                    complete_s=(entry.at_ns - healed_ns) / 1e9,
                )
            )
    return found


def _next_s(decided_ns: list[int], struck_ns: int) -> float:
    """How long after the fault anything was decided, not counting what was on its way."""
    place = bisect_left(decided_ns, struck_ns + UNDER_WAY_NS)
    return (decided_ns[place] - struck_ns) / 1e9 if place < len(decided_ns) else 0.0


def _waited_s(waits: list[tuple[int, float]], since_ns: int, until_ns: int) -> float:
    """The longest that any event had waited which was decided in that time."""
    first = bisect_left(waits, (since_ns, 0.0))
    last = bisect_right(waits, (until_ns, float("inf")))
    return max((waited for _, waited in waits[first:last]), default=0.0)
