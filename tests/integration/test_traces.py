"""Goal: one order is one trace, from the publish over HTTP to its last transition, parents right.

Method: sagas run through the real API, engine and worker, with an exporter in memory; then the tree
of the spans is read as lines, a child indented below its parent.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from jobs import job
from jobs.engine import Engine
from jobs.examples import jobs as sample_jobs
from jobs.job import JobRegistry
from jobs.worker import Worker
from sagas import Message, SagaHandle, complete, define_saga, publish, schedule, send, spawn
from sagas.definition import Registry, SagaDefinition
from sagas.examples import definitions as sample_sagas
from server.otel import GivenIds, OtelTracing
from tests.api_kit import Api, answer, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = CLIENT[3:35]


class Traced:
    """An installation whose spans are kept."""

    def __init__(self, api: Api, spans: InMemorySpanExporter) -> None:
        self.api = api
        self._spans = spans

    async def publish(self, type: str, payload: object, key: str, parent: str = CLIENT) -> None:
        """Publish over HTTP with a trace context, as a client does."""
        headers = {"traceparent": parent} if parent else {}
        body = {"type": type, "payload": payload, "key": key}
        answer(await self.api.http.post("/api/v1/sagas/publish", json=body, headers=headers), 200)

    def spans(self, trace_id: str = TRACE) -> list[ReadableSpan]:
        """All spans of a trace that have ended."""
        found = self._spans.get_finished_spans()
        return [span for span in found if _hex(_ids(span).trace_id, 32) == trace_id]

    def all(self) -> tuple[ReadableSpan, ...]:
        """The spans of every trace."""
        return self._spans.get_finished_spans()

    async def tree(self, count: int, root: str = CLIENT[36:52], trace_id: str = TRACE) -> list[str]:
        """The spans below ``root`` as indented lines, once there are ``count`` of them."""
        await eventually(lambda: len(self.spans(trace_id)) >= count, what=f"{count} spans")
        children: defaultdict[str, list[ReadableSpan]] = defaultdict(list)
        for span in self.spans(trace_id):
            children[_hex(span.parent.span_id, 16) if span.parent else ""].append(span)

        def below(id: str, depth: int) -> Iterable[str]:
            for span in sorted(children[id], key=lambda span: (span.start_time or 0, span.name)):
                version = (span.attributes or {}).get("snorri.version", "")
                yield "  " * depth + f"{span.name} {version}".rstrip()
                yield from below(_hex(_ids(span).span_id, 16), depth + 1)

        return list(below(root, 0))


def _ids(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def _hex(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


@asynccontextmanager
async def traced(
    folder: Path, sagas: Iterable[SagaDefinition] = sample_sagas, jobs: Iterable[Any] = sample_jobs
) -> AsyncIterator[Traced]:
    """The whole installation, traced."""
    exporter, ids = InMemorySpanExporter(), GivenIds()
    provider = TracerProvider(id_generator=ids)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OtelTracing(provider, ids)
    async with open_api(folder, engine=False, worker=False, sagas=sagas, jobs=jobs) as api:
        api.deps.tracing = tracing
        names, broker = api.broker.names, api.broker
        engine = Engine(broker.backend(), names, Registry(sagas), hook=tracing)
        worker = Worker(broker.backend(), names, JobRegistry(jobs), hook=tracing)
        await engine.start()
        await worker.start()
        try:
            yield Traced(api, exporter)
        finally:
            await worker.stop()
            await engine.stop()
            await tracing.stop()


async def test_a_checkout_is_one_tree(tmp_path: Path) -> None:
    order = {"orderId": "o-1", "customerId": "c", "items": [], "total": 100}
    async with traced(tmp_path) as run:
        await run.publish("OrderCreated", order, "o-1")
        tree = await run.tree(14)
        spans = run.spans()
        saga = next(span for span in spans if span.name == "transition CheckoutSaga")
    assert tree == [
        "publish OrderCreated",
        "  transition CheckoutSaga 1",
        "    command process-payment",
        "      wait process-payment",
        "      job process-payment",
        "      transition CheckoutSaga 2",
        "        command reserve-inventory",
        "          wait reserve-inventory",
        "          job reserve-inventory",
        "          transition CheckoutSaga 3",
        "            command create-shipment",
        "              wait create-shipment",
        "              job create-shipment",
        "              transition CheckoutSaga 4",
    ]
    assert len(spans) == len(tree)
    assert all((span.end_time or 0) >= (span.start_time or 0) > 0 for span in spans)
    assert (saga.attributes or {})["snorri.key"] == "o-1"


async def test_failures_stand_on_their_spans(tmp_path: Path) -> None:
    order = {"orderId": "o-1", "customerId": "c", "items": [], "total": 1, "simulate": "decline"}
    async with traced(tmp_path) as run:
        await run.publish("OrderCreated", order, "o-1")
        await run.tree(6)
        wrong = {span.name for span in run.spans() if not span.status.is_ok}
    assert wrong == {"command process-payment", "job process-payment"}


def _family() -> list[SagaDefinition]:
    """A parent that spawns a child, tells others and rings itself a bell."""
    parent = define_saga("Parent").state({})

    @parent.on("Begin", starts=True)
    def begin(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return [
            spawn("Child", {}, key=f"{saga.key}-child"),
            publish("Told", {}, key=f"{saga.key}-other"),
            schedule({"type": "Rang"}, 0.05),
        ]

    @parent.on("Rang")
    def rang(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["rang"] = True

    @parent.on("Poked")
    def poked(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["poked"] = True

    child = define_saga("Child").state({})

    @child.on("Born", starts=True)
    def born(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete({})

    other = define_saga("Other").state({})

    @other.on("Told", starts=True)
    def told(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete({})

    return [parent.build(), child.build(), other.build()]


async def test_children_events_and_timers_are_part_of_the_tree(tmp_path: Path) -> None:
    async with traced(tmp_path, _family(), ()) as run:
        await run.publish("Begin", {}, "p")
        tree = await run.tree(8)
    # The timer and the child's end are versions 2 and 3, in the order in which they come.
    told = sorted(re.sub(r"Parent [23]", "Parent later", line) for line in tree)
    assert told == sorted(
        [
            "publish Begin",
            "  transition Parent 1",
            "    spawn Child",
            "      transition Child 1",
            "      transition Parent later",
            "    publish Told",
            "      transition Other 1",
            "    transition Parent later",
        ]
    )


async def test_an_event_of_another_trace_is_linked(tmp_path: Path) -> None:
    other = "00-11111111111111111111111111111111-2222222222222222-01"
    async with traced(tmp_path, _family(), ()) as run:
        await run.publish("Begin", {}, "p")
        await run.tree(8)
        await run.publish("Poked", {}, "p", parent=other)
        tree = await run.tree(9)
        poked = next(
            span for span in run.spans() if (span.attributes or {}).get("snorri.version") == 4
        )
        (published,) = run.spans(other[3:35])
    assert "    transition Parent 4" in tree
    (link,) = poked.links
    assert link.context.span_id == _ids(published).span_id
    assert published.parent is not None
    assert _hex(published.parent.span_id, 16) == other[36:52]


async def test_without_a_client_trace_the_publish_is_the_root(tmp_path: Path) -> None:
    async with traced(tmp_path, _family(), ()) as run:
        await run.publish("Begin", {}, "p", parent="")
        await eventually(lambda: len(run.all()) >= 8)
        (trace_id,) = {_hex(_ids(span).trace_id, 32) for span in run.all()}
        tree = await run.tree(8, "", trace_id)
    assert tree[0] == "publish Begin"


async def test_a_trace_that_is_not_sampled_makes_no_spans(tmp_path: Path) -> None:
    async with traced(tmp_path, _family(), ()) as run:
        await run.publish("Begin", {}, "p", parent=CLIENT[:-2] + "00")
        await run.api.decided()
        assert run.all() == ()
        revision = await run.api.status("Parent", "p")
    assert revision.instance.trace.startswith(f"00-{TRACE}-")
    assert revision.instance.trace.endswith("-00")


async def test_what_a_job_traces_itself_is_part_of_its_attempt(tmp_path: Path) -> None:
    saga = define_saga("Work").state({})

    @saga.on("Begin", starts=True)
    def begin(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return send("work", {})

    @saga.on("Worked")
    def worked(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete({})

    seen: list[str] = []

    @job("work", on_success="Worked")
    async def work(ctx: Any) -> dict[str, object]:
        context = trace.get_current_span().get_span_context()
        seen.append(f"{context.trace_id:032x}-{context.span_id:016x}")
        return {}

    async with traced(tmp_path, [saga.build()], [work]) as run:
        await run.publish("Begin", {}, "w")
        await run.tree(6)
        attempt = next(span for span in run.spans() if span.name == "job work")
    assert seen == [f"{TRACE}-{_ids(attempt).span_id:016x}"]
