"""The JetStream API as typed questions: send JSON, get a document or an error by number.

Owns the ``$JS.API`` subjects and the shape of their answers. It promises that a failure is one of
``ApiError`` (the server said no), ``NoResponders`` or ``Unreachable``; it decides nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from store.jetstream import codes, wire
from store.jetstream.link import REQUEST_TIMEOUT_S, Link, NoResponders
from store.port import Stored, StoreError, Unreachable

T = TypeVar("T")

LOOK_S = 2.0


class ApiError(StoreError):
    """The server answered with an error; ``error.err_code`` says which."""

    def __init__(self, subject: str, error: codes.ServerError) -> None:
        super().__init__(f"{subject}: {error}")
        self.error = error


class PubAck(Struct, frozen=True):
    """The answer to a publish or to the last message of a batch."""

    error: codes.ServerError | None = None
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    count: int = 0


class _Failure(Struct, frozen=True):
    error: codes.ServerError | None = None


class _Message(Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _Got(Struct, frozen=True):
    message: _Message


_FAILURE = msgspec.json.Decoder(_Failure)
_GOT = msgspec.json.Decoder(_Got)
_ACK = msgspec.json.Decoder(PubAck)


def ack_of(data: bytes) -> PubAck:
    """Read the answer to a publish; one that is no JSON is an error of unknown outcome."""
    try:
        return _ACK.decode(data)
    except msgspec.MsgspecError as error:
        return PubAck(error=codes.ServerError(500, 0, f"unreadable answer: {error}"))


async def call(
    link: Link,
    subject: str,
    body: object = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    *,
    filter: str = "",
) -> bytes:
    """Ask ``$JS.API.<subject>``, or ``….<filter>``; raw JSON.

    Raises ApiError, NoResponders, Unreachable (also where a cluster has no leader for it at the
    moment), and Refused where permissions deny it.
    """
    payload = b"" if body is None else msgspec.json.encode(body)
    # A filter may have wildcards, unlike what is stored.
    where = wire.check_subject(f"$JS.API.{subject}") + (f".{filter}" if filter else "")
    reply = await link.exchange(where, lambda inbox: wire.pub(where, inbox, payload), timeout_s)
    try:
        error = _FAILURE.decode(reply.data).error
    except msgspec.MsgspecError as problem:
        raise Unreachable(f"unreadable answer to {subject}: {problem}; try again") from problem
    if error is not None and error.err_code in codes.AWAY:
        raise Unreachable(f"{subject}: {error}; try again")
    if error is not None:
        raise ApiError(subject, error)
    return reply.data


async def repeated(look: Callable[[float], Awaitable[T]]) -> T:
    """A question that changes nothing, asked a second time when the first answer stays away.

    ``look`` is given its time-out in seconds. The leader of a stream may have changed meanwhile,
    and the one before does not answer any more. Raises what ``look`` raises.
    """
    try:
        return await look(LOOK_S)
    except NoResponders:
        raise
    except Unreachable:
        return await look(REQUEST_TIMEOUT_S - LOOK_S)


async def ask(
    link: Link,
    subject: str,
    body: object = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    *,
    filter: str = "",
) -> dict[str, Any]:
    """``call`` with the answer as plain data: its fields differ between servers."""
    answer = await call(link, subject, body, timeout_s, filter=filter)
    return msgspec.json.decode(answer, type=dict[str, Any])


async def create_consumer(
    link: Link,
    stream: str,
    name: str,
    config: dict[str, Any],
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> dict[str, Any]:
    """Make a consumer that does not exist; its info. Raises what ``call`` does.

    A single filter stands in the subject, so that permissions can say what may be read.
    """
    body = {"stream_name": stream, "config": config, "action": "create"}
    filter = str(config.get("filter_subject", ""))
    return await ask(link, f"CONSUMER.CREATE.{stream}.{name}", body, timeout_s, filter=filter)


async def last_message(link: Link, stream: str, subject: str) -> Stored | None:
    """The last message of ``subject``, from the leader; raises Unreachable, ApiError."""
    return await _message(link, stream, {"last_by_subj": subject})


async def message_at(link: Link, stream: str, seq: int) -> Stored | None:
    """The message with a sequence, from the leader; raises Unreachable, ApiError."""
    return await _message(link, stream, {"seq": seq})


async def _message(link: Link, stream: str, which: dict[str, Any]) -> Stored | None:
    try:
        question = f"STREAM.MSG.GET.{stream}"
        data = await repeated(lambda wait_s: call(link, question, which, wait_s))
    except ApiError as failure:
        if failure.error.err_code == codes.MESSAGE_NOT_FOUND:
            return None
        if codes.kind_of(failure.error) in ("busy", "unknown"):
            raise Unreachable(f"{failure}; try again") from failure
        raise
    got = _GOT.decode(data).message
    return Stored(
        subject=got.subject,
        seq=got.seq,
        at_ns=wire.nanoseconds_of(got.time),
        data=base64.b64decode(got.data),
        headers=wire.headers_of(base64.b64decode(got.hdrs)) if got.hdrs else {},
    )
