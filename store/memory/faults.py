"""What may go wrong on purpose: every call of a port asks a ``Faults`` object first, which by
default says nothing.

A fault is data, a closed union, so that a simulation can choose it from a seed and print it. Faults
never break the broker's own promises (a batch is whole or absent); they break what a caller gets to
know, and when.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from msgspec import Struct

from store.port import Busy, Conflict, Invalid, StoreError, Unknown


class Call(Struct, frozen=True):
    """One call of a port: ``name`` is ``log.commit``, ``door.publish`` and so on, ``number`` counts
    all calls from 1.
    """

    process: str
    name: str
    subjects: tuple[str, ...]
    number: int


class Fail(Struct, frozen=True):
    """The call does nothing and raises ``error`` (a commit answers Unknown)."""

    error: StoreError


class Answer(Struct, frozen=True):
    """A commit stores nothing and answers ``outcome``; another call raises Injected."""

    outcome: Conflict | Busy | Invalid | Unknown


class LoseRequest(Struct, frozen=True):
    """The request never arrives: nothing is done, the caller knows nothing of it."""


class LoseReply(Struct, frozen=True):
    """The request is carried out, its reply is lost: the caller knows nothing of it."""


class StoreLate(Struct, frozen=True):
    """The caller gives up at once; the request is carried out ``delay_s`` seconds later, if it
    still can be.
    """

    delay_s: float


class Hold(Struct, frozen=True):
    """The request waits on its way until ``until`` is set, then ``then`` happens to it."""

    until: asyncio.Event
    then: Fault | None = None


class HoldReply(Struct, frozen=True):
    """The request is carried out at once, its reply waits until ``until`` is set."""

    until: asyncio.Event


class Stale(Struct, frozen=True):
    """``log.load`` is answered by a replica that misses the last ``behind`` sequences."""

    behind: int


class Again(Struct, frozen=True):
    """What ``queues.take`` hands out is due for redelivery at once: a second worker gets it too."""


class Late(Struct, frozen=True):
    """``feeds.take`` gives nothing now; the feed wakes its reader again in ``delay_s`` seconds."""

    delay_s: float


Fault: TypeAlias = (
    Fail | Answer | LoseRequest | LoseReply | StoreLate | Hold | HoldReply | Stale | Again | Late
)


class Injected(StoreError):
    """A fault gave this call an answer that its port has no outcome for; choose another fault for
    it.
    """

    def __init__(self, outcome: Conflict | Busy | Invalid | Unknown) -> None:
        super().__init__(f"injected: {outcome!r}")
        self.outcome = outcome


class Faults:
    """No faults at all; the base of those that have some."""

    def decide(self, call: Call) -> Fault | None:
        """What happens to this call; None lets it through. Must depend on nothing but its own
        state.
        """
        return None


class _Rule:
    def __init__(self, name: str, fault: Fault, process: str, subject: str) -> None:
        self.name = name
        self.fault = fault
        self.process = process
        self.subject = subject
        self.skip = 0
        self.times = 0

    def takes(self, call: Call) -> bool:
        return (
            call.name == self.name
            and self.process in ("", call.process)
            and (not self.subject or any(self.subject in s for s in call.subjects))
        )


class ScriptedFaults(Faults):
    """Faults listed beforehand: the first rule that takes a call and is not used up decides."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def on(
        self,
        name: str,
        fault: Fault,
        *,
        times: int = 1,
        skip: int = 0,
        process: str = "",
        subject: str = "",
    ) -> None:
        """Let ``fault`` happen to ``times`` calls of ``name`` after the first ``skip`` of them.

        ``process`` limits it to one backend, ``subject`` to calls that name a subject containing
        that text.
        """
        rule = _Rule(name, fault, process, subject)
        rule.times, rule.skip = times, skip
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules; calls that are held stay held until their events are set."""
        self._rules.clear()

    def decide(self, call: Call) -> Fault | None:
        """See Faults; counts the rule that took the call."""
        for rule in self._rules:
            if rule.times == 0 or not rule.takes(call):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                return None
            rule.times -= 1
            return rule.fault
        return None
