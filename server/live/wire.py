"""uvicorn's HTTP protocol with what long streams need of their connection.

The application finds a ``Connection`` in the ASGI extensions, to drop it at once (closing it in
order would wait for a client that does not read) and to bound what the kernel holds for it. A
connection whose other side is gone without a word comes to an end by itself.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "snorri.connection"
SEND_BUFFER_BYTES = 128 * 1024  # of a stream, instead of the several megabytes of the kernel
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
        self.scope["extensions"] = {EXTENSION: {"connection": Connection(self.transport)}}


class Connection:
    """What a stream may do with its connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def abort(self) -> None:
        """Drop it now, with what is not written yet."""
        self._transport.abort()

    def narrow(self) -> None:
        """Hold little for it: what a client does not read stays in the channel it shares."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            except OSError:
                pass  # closed already
