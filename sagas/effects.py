"""Effects: all that a handler can ask for, as data.

Nothing happens until its transition is committed.

The functions are the public face; the Structs, a union tagged by ``kind``, are what history
records. Payloads are encoded here and now, so that a value that can't be JSON fails in the
handler's own line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

from msgspec import Raw, Struct

from sagas.durations import seconds
from sagas.messages import EPOCH, NULL, Address, Cause, Message, to_raw
from sagas.names import check_key, check_name
from sagas.retry import RetryPolicy

# Of one transition: with its revision and its timers well inside a batch of 1000 messages.
EFFECTS_MAX = 400


class Send(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="send", gc=False
):
    """A command for the job ``target``; ``id`` is its Snorri-Command-Id, times are seconds.

    A command with a ``concurrency_key`` waits (``gated``) until no other command of that target and
    key is open. ``step`` names the step of a run that it carries out; when it is ``inline`` the
    engine carries it out itself and no message is sent.
    """

    target: str
    id: str = ""
    payload: Raw = NULL
    idempotency_key: str = ""
    concurrency_key: str = ""
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    gated: bool = False
    step: str = ""
    inline: bool = False


class Publish(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="publish"
):
    """A public event, for any saga and any subscriber; ordered under ``key`` (default: the
    instance's).
    """

    type: str
    id: str = ""
    key: str = ""
    payload: Raw = NULL


class Schedule(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="schedule"
):
    """A message to this instance at a time; a timer with the same id is replaced."""

    type: str
    id: str = ""
    payload: Raw = NULL
    at: datetime = EPOCH
    delay_s: float | None = None


class Unschedule(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="unschedule"
):
    """The timer ``id`` of this instance will not fire."""

    id: str


class Spawn(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="spawn"):
    """A child instance; its end comes back as a message of type ``<saga>.<status>``."""

    saga: str
    id: str = ""
    key: str = ""
    payload: Raw = NULL


class Complete(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="complete"
):
    """The instance is done, with a result; while it compensates it ends as compensated."""

    result: Raw = NULL


class Fail(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="fail"):
    """The instance has failed, with a reason."""

    reason: str


class Cancel(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="cancel"):
    """The instance is given up in good order, with a reason."""

    reason: str


class Compensate(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="compensate"
):
    """Run the ``.compensate`` handler of a type with this message, in the same transition."""

    type: str
    payload: Raw = NULL
    reason: str = ""


class Signal(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="signal"):
    """An internal message to an instance; made by the kernel, never by authors."""

    to: Address
    cause: Cause


Effect: TypeAlias = (
    Send | Publish | Schedule | Unschedule | Spawn | Complete | Fail | Cancel | Compensate | Signal
)
EFFECT_TYPES = (Send, Publish, Schedule, Unschedule, Spawn, Complete, Fail, Cancel, Compensate)
# In effects a message of any payload type may stand, or its two fields as a mapping.
Envelope: TypeAlias = Message[Any] | Mapping[str, object]


def send(
    target: str,
    payload: object = None,
    *,
    idempotency_key: str = "",
    concurrency_key: str = "",
    retry: RetryPolicy | None = None,
    timeout: float | str | timedelta | None = None,
) -> Send:
    """Send a command to the job ``target``. Its payload is any value msgspec can write as JSON."""
    return Send(
        target=check_name(target, "target"),
        payload=to_raw(payload),
        idempotency_key=check_key(idempotency_key) if idempotency_key else "",
        concurrency_key=check_key(concurrency_key) if concurrency_key else "",
        retry=retry,
        timeout_s=None if timeout is None else seconds(timeout),
    )


def publish(type: str, payload: object = None, *, key: str = "") -> Publish:
    """Publish an event that any saga and any subscriber may take; ``key`` orders it."""
    return Publish(
        type=check_name(type, "event type"),
        payload=to_raw(payload),
        key=check_key(key) if key else "",
    )


def schedule(
    message: Envelope, delay: float | str | timedelta | datetime, *, id: str = ""
) -> Schedule:
    """Deliver ``message`` to this instance after ``delay`` or at a datetime; ``id`` names it for
    unschedule.
    """
    type_, payload = _open(message)
    if isinstance(delay, datetime):
        if delay.tzinfo is None:
            raise ValueError(
                f"the time {delay.isoformat()} has no time zone; add one, e.g. tzinfo=UTC"
            )
        return Schedule(type=type_, payload=payload, at=delay.astimezone(UTC), id=_timer_id(id))
    return Schedule(type=type_, payload=payload, delay_s=seconds(delay), id=_timer_id(id))


def unschedule(id: str) -> Unschedule:
    """Cancel the timer ``id`` of this instance; nothing happens when there is none."""
    return Unschedule(id=check_name(id, "timer id"))


def spawn(child: object, input: object = None, *, key: str = "") -> Spawn:
    """Start a child: a definition or a saga id, with its starting message's payload.

    Default key: derived.
    """
    name = child if isinstance(child, str) else getattr(child, "id", None)
    if not isinstance(name, str):
        raise TypeError(f"spawn() takes a saga definition or a saga id, not {child!r}")
    return Spawn(
        saga=check_name(name, "saga id"), payload=to_raw(input), key=check_key(key) if key else ""
    )


def complete(result: object = None) -> Complete:
    """End the instance well, with a result."""
    return Complete(result=to_raw(result))


def fail(reason: str | BaseException) -> Fail:
    """End the instance as failed, with a reason."""
    return Fail(reason=_reason(reason))


def cancel(reason: str | BaseException) -> Cancel:
    """End the instance as cancelled, with a reason: given up in good order, nothing went wrong with
    us.
    """
    return Cancel(reason=_reason(reason))


def compensate(message: Envelope, reason: str | BaseException = "") -> Compensate:
    """Route to the ``.compensate`` handler of the message's type. Each type is compensated once."""
    type_, payload = _open(message)
    return Compensate(type=type_, payload=payload, reason=_reason(reason))


def _reason(reason: str | BaseException) -> str:
    return reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"


def _timer_id(id: str) -> str:
    return check_name(id, "timer id") if id else ""


def _open(message: Envelope) -> tuple[str, Raw]:
    if isinstance(message, Message):
        return check_name(message.type, "message type"), to_raw(message.payload)
    fields = cast("object", message)  # callers without a type checker pass anything
    if isinstance(fields, Mapping) and isinstance(message.get("type"), str):
        return check_name(str(message["type"]), "message type"), to_raw(message.get("payload"))
    raise TypeError(f"a message is a Message or {{'type': …, 'payload': …}}, not {message!r}")
