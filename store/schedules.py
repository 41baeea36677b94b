"""Schedules of the broker as messages: arm one, cancel one, repeat one by the clock.

Owns the header names of ADR-51 and the recipe that was proved on a server. Pure: it builds
``Outgoing`` for a batch and sends nothing.

- A subject holds one schedule: arming again replaces it (the server stores it as a rollup).
- ``target`` is a literal subject of the same stream, not the schedule's own; it goes through the
  stream's subject transform when the message is fired. A time in the past fires at once.
- A fired message carries the headers given to ``arm`` but no message id, TTL or expectation, and
  may come twice after a change of leader: whoever reads it must know whether the timer is still
  armed.
- Cancelling is a message on another, *carrier* subject. It may stand in the batch that ends the
  need for the timer, several of them on one carrier, also when the schedule has fired already or
  never was. What it does is done when it is stored; ``Nats-TTL`` lets it vanish, so carriers do not
  pile up.
"""

from __future__ import annotations

from datetime import UTC, datetime

from store.port import Outgoing

SCHEDULE = "Nats-Schedule"
TARGET = "Nats-Schedule-Target"
TIME_ZONE = "Nats-Schedule-Time-Zone"
SCHEDULER = "Nats-Scheduler"
NEXT = "Nats-Schedule-Next"
TTL = "Nats-TTL"

PURGE = "purge"
CARRIER_TTL = "1s"  # the shortest that the server takes

ExtraHeaders = tuple[tuple[str, str], ...]


def arm(
    subject: str, target: str, at: datetime, payload: bytes, headers: ExtraHeaders = ()
) -> Outgoing:
    """A schedule on ``subject`` that publishes ``payload`` to ``target`` at ``at``, once.

    ``at`` must know its time zone (ValueError otherwise); the server fires within about 0.25 s of
    it.
    """
    if at.tzinfo is None:
        raise ValueError("a schedule's time has no time zone; give it one, for example UTC")
    moment = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return Outgoing(subject, payload, ((SCHEDULE, f"@at {moment}"), (TARGET, target), *headers))


def cancel(subject: str, carrier_subject: str) -> Outgoing:
    """A message on ``carrier_subject`` that removes the schedule of ``subject``, if there is one.

    Raises ValueError when both are the same, which the server would refuse.
    """
    if subject == carrier_subject:
        raise ValueError("a schedule is cancelled by a message on another subject than its own")
    return Outgoing(carrier_subject, b"", ((SCHEDULER, subject), (NEXT, PURGE), (TTL, CARRIER_TTL)))


def cron(
    subject: str,
    target: str,
    expression: str,
    time_zone: str,
    payload: bytes,
    headers: ExtraHeaders = (),
) -> Outgoing:
    """A schedule that repeats: six cron fields (seconds first), ``@daily``, ``@every 5s``.

    ``time_zone`` is an IANA name or empty for UTC; the server refuses one beside ``@every``.
    """
    zone: ExtraHeaders = ((TIME_ZONE, time_zone),) if time_zone else ()
    return Outgoing(subject, payload, ((SCHEDULE, expression), *zone, (TARGET, target), *headers))
