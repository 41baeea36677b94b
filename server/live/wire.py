"""uvicorn's HTTP protocol with what long streams need: a way to cut a connection, and an end for
those whose other side is gone without a word.

Closing a connection in order waits until everything is written, so a client that stopped reading
could hold it for ever; the application gets ``ABORT`` in the ASGI extensions to drop it at once.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "snorri.abort"
# How long sent bytes may go unacknowledged, or a full window stay full, before the kernel gives the
# connection up. Heartbeats make sure that there are some.
USER_TIMEOUT_MS = 60_000


class StreamingProtocol(HttpToolsProtocol):
    """What ``uvicorn.Config(http=…)`` takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, with a limit on how long its other side may be silent."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            except OSError:
                pass  # a Unix socket, or one that is closed already

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
