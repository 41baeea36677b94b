"""Runs of steps from one end to the other: an engine and a worker on a floor, runs and their ends.

The functions of the steps write what they do into a list, so a test can say in which order the
outside world saw it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs import ErrorPolicy, JobRegistry, Providers
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas.definition import Registry, SagaDefinition
from sagas.instance import Instance, Status, decode
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, Floor

ENDS: tuple[Status, ...] = ("completed", "failed", "compensated", "parked")


class Stage:
    """An engine and a worker for some definitions; the floor stops the worker.

    With ``inline`` they are of one process, and the engine gives the steps to the worker directly.
    """

    def __init__(
        self, floor: Floor, definitions: Sequence[SagaDefinition], *, inline: bool = False
    ) -> None:
        self.floor = floor
        self.definitions = definitions
        self.inline: InlineSteps | None = None
        if inline:
            jobs = all_step_jobs(definitions)
            self.inline = InlineSteps(floor.names, inline_targets(Registry(definitions), jobs))
        self.engine = Engine(floor.backend, floor.names, Registry(definitions), inline=self.inline)
        self.worker: Worker | None = None

    async def open(
        self, errors: ErrorPolicy | None = None, providers: Providers | None = None, **more: Any
    ) -> Stage:
        """Start both."""
        jobs = JobRegistry(all_step_jobs(self.definitions, errors))
        await self.engine.start()
        self.worker = await self.floor.worker(
            *jobs,
            backend=await self.floor.other(),
            providers=providers,
            inline=self.inline,
            **more,
        )
        return self

    async def start(self, saga: str, key: str, input: object) -> None:
        """Begin a run."""
        subject = self.floor.names.event(saga, key)
        await self.floor.backend.door.publish(subject, msgspec.json.encode(input), {}, "")

    async def look(self, saga: str, key: str) -> Instance | None:
        """A run as it is now."""
        subject = self.floor.names.instance(saga, key)
        stored = await self.floor.backend.log.read(subject)
        return decode(stored.data) if stored else None

    async def end(self, saga: str, key: str, *, settled: bool = False) -> Instance:
        """A run when it has ended or parked; ``settled``: with no step on its way either."""

        async def ended() -> Instance | None:
            found = await self.look(saga, key)
            if found is None or found.status not in ENDS:
                return None
            return None if settled and found.commands else found

        found = await eventually(ended, WITHIN_S, f"the end of {saga}/{key}")
        assert found is not None
        return found

    async def run(self, saga: str, key: str, input: object) -> Instance:
        """Begin a run and wait for its end."""
        await self.start(saga, key, input)
        return await self.end(saga, key)

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.stop()


def state_of(instance: Instance) -> Any:
    """The context of a list's run."""
    return msgspec.json.decode(instance.state)


def output_of(instance: Instance, step: str) -> Any:
    """What a step has returned."""
    return msgspec.json.decode(instance.steps[step].output)
