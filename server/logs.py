"""One log for Snorri and the libraries below it: for people on a terminal, JSON lines elsewhere.

Owns the set-up of structlog and of the standard library's root logger, done once at the start of a
process. Lines logged inside `bound_to` carry the instance and the trace they belong to. What is
worth logging is decided by the other rooms.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from server.redaction import Redactor

LogFormat = Literal["auto", "console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# These bring handlers and levels of their own; ours is the only one.
FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar", "nats", "asyncio")


# One for the process, as the log is one: whoever knows secret names gives them to it.
redactor = Redactor()


def configure_logs(
    form: LogFormat = "auto", level: LogLevel = "info", stream: TextIO | None = None
) -> None:
    """Send everything logged in this process to ``stream`` (stderr). A later call replaces this."""
    out = stream if stream is not None else sys.stderr
    people = form == "console" or (form == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.stdlib.ExtraAdder(),
                *shared,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_people(out) if people else _for_machines()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Or the redactor's sources, and all that they hold, would outlive the modules they are from.
    atexit.register(root.removeHandler, handler)
    root.setLevel(level.upper())
    for name in FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Not cached: a logger made at import time must follow a later call of this function.
        cache_logger_on_first_use=False,
    )


@contextmanager
def bound_to(*, saga: str, key: str, trace: str | None = None) -> Iterator[None]:
    """Lines logged inside carry ``instance`` (saga and key) and, when there is one, ``trace``."""
    fields = {"instance": f"{saga}/{key}", **({"trace": trace} if trace else {})}
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def _for_people(out: TextIO) -> list[Processor]:
    colors = out.isatty() and not os.environ.get("NO_COLOR")
    plain = structlog.dev.plain_traceback
    return [
        structlog.processors.format_exc_info,
        redactor,
        _without_controls,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
    ]


def _without_controls(_logger: object, _method: str, line: EventDict) -> EventDict:
    """A line without what a terminal might obey: texts come from payloads and from strangers."""
    for name, value in line.items():
        if isinstance(value, str) and name != "exception" and not value.isprintable():
            line[name] = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value)
    return line


def _for_machines() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        redactor,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(line: Any, **_options: object) -> str:  # Any: a log line holds whatever was bound to it
    return msgspec.json.encode(line, enc_hook=repr).decode()
