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
        data = self._rest + data
        self._rest = b""
        position = 0
        while True:
            end = data.find(b"\r\n", position)
            if end < 0:
                break
            if data.startswith((b"HMSG ", b"MSG "), position):
                stop = self._message(data, position, end)
                if stop < 0:
                    break
                position = stop
                continue
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

    def _message(self, data: bytes, position: int, end: int) -> int:
        """Deliver the message whose line ends at ``end``; where the next begins, -1 if cut off."""
        words = data[position:end].split()
        count = len(words)
        try:
            total = int(words[-1])
            head = int(words[-2]) if words[0] == b"HMSG" else 0
            sid, body = int(words[2]), end + 2
            reply = words[3] if count == (6 if head else 5) else b""
        except (ValueError, IndexError) as error:
            raise ProtocolError from error
        stop = body + total
        if len(data) < stop + 2:
            return -1
        self._deliver(sid, words[1], reply, data[body : body + head], data[body + head : stop])
        return stop + 2


def info_of(text: str) -> dict[str, Any]:
    """The document of an INFO line; raises ProtocolError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProtocolError from error
