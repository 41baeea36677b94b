"""The server's half of the NATS protocol: bytes in, calls out, at half the cost of nats-py's.

Takes the place of that client's parser, which was the largest part of reading a stream. Messages go
to a plain function, so a chunk of hundreds costs no task switch; the rare other lines (PING, PONG,
INFO, errors) go to a coroutine. What is not the protocol raises ProtocolError, upon which the
client reconnects. It knows nothing of what messages mean.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from nats.errors import ProtocolError

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 1024 * 1024  # the INFO of a large cluster is the longest line there is

Message: TypeAlias = tuple[bytes, bytes, bytes, bytes]  # subject, reply subject, headers, payload
RunSink: TypeAlias = Callable[[list[Message]], None]  # takes what came without a break
Sink: TypeAlias = Callable[[bytes, bytes, bytes, bytes], None]  # takes one message
Deliver = Callable[[int, list[Message]], None]  # sid, and what came for it without a break
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
        find, size = data.find, len(data)
        run: list[Message] = []
        of, sid = b"", 0
        try:
            while (end := find(b"\r\n", position)) >= 0:
                words = data[position:end].split()
                kind = words[0] if words else b""
                body = head = end + 2
                if kind == b"HMSG":
                    head += int(words[-2])
                    reply = words[3] if len(words) == 6 else b""
                elif kind == b"MSG":
                    reply = words[3] if len(words) == 5 else b""
                else:
                    break
                stop = body + int(words[-1])
                if size < stop + 2:
                    break
                if words[2] != of:
                    self._hand_on(sid, run)
                    run, of = [], words[2]
                    sid = int(of)
                run.append((words[1], reply, data[body:head], data[head:stop]))
                position = stop + 2
        except (ValueError, IndexError) as error:
            raise ProtocolError from error
        finally:
            self._hand_on(sid, run)
        return position

    def _hand_on(self, sid: int, run: list[Message]) -> None:
        if run:
            self._deliver(sid, run)


def one_by_one(sink: Sink) -> RunSink:
    """Pass messages to ``sink`` singly; one on which it fails is skipped."""

    def each(run: list[Message]) -> None:
        for message in run:
            try:
                sink(*message)
            except Exception:
                log.exception("a reader of %r failed; the message is skipped", message[0])

    return each


def info_of(text: str) -> dict[str, Any]:
    """The document of an INFO line; raises ProtocolError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ProtocolError from error
