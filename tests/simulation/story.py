"""A run as a story that people can read: numbered lines of who did what when."""

from __future__ import annotations

import msgspec

from sagas.instance import decode
from sagas.names import unescape
from store import codec
from store.codec import Envelope, Notes, Position
from store.port import Stored
from store.schedules import SCHEDULE, SCHEDULER
from store.subjects import Names
from tests.simulation.record import Commit
from tests.simulation.world import Outcome

_envelope = msgspec.json.Decoder(Envelope).decode
_notes = msgspec.json.Decoder(Notes).decode
_position = msgspec.json.Decoder(Position).decode


def story(outcome: Outcome) -> list[str]:
    """What happened in a run, and what is wrong with it."""
    names = Names()
    lines: list[tuple[int, int, float, str]] = []
    for event in outcome.record.events:
        lines.append((event.before, 0, event.at_s, event.text))
    for commit in outcome.record.commits:
        lines.append((commit.index, 1, commit.at_s, _commit(names, commit)))
    for effect in outcome.ledger.effects:
        before = sum(commit.at_s <= effect.at_s for commit in outcome.record.commits)
        text = f"a job has done {effect.what} for {effect.whom} under {effect.key}"
        lines.append((before, 0, effect.at_s, text))
    lines.sort()
    told = [
        f"{number:4} {at_s:9.4f} s  {text}" for number, (_, _, at_s, text) in enumerate(lines, 1)
    ]
    return [*told, *(f"WRONG: {complaint}" for complaint in outcome.complaints)]


def _commit(names: Names, commit: Commit) -> str:
    who = "the broker or a client" if commit.by == "world" else commit.by
    parts = [_message(names, commit, stored) for stored in commit.messages]
    return f"{who} stores in commit {commit.index}: {'; '.join(parts)}"


def _message(names: Names, commit: Commit, stored: Stored) -> str:
    place = f"[{commit.stream} {stored.seq}]"
    subject, headers = stored.subject, stored.headers
    if commit.stream == "events":
        type, key = names.parse_event(subject)
        answers = f" as the answer to {headers[codec.CAUSE]}" if codec.CAUSE in headers else ""
        return f"{place} event {type} of {key}{answers}"
    tokens = subject.split(".")
    if subject.startswith(f"$KV.{names.bucket}.i."):
        one = decode(stored.data)
        cause = f"{one.cause.kind} {one.cause.type} {one.cause.seq}"
        return f"{place} {one.saga}/{one.key} v{one.version} {one.status} by {cause}"
    if subject.startswith(f"$KV.{names.bucket}.p."):
        position = _position(stored.data)
        return (
            f"{place} partition {tokens[3]} is read up to event {position.events} and signal"
            f" {position.signals}"
        )
    if subject.startswith(f"$KV.{names.bucket}.n."):
        notes = (
            f"{one.type} {one.stream} {one.seq} {one.code}" for one in _notes(stored.data).items
        )
        return f"{place} note: {', '.join(notes)}"
    if codec.COMMAND_ID in headers:
        return f"{place} command {headers[codec.COMMAND_ID]} to {unescape(tokens[2])}"
    if SCHEDULE in headers:
        return f"{place} timer {'/'.join(map(unescape, tokens[2:]))} {headers[SCHEDULE]}"
    if tokens[1] == "sig":
        envelope = _envelope(stored.data)
        fired = "fired timer" if SCHEDULER in headers else envelope.cause.kind
        return f"{place} {fired} {envelope.cause.type or 'start'} to {envelope.to or 'all'}"
    return f"{place} {subject}"
