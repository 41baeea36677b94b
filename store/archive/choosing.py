"""Who may go to the archive: ended instances that nobody has touched for longer than they are kept.

How long is said for all (``--before``) or by each definition (``.retention``); one that says
nothing keeps its instances. Children stay as long as their parent runs. Reads, never writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec
from msgspec import Struct

from sagas.draft import GATE_SAGA
from sagas.durations import seconds
from sagas.instance import FINISHED, SEEN_MAX, Status
from sagas.messages import Address
from store.archive.survey import Candidate
from store.cards import SagaCard
from store.closing import closing
from store.port import Log, Stored
from store.subjects import BadName, Names

ROUND_INSTANCES = 50_000
ROUND_BYTES = 256 * 1024 * 1024  # of all their versions, as far as the last one tells
ASK_AT_ONCE = 1_000

PARENT_RUNS = "its parent has not ended"


class Rule(Struct, frozen=True, kw_only=True):
    """For how long ended instances stay, in seconds; for all, or by saga. ``only`` one saga."""

    all_s: float | None = None
    by_saga: Mapping[str, float] = {}
    only: str = ""

    def kept_s(self, saga: str) -> float | None:
        """For how long those of a saga stay; None for ever."""
        if saga == GATE_SAGA or (self.only and saga != self.only):
            return None
        return self.all_s if self.all_s is not None else self.by_saga.get(saga)


def rule_of(cards: Sequence[SagaCard], before: str, only: str) -> Rule:
    """The rule of a run; ``before`` is empty when each definition decides. Raises BadDelay."""
    by_saga = {card.id: seconds(card.retention) for card in cards if card.retention}
    return Rule(all_s=seconds(before) if before else None, by_saga=by_saga, only=only)


class _Head(Struct, gc=False):
    saga: str
    key: str
    version: int
    status: Status
    parent: Address | None = None
    seen: tuple[str, ...] = ()


_head = msgspec.json.Decoder(_Head)


class Chooser:
    """Chooses by a rule; ``now_ns`` is nanoseconds since 1970, UTC. ``left`` counts who stays."""

    def __init__(self, log: Log, names: Names, rule: Rule, now_ns: int) -> None:
        self._log = log
        self._names = names
        self._rule = rule
        self._now_ns = now_ns
        self.left: Counter[str] = Counter()
        self.seen = 0

    async def rounds(self) -> AsyncGenerator[list[Candidate]]:
        """Candidates, as many at once as fit into a set; raises Unreachable."""
        found: list[Candidate] = []
        parents: dict[str, str] = {}
        size = 0
        pattern = self._names.instances(self._rule.only or None)
        async with closing(self._log.latest(pattern)) as messages:
            async for stored in messages:
                self.seen += 1
                head = self._head(stored)
                if head is None:
                    continue
                one = _candidate(stored, head)
                found.append(one)
                size += one.size * one.version
                if head.parent is not None:
                    parent = self._names.instance(head.parent.saga, head.parent.key)
                    parents[one.subject] = parent
                if len(found) >= ROUND_INSTANCES or size >= ROUND_BYTES:
                    yield await self._without_kept(found, parents)
                    found, parents, size = [], {}, 0
        if found:
            yield await self._without_kept(found, parents)

    def _head(self, stored: Stored) -> _Head | None:
        """What its last version says, when it is one that may go."""
        try:
            head = _head.decode(stored.data)
            named = self._names.parse_instance(stored.subject)
        except (msgspec.MsgspecError, BadName, UnicodeError):
            return None  # `snorri verify` tells of it
        kept_s = self._rule.kept_s(head.saga)
        if kept_s is None or head.status not in FINISHED or named != (head.saga, head.key):
            return None
        return head if stored.at_ns + kept_s * 1e9 <= self._now_ns else None

    async def _without_kept(
        self, found: list[Candidate], parents: Mapping[str, str]
    ) -> list[Candidate]:
        """Without those whose parent runs."""
        wanted = sorted(set(parents.values()))
        running: set[str] = set()
        for begin in range(0, len(wanted), ASK_AT_ONCE):
            chunk = wanted[begin : begin + ASK_AT_ONCE]
            for subject, stored in (await self._log.load(chunk)).items():
                if _status(stored) not in FINISHED:
                    running.add(subject)
        kept = [one for one in found if parents.get(one.subject) in running]
        if not kept:
            return found
        self.left[PARENT_RUNS] += len(kept)
        return [one for one in found if parents.get(one.subject) not in running]


def _status(stored: Stored) -> str:
    try:
        return _head.decode(stored.data).status
    except (msgspec.MsgspecError, UnicodeError):
        return ""


def _candidate(stored: Stored, head: _Head) -> Candidate:
    return Candidate(
        subject=stored.subject,
        saga=head.saga,
        key=head.key,
        status=head.status,
        version=head.version,
        last=stored.seq,
        size=len(stored.data),
        ids=len(head.seen) >= SEEN_MAX,
    )
