"""The server's half of the NATS protocol: bytes in, calls out, at half the cost of nats-py's.

Takes the place of that client's parser, which was the largest part of reading a stream. Messages go
to a plain function, so a chunk of hundreds costs no task switch; the rare other lines (PING, PONG,
INFO, errors) go to a coroutine. What is not the protocol raises ProtocolError, upon which the
client reconnects. It knows nothing of what messages mean.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from nats.errors import ProtocolError

LINE_BYTES_MAX = 1024 * 1024  # the INFO of a large cluster is the longest line there is

Deliver = Callable[[int, bytes, bytes, bytes, bytes], None]  # sid, subject, reply, headers, payload
Control = Callable[[bytes, str], Awaitable[None]]  # PING, PONG, INFO or -ERR, and what follows it


class LinkParser:
    """Cuts a stream of bytes into messages and lines; ``reset`` forgets what is half read."""

    def __init__(self, deliver: Deliver, control: Control) -> None:
        self._deliver = deliver
        self._control = control
        self._rest = b""
        self._epoch = 0

    def reset(self) -> None:
        """Begin anew, for another connection."""
        self._rest = b""
        self._epoch += 1

    async def parse(self, data: bytes = b"") -> None:
        """Handle all that is complete in ``data`` and what was left; raises ProtocolError."""
        epoch = self._epoch
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position = 0
        while True:
            position = self._messages(data, position)
            end = data.find(b"\r\n", position)
            if end < 0 or data.startswith((b"HMSG ", b"MSG "), position):
                break
            word, _, tail = data[position:end].partition(b" ")
            position = end + 2
            if word in (b"PING", b"PONG", b"INFO", b"-ERR"):
                await self._control(word, tail.decode("utf-8", "replace"))
                if self._epoch != epoch:
                    return  # the connection was given up meanwhile
            elif word != b"+OK":
                raise ProtocolError
        if end < 0 and len(data) - position > LINE_BYTES_MAX:
            raise ProtocolError
        self._rest = data[position:]

    def _messages(self, data: bytes, position: int) -> int:
        """Deliver the complete messages from ``position`` on; where the first thing begins that is
        none.
        """
        deliver, find, size = self._deliver, data.find, len(data)
        while (end := find(b"\r\n", position)) >= 0:
            words = data[position:end].split()
            kind = words[0] if words else b""
            body = head = end + 2
            try:
                if kind == b"HMSG":
                    head += int(words[-2])
                    reply = words[3] if len(words) == 6 else b""
                elif kind == b"MSG":
                    reply = words[3] if len(words) == 5 else b""
                else:
                    return position
                stop = body + int(words[-1])
                sid, subject = int(words[2]), words[1]
            except (ValueError, IndexError) as error:
                raise ProtocolError from error
            if size < stop + 2:
                return position
            deliver(sid, subject, reply, data[body:head], data[head:stop])
            position = stop + 2
        return position


def info_of(text: str) -> dict[str, Any]:
    """The document of an INFO line; raises ProtocolError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProtocolError from error
