"""The second step: what a transition emits becomes messages of its commit, in order. Pure.

They follow its revision: commands, signals and timers as its effects stand.
"""

from __future__ import annotations

from datetime import timedelta
from zlib import adler32, crc32

import msgspec

from sagas.effects import Publish, Schedule, Send, Signal, Spawn, Unschedule
from sagas.instance import Instance
from sagas.messages import Address, Cause
from sagas.names import escape
from store import codec
from store.codec import Envelope
from store.port import Outgoing
from store.schedules import arm, cancel
from store.subjects import Names

_encoder = msgspec.json.Encoder()


def to_messages(names: Names, after: Instance, partition: int) -> list[Outgoing]:
    """All that the effects of ``after`` emit; ``partition`` is the one that it was decided in."""
    messages: list[Outgoing] = []
    for effect in after.effects:
        match effect:
            case Send():
                if not (effect.gated or effect.inline):
                    messages.append(command_message(names, after, effect))
            case Publish():
                messages.append(_emitted(names, after, effect))
            case Schedule():
                if _stands(after, effect):
                    messages.append(armed(names, after, effect.id))
            case Unschedule():
                if effect.id not in after.timers:
                    timer = names.timer(after.saga, after.key, effect.id)
                    messages.append(cancel(timer, names.timer_cancel(partition)))
            case Spawn():
                messages.append(_spawned(names, after, effect))
            case Signal():
                messages.append(signal(names, effect.to, effect.cause))
            case _:  # ends and compensations are in the revision; nothing is sent for them
                pass
    return messages


def signal(names: Names, to: Address, cause: Cause) -> Outgoing:
    """A message to an instance, in the partition of the instance's key."""
    body = _encoder.encode(Envelope(to=to, cause=cause))
    return Outgoing(names.signal(cause.kind, to.key), body)


def trace_of(traceparent: str, id: str) -> str:
    """The traceparent for what an effect starts: the same trace, a span id derived from the
    effect's id.
    """
    # 2-32-16-2 hex digits with dashes between
    return f"{traceparent[:36]}{span_of(id)}{traceparent[52:]}"


def span_of(id: str) -> str:
    """The span id of what an effect starts; unique within a trace is all it must be."""
    data = id.encode()
    return f"{crc32(data):08x}{adler32(data):08x}"


def command_message(names: Names, after: Instance, effect: Send) -> Outgoing:
    """The command of a send, for the queue of its target."""
    command = after.commands.get(effect.id)
    headers = [
        (codec.COMMAND_ID, effect.id),
        (codec.SAGA, escape(after.saga)),
        (codec.KEY, escape(after.key)),
        (codec.VERSION, str(after.version)),
        (codec.ATTEMPT, "1" if command is None else str(command.sends)),
        (codec.TRACEPARENT, trace_of(after.trace, effect.id)),
    ]
    if effect.timeout_s is not None:
        sent_at = after.at if command is None else command.at
        deadline = sent_at + timedelta(seconds=effect.timeout_s)
        headers.append((codec.DEADLINE, deadline.isoformat().replace("+00:00", "Z")))
    if effect.idempotency_key:
        headers.append((codec.IDEMPOTENCY_KEY, escape(effect.idempotency_key)))
    if effect.retry is not None:
        headers.append((codec.RETRY, _encoder.encode(effect.retry).decode()))
    return Outgoing(names.command(effect.target, after.key), bytes(effect.payload), tuple(headers))


def _emitted(names: Names, after: Instance, effect: Publish) -> Outgoing:
    cause = Cause(
        kind="event",
        type=effect.type,
        id=effect.id,
        seq=0,
        at=after.at,
        payload=effect.payload,
        trace=trace_of(after.trace, effect.id),
    )
    body = _encoder.encode(Envelope(cause=cause, key=effect.key))
    return Outgoing(names.signal("event", effect.key), body)


def _stands(after: Instance, effect: Schedule) -> bool:
    """Whether a timer is still set at the end of its transition, and by this effect.

    Only the last word on a timer goes out: the broker refuses two about one timer in a batch.
    """
    timer = after.timers.get(effect.id)
    last = [one for one in after.effects if isinstance(one, Schedule) and one.id == effect.id][-1]
    return timer is not None and last is effect


def armed(names: Names, instance: Instance, id: str) -> Outgoing:
    """The schedule of a timer that an instance has set."""
    timer = instance.timers[id]
    cause = Cause(
        kind="timer",
        type=timer.type,
        id=f"{id}@{timer.version}",
        seq=0,
        at=timer.at,
        payload=timer.payload,
        epoch=timer.version,
        trace=instance.trace,
    )
    body = _encoder.encode(Envelope(to=Address(instance.saga, instance.key), cause=cause))
    return arm(
        names.timer(instance.saga, instance.key, id),
        names.signal("timer", instance.key),
        timer.at,
        body,
    )


def _spawned(names: Names, after: Instance, effect: Spawn) -> Outgoing:
    cause = Cause(
        kind="spawn",
        type="",  # the child's own definition says which message starts it
        id=effect.id,
        seq=0,
        at=after.at,
        payload=effect.payload,
        parent=Address(after.saga, after.key),
        trace=trace_of(after.trace, effect.id),
    )
    return signal(names, Address(effect.saga, effect.key), cause)
