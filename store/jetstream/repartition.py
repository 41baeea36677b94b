"""Another number of partitions for an installation that rests: drained, switched, gone on with.

Which partition a message belongs to is in the subject that it is stored under, given by the
server when it is stored. So everything must have been read before the number changes, and nobody
may read by the old number afterwards: the order of a key's messages depends on both.

The steps are told by the configurations of the two streams alone, so a change that was cut off
goes on where it stood when it is asked for again:

    log marked -> events closed -> all read? -> positions for partitions that are new
    -> log switched -> nothing slipped in? -> events switched and opened -> mark removed

While the log is marked nobody can connect, and while the events are closed publishers are told to
try again. When something was not read yet, all is put back as it was.
"""

from __future__ import annotations

from typing import cast

import msgspec

from store.codec import ROLLUP, Position
from store.jetstream import api, topology
from store.jetstream.backend import JetStreamBackend
from store.jetstream.dial import dial
from store.jetstream.link import Link
from store.jetstream.login import ANYBODY, Login
from store.jetstream.topology import CHANGING, Config
from store.partitions import LEASE, waiting
from store.port import Committed, Outgoing, StoreError, StreamName
from store.subjects import Names

OWNER = "partitions"


class NotAtRest(StoreError):
    """Engines are running or messages wait; nothing was changed."""


async def change_partitions(
    url: str, names: Names, count: int, *, login: Login = ANYBODY
) -> tuple[int, int]:
    """Change to ``count`` partitions; how many there were, and are. Both are equal when there was
    nothing to do.

    Raises NotAtRest, Unreachable, and StoreError for a number that can't be and for another change
    that was begun.
    """
    if not 1 <= count <= topology.PARTITIONS_MAX:
        raise StoreError(f"{count} partitions; choose 1 to {topology.PARTITIONS_MAX}")
    link = await dial(url, login=login)
    try:
        topology.check_server(link)
        return await _Change(link, names, count).run()
    finally:
        await link.hang_up()


class _Change:
    def __init__(self, link: Link, names: Names, count: int) -> None:
        self._link = link
        self._names = names
        self._count = count
        self._before = count

    async def run(self) -> tuple[int, int]:
        """Begin, or go on with what was begun."""
        log = await self._config("log")
        begun = topology.changing(log)
        if begun is None:
            self._before = topology.partitions_of(log) or 0
            if self._before == 0 or topology.is_restoring(log):
                raise StoreError(f"{self._names.log_stream} is no whole stream of ours; see doctor")
            if self._before == self._count:
                return self._count, self._count
            await self._check_engines()
            await self._update("log", metadata=_marked(log, f"{self._before}>{self._count}"))
            await self._go_on(resting=False)
        else:
            self._before, target = begun
            if target != self._count:
                raise StoreError(
                    f"a change from {self._before} to {target} partitions was begun and not ended;"
                    f" end it with `snorri partitions --change {target}`"
                )
            switched = topology.partitions_of(log) == self._count
            await self._go_on(resting=switched)
        return self._before, self._count

    async def _go_on(self, *, resting: bool) -> None:
        """All steps after the mark; ``resting`` when the log has been switched already."""
        events = await self._config("events")
        opened = topology.partitions_of(events)
        if not resting:
            await self._check_engines_or_undo()
            if opened is not None:
                closed = topology.closed_subjects(self._names)
                await self._update("events", subjects=closed, subject_transform=None)
            await self._check_read(range(self._before))
            await self._write_positions()
            await self._switch_log(self._count)
        if opened != self._count:
            await self._check_read(range(self._count, self._before))
            await self._open_events(self._count)
        await self._unmark()

    async def _check_engines(self) -> None:
        meta = self._backend(self._before).meta
        engines = [entry.key.partition(".")[2] for entry in await meta.entries("engine.")]
        engines += [(entry.data or b"").decode() for entry in await meta.entries(LEASE)]
        if engines:
            raise NotAtRest(
                f"engines are running: {', '.join(sorted(set(engines)))}; stop them first, one that"
                " was killed counts for five seconds more"
            )

    async def _check_engines_or_undo(self) -> None:
        try:
            await self._check_engines()
        except NotAtRest:
            await self._unmark()
            raise

    async def _check_read(self, numbers: range) -> None:
        """Everything in these partitions has been read; otherwise all is put back."""
        backend = self._backend(self._before)
        left: dict[int, int] = {}
        for number in numbers:
            stored = await backend.log.read(self._names.position(number))
            position = msgspec.json.decode(stored.data, type=Position) if stored else None
            events, signals = (position.events, position.signals) if position else (0, 0)
            if count := await waiting(backend, self._names, number, events, signals):
                left[number] = count
        if not left:
            return
        await self._switch_log(self._before)
        await self._open_events(self._before)
        await self._unmark()
        told = ", ".join(f"{count} in partition {number}" for number, count in left.items())
        raise NotAtRest(
            f"messages have not been read: {told}. Stop whoever publishes and the workers, let an"
            f" engine (SNORRI_PARTITIONS={self._before}) read them, stop it, and say this again"
        )

    async def _write_positions(self) -> None:
        """Partitions that are new begin behind all that is stored now: what earlier layouts have
        put under their numbers was read.
        """
        backend = self._backend(self._before)
        ends = [(await backend.log.extent(stream)).last for stream in ("events", "log")]
        last = await backend.log.at("events", ends[0])
        position = Position(
            events=ends[0],
            signals=ends[1],
            owner=OWNER,
            batch=f"{self._before}>{self._count}",
            events_at_ns=last.at_ns if last else 0,
        )
        for number in range(self._before, self._count):
            subject = self._names.position(number)
            stored = await backend.log.read(subject)
            outgoing = Outgoing(
                subject,
                msgspec.json.encode(position),
                ((ROLLUP, "sub"),),
                expect=stored.seq if stored else 0,
            )
            outcome = await backend.log.commit([outgoing])
            if not isinstance(outcome, Committed):
                raise StoreError(f"the position of partition {number} was not stored: {outcome}")

    async def _switch_log(self, count: int) -> None:
        config = topology.log_config(self._names, count, 1)
        await self._update("log", subject_transform=config["subject_transform"])

    async def _open_events(self, count: int) -> None:
        config = topology.events_config(self._names, count, 1)
        await self._update(
            "events",
            subjects=config["subjects"],
            subject_transform=config["subject_transform"],
        )

    async def _unmark(self) -> None:
        await self._update("log", metadata=_marked(await self._config("log"), ""))

    def _backend(self, partitions: int) -> JetStreamBackend:
        return JetStreamBackend(self._link, self._names, partitions, 1)

    def _name(self, stream: StreamName) -> str:
        return self._names.log_stream if stream == "log" else self._names.events_stream

    async def _config(self, stream: StreamName) -> Config:
        config = await topology.stream_config(self._link, self._name(stream))
        if config is None:
            raise StoreError(
                f"there is no stream {self._name(stream)} on this server; set SNORRI_BUCKET"
            )
        return config

    async def _update(self, stream: StreamName, **fields: object) -> None:
        """Change these fields of a stream's configuration; None takes one away."""
        config = await self._config(stream) | fields
        config = {field: value for field, value in config.items() if value is not None}
        await api.ask(self._link, f"STREAM.UPDATE.{self._name(stream)}", config)


def _marked(config: Config, mark: str) -> dict[str, str]:
    """The metadata of a stream with this mark, or without any."""
    kept = dict(cast("dict[str, str]", config.get("metadata") or {}))
    kept.pop(CHANGING, None)
    return kept | ({CHANGING: mark} if mark else {})
