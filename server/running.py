"""A process that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from jobs.service import ServiceDied, Supervisor
from server.errors import ProcessEnded

log = logging.getLogger("snorri")


async def run_until_signal(supervisor: Supervisor, ready: Callable[[], None]) -> int:
    """Run until Ctrl-C (130) or SIGTERM (0), stop in order, and return the exit code.

    A second signal ends the process at once; an embedded nats-server follows by itself. Raises
    ProcessEnded when a service ended although nobody asked for it.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    codes: list[int] = []

    def ask(number: signal.Signals) -> None:
        if codes:
            os._exit(128 + number)
        codes.append(130 if number is signal.SIGINT else 0)
        log.info("stopping in order; once more to stop at once")
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, ask, number)
    try:
        await supervisor.run(stop, ready)
    except ServiceDied as died:
        raise ProcessEnded(str(died)) from died
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    return codes[0] if codes else 0
