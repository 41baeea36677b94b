"""What SQL costs with a million instances: the first copy, keeping it fresh, and what writers feel.

The tables are filled by SQL; then batches of new versions arrive as the projector would apply them,
a thousand transitions a second, while somebody asks all the time.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from pathlib import Path

from msgspec import Raw, Struct

from sagas.instance import Instance, encode
from sagas.messages import Cause
from store.duck.console import DuckConsole
from store.duck.copies import Copies
from store.duck.projection import DuckProjections, DuckTables
from store.live_mask import LiveMask
from store.port import Stored
from store.projection.checkpoint import Streams
from store.projection.console import Query
from store.projection.port import Progress
from store.subjects import Names
from tests.benchmarks.lists import BEGAN, FILL, SAGAS, STATUSES
from tests.waiting import until_moment

INSTANCES = 1_000_000
VERSIONS = 3
BATCH = 100  # ten batches a second
ROUNDS = 10
SECONDS_A_ROUND = 2.5

HISTORY = f"""
INSERT INTO base.transitions BY NAME
SELECT saga, key, v AS version, seq - 5 + v AS seq, changed_at AS committed_at,
    status AS status_before, status, state AS state_before, state AS state_after,
    'event' AS cause_kind, 'PaymentCompleted' AS cause_type, md5(key || v) AS cause_id,
    seq - 5 + v AS cause_seq, changed_at AS cause_at, state AS cause_payload, '' AS cause_by,
    '' AS answers, false AS failed, 12.5 AS since_previous_ms, 2.5 AS waited_ms, 1 AS effect_count,
    definition, md5(key || v || 'x') AS prev, ident
FROM base.instances, range(1, {VERSIONS + 1}) AS versions(v) ORDER BY base.instances.seq, v"""
EVENTS = """
INSERT INTO base.events BY NAME
SELECT seq, cause_type AS type, key, cause_id AS id, committed_at AS stored_at,
    cause_payload AS payload, '' AS answers, false AS failed, '' AS trace, '{}' AS headers,
    strlen(cause_payload) AS bytes, 'applied' AS outcome, 1 AS instances FROM base.transitions"""
COMMANDS = """
INSERT INTO base.commands BY NAME
SELECT cause_id AS id, 'process-payment' AS target, saga, key, version, 1 AS sends, seq,
    committed_at AS sent_at, cause_payload AS payload, 'completed' AS status, 1 AS attempts,
    committed_at AS answered_at, 5.5 AS total_ms, hash(cause_id) AS hash, ident
FROM base.transitions WHERE version = 1"""


class AskingFigures(Struct, frozen=True, kw_only=True):
    """Sizes in MB, times in ms; ``renew`` is bringing a copy up to date, ``ask`` the whole of a
    small question, ``apply`` a batch of 100 transitions while nobody asks and while somebody does.
    """

    file_mb: float
    first_copy_ms: float
    renew_ms: tuple[float, float]
    ask_ms: tuple[float, float]
    age_s_max: float
    apply_alone_ms: tuple[float, float]
    apply_asked_ms: tuple[float, float]


async def asking(folder: Path) -> AskingFigures:
    """Fill, copy, then ask while new versions arrive."""
    projections = DuckProjections(folder / "projections", Names(), LiveMask())
    copies = Copies(projections, folder / "copies")
    console = DuckConsole(copies, folder / "console")
    await console.start()
    try:
        await projections.open()
        tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))
        await asyncio.to_thread(_fill, tables)
        writer = _Writer(projections, tables)
        await writer.write(0.1)  # the sequence goes on behind the rows that were filled in
        started = time.perf_counter()
        copies.give_back(await copies.take(0))
        first_copy_ms = (time.perf_counter() - started) * 1000
        alone = await writer.write(SECONDS_A_ROUND * 2)
        writing = asyncio.create_task(writer.write(SECONDS_A_ROUND * ROUNDS))
        renewed_ms: list[float] = []
        asked_ms: list[float] = []
        ages_s: list[float] = []
        while not writing.done():
            started = time.perf_counter()
            copies.give_back(await copies.take(0))
            took_ms = (time.perf_counter() - started) * 1000
            if took_ms > 5:
                renewed_ms.append(took_ms)
            started = time.perf_counter()
            answer = await console.ask(Query(sql="SELECT count(*) FROM instances"))
            asked_ms.append((time.perf_counter() - started) * 1000)
            ages_s.append(answer.freshness.age_s)
            answer.file.close()
        return AskingFigures(
            file_mb=tables.file.path.stat().st_size / 1e6,
            first_copy_ms=first_copy_ms,
            renew_ms=_p50_p95(renewed_ms),
            ask_ms=_p50_p95(asked_ms),
            age_s_max=max(ages_s),
            apply_alone_ms=_p50_p95(alone),
            apply_asked_ms=_p50_p95(await writing),
        )
    finally:
        await console.stop()
        await projections.close()


def _fill(tables: DuckTables) -> None:
    with tables.file.cursor() as cursor:
        step = INSTANCES // 10
        for start in range(0, INSTANCES, step):
            values = {"sagas": SAGAS, "statuses": STATUSES, "from": start, "to": start + step}
            cursor.execute(FILL, values)
        for sql in (HISTORY, EVENTS, COMMANDS):
            cursor.execute(sql)
    tables.file.flush()


class _Writer:
    """New versions of instances chosen at random, as revisions of the log."""

    def __init__(self, projections: DuckProjections, tables: DuckTables) -> None:
        self._projections = projections
        self._tables = tables
        self._names = Names()
        self._seq = INSTANCES * 5
        self._chance = random.Random(1)

    async def write(self, seconds: float) -> list[float]:
        """Ten batches a second; how long each took, in ms."""
        took_ms: list[float] = []
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            batch = [self._revision() for _ in range(BATCH)]
            started = time.perf_counter()
            await self._tables.apply([], batch)
            took_ms.append((time.perf_counter() - started) * 1000)
            self._projections.report(Progress(log_seq=self._seq, log_last=self._seq))
            await until_moment(now_s + 0.1)
        return took_ms

    def _revision(self) -> Stored:
        self._seq += 1
        number = self._chance.randrange(INSTANCES)
        saga, key = SAGAS[number % 4], f"o-{number}"
        cause = Cause(kind="event", type="ShipmentCreated", id="", seq=self._seq, at=BEGAN)
        instance = Instance(
            v=1,
            saga=saga,
            key=key,
            version=self._seq,
            status="completed",
            state=Raw(b'{"orderId":"%s","total":4999}' % key.encode()),
            started=BEGAN,
            at=BEGAN,
            cause=cause,
            effects=(),
            error=None,
            definition="f00dcafe",
            trace="",
            prev="",
        )
        now_ns = time.time_ns()
        return Stored(self._names.instance(saga, key), self._seq, now_ns, encode(instance))


def _p50_p95(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
