"""One contract for everything that runs: services, and the supervisor that holds several together.

``start`` returns when the service is ready, ``stop`` waits until it has ended and may be called
twice, ``wait`` returns after a stop and raises when the service ended by itself. A supervisor
starts its services in order and stops them the other way round; when one dies the others are
stopped and the error names the dead one. It knows nothing of what the services do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

log = logging.getLogger("snorri.services")


class Service(Protocol):
    """Something that runs until it is stopped."""

    @property
    def name(self) -> str:
        """What it is called in logs and errors."""
        ...

    async def start(self) -> None:
        """Begin; returns when it is ready. One that raises has left nothing open."""
        ...

    async def stop(self) -> None:
        """End in order and wait for that. A second call waits for the first and does no harm."""
        ...

    async def wait(self) -> None:
        """Return after ``stop``; raise what ended the service when that was something else."""
        ...


class ServiceDied(Exception):
    """A service ended although nobody stopped it; its own error is the cause."""

    def __init__(self, service: str, error: BaseException | None) -> None:
        why = f": {type(error).__name__}: {error}" if error is not None else " without an error"
        super().__init__(
            f"the {service} ended by itself{why}; the other services were stopped,"
            " see its log and start again"
        )
        self.service = service


class Supervisor:
    """Several services as one; itself a service."""

    def __init__(self, services: Sequence[Service], name: str = "supervisor") -> None:
        self.name = name
        self._services = tuple(services)
        self._started: list[Service] = []
        self._stopping: asyncio.Task[None] | None = None
        self._asked = False
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start all in order; when one fails, those before it are stopped and its error raised."""
        for service in self._services:
            try:
                await service.start()
            except BaseException:
                log.warning("the %s could not be started; stopping the others", service.name)
                await self.stop()
                raise
            self._started.append(service)
            log.info("the %s is ready", service.name)

    async def stop(self) -> None:
        """Stop in reverse order. Errors of a stop are logged, so that each service gets its own."""
        self._asked = True
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_all())
        await asyncio.shield(self._stopping)

    async def wait(self) -> None:
        """Return after ``stop``; when one ends by itself, stop all and raise ServiceDied."""
        waits = {asyncio.create_task(s.wait()): s for s in self._started}
        ended = asyncio.create_task(_none(self._ended))
        try:
            done, _ = await asyncio.wait({ended, *waits}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ended, *waits):
                task.cancel()
            await asyncio.gather(ended, *waits, return_exceptions=True)
        dead = next((task for task in done if task is not ended), None)
        if dead is None or self._asked:
            await self.stop()
            return
        error = dead.exception()
        died = ServiceDied(waits[dead].name, error)
        log.error("%s", died)
        await self.stop()
        raise died from error

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Start, run until ``stop`` is set or a service dies, stop; raises as start and wait do."""
        asked = asyncio.create_task(stop.wait())
        start = asyncio.create_task(self.start())
        try:
            await asyncio.wait({asked, start}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                start.cancel()
            await asyncio.wait({start})
            if not start.cancelled():
                start.result()
                ready()
                wait = asyncio.create_task(self.wait())
                await asyncio.wait({asked, wait}, return_when=asyncio.FIRST_COMPLETED)
                await self.stop()
                await wait
        finally:
            asked.cancel()
            start.cancel()
            await asyncio.gather(asked, start, return_exceptions=True)
            await self.stop()

    async def _stop_all(self) -> None:
        for service in reversed(self._started):
            try:
                await service.stop()
            except Exception:
                log.exception("the %s did not stop in order", service.name)
            else:
                log.info("the %s has stopped", service.name)
        self._ended.set()


async def _none(event: asyncio.Event) -> None:
    await event.wait()
