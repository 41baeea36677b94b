"""Effects for people: what a transition did, shown and compared without derived ids. For tests.

What the kernel adds by itself is left out: signals to gates and to the instance, the second half of
a command that waited for its concurrency key, and timers that an end or a compensation cancels.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Raw, structs

from sagas.effects import Compensate, Effect, Publish, Schedule, Send, Signal, Spawn, Unschedule
from sagas.instance import FINISHED, Instance
from sagas.messages import EPOCH, NULL, to_raw


def authored(history: Iterable[Instance]) -> list[tuple[Effect, datetime]]:
    """The effects of some transitions with the time of each, without the kernel's own."""
    found: list[tuple[Effect, datetime]] = []
    sent: set[str] = set()
    for instance in history:
        for effect in instance.effects:
            if isinstance(effect, Signal) or (isinstance(effect, Send) and effect.id in sent):
                continue
            if isinstance(effect, Send):
                sent.add(effect.id)
            found.append((effect, instance.at))
    return found


def cancels_by_itself(history: Iterable[Instance]) -> bool:
    """Whether some transition ended the instance or began to compensate, which cancels timers."""
    return any(
        instance.status in FINISHED
        or any(isinstance(effect, Compensate) for effect in instance.effects)
        for instance in history
    )


def differences(
    expected: Sequence[Effect], history: Sequence[Instance], key: str, now: datetime
) -> list[str]:
    """A difference to read, line by line; empty when the transitions did what was expected."""
    found = authored(history)
    actual = [_plain(effect, key, at) for effect, at in found]
    # A delay counts from the transition that set the timer, not from where time stands now.
    times = [at for _, at in found] + [now] * len(expected)
    wanted = [_plain(effect, key, at) for effect, at in zip(expected, times, strict=False)]
    if cancels_by_itself(history):
        listed = [effect for effect in wanted if isinstance(effect, Unschedule)]
        actual = [e for e in actual if not isinstance(e, Unschedule) or e in listed]
    for place, effect in enumerate(wanted[: len(actual)]):
        actual[place] = _forget_derived(actual[place], effect)
    before, after = [show(effect) for effect in wanted], [show(effect) for effect in actual]
    if before == after:
        return []
    return [line.rstrip() for line in difflib.ndiff(before, after) if not line.startswith("?")]


def show(effect: Effect) -> str:
    """An effect on one line, as an author writes it."""
    fields = structs.asdict(effect)
    parts: list[str] = []
    for name, value in fields.items():
        if isinstance(value, Raw):
            if value != NULL:
                parts.append(f"{name}={_ordered(value)}")
        elif isinstance(value, datetime):
            if value != EPOCH:
                parts.append(f"{name}={value.isoformat()}")
        elif value not in ("", None, False):
            parts.append(f"{name}={value!r}")
    return f"{type(effect).__name__.lower()}({', '.join(parts)})"


def _ordered(payload: Raw) -> str:
    return bytes(to_raw(msgspec.json.decode(payload))).decode()


def _plain(effect: Effect, key: str, now: datetime) -> Effect:
    match effect:
        case Send():
            return structs.replace(effect, id="", gated=False, inline=False)
        case Publish():
            return structs.replace(effect, id="", key="" if effect.key == key else effect.key)
        case Schedule():
            at = effect.at
            if effect.delay_s is not None:
                at = now + timedelta(seconds=effect.delay_s)
            return structs.replace(effect, at=at, delay_s=None)
        case Spawn():
            return structs.replace(effect, id="")
        case _:
            return effect


def _forget_derived(actual: Effect, wanted: Effect) -> Effect:
    """A timer id or a child's key that the test leaves open is made by the kernel; drop it."""
    if isinstance(actual, Schedule) and isinstance(wanted, Schedule) and not wanted.id:
        return structs.replace(actual, id="")
    if isinstance(actual, Spawn) and isinstance(wanted, Spawn) and not wanted.key:
        return structs.replace(actual, key="")
    return actual
