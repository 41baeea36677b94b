"""Names: what a key or a type may be, the token that stands for it, and the ids derived from them.

A token holds only ``[A-Za-z0-9_-]`` and ``=XX`` (hex, upper case) for every other byte, so it can
be part of a subject, a header value or a derived id, and can never act as a wildcard or break a
line. ``escape`` and ``unescape`` are inverses. Reading is more generous than writing: a ``=`` that
is not followed by two upper-case hex digits stands for itself, since publishers may leave legal
characters unescaped.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

KEY_BYTES_MAX = 200
NAME_BYTES_MAX = 100
TRACEPARENT_CHARS = 55

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")
_BY_HAND = re.compile(r"by-hand\.[A-Za-z0-9_-]{1,100}")
_CALL = re.compile(r".+\.(call|send)-[0-9a-f]{32}")
_COMMAND_ID = re.compile(r"([^.]+)\.([^.]+)\.([0-9]{1,15})\.([0-9]{1,15})")


class BadName(ValueError):
    """A key, type, saga id or target that can't be one; the message says which rule it breaks."""


@lru_cache(maxsize=65536)
def escape(text: str) -> str:
    """The token that stands for ``text``; raises BadName for an empty text or a lone surrogate."""
    if _PLAIN.fullmatch(text):
        return text
    if not text:
        raise BadName("a key or name must not be empty")
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise BadName(f"{text!r} is not valid Unicode: {error.reason}") from None
    return _UNSAFE.sub(lambda m: b"=%02X" % m.group()[0], raw).decode("ascii")


def unescape(token: str) -> str:
    """The text a token stands for; raises BadName when its bytes are no UTF-8."""
    if "=" not in token and token.isascii():
        return token
    try:
        return _ESCAPED.sub(lambda m: bytes.fromhex(m.group(1).decode()), token.encode()).decode()
    except UnicodeError:
        raise BadName(f"the token {token!r} does not stand for UTF-8 text") from None


def check_key(key: str) -> str:
    """``key`` itself when it may be a key (1 to 200 bytes of UTF-8); raises BadName."""
    return _check(key, KEY_BYTES_MAX, "key")


def check_name(name: str, what: str) -> str:
    """``name`` itself when it may be a type, saga id or target (1 to 100 bytes of UTF-8); raises
    BadName.
    """
    return _check(name, NAME_BYTES_MAX, what)


def _check(text: str, limit: int, what: str) -> str:
    if text.isascii() and 0 < len(text) <= limit:
        return text
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadName(f"the {what} {text!r} is not valid Unicode; send UTF-8 text") from None
    if size == 0:
        raise BadName(f"the {what} is empty; give it 1 to {limit} bytes")
    if size > limit:
        raise BadName(
            f"the {what} has {size} bytes, at most {limit} are allowed; shorten it or send its hash"
        )
    return text


def command_id(saga: str, key: str, version: int, index: int) -> str:
    """The id of effect ``index`` of transition ``version``: derived, so that deciding again gives
    the same one.
    """
    return f"{escape(saga)}.{escape(key)}.{version}.{index}"


def is_command_of(id: str, saga: str, key: str) -> bool:
    """Whether a derived id is one of this instance's."""
    return id.startswith(f"{escape(saga)}.{escape(key)}.")


def parse_command_id(id: str) -> tuple[str, str, int, int] | None:
    """Saga, key, version and index of a derived id, or None when it is none of ours."""
    parts = _COMMAND_ID.fullmatch(id)
    if parts is None:
        return None
    saga, key, version, index = parts.groups()
    try:
        saga, key = check_name(unescape(saga), "saga id"), check_key(unescape(key))
    except BadName:
        return None
    return saga, key, int(version), int(index)


def by_hand_command_id(token: str) -> str:
    """The id of a command that belongs to no saga: somebody runs a job by hand."""
    return f"by-hand.{token}"


def is_by_hand(command_id: str) -> bool:
    """Whether somebody runs a job by hand, so that no instance waits for its answer."""
    return _BY_HAND.fullmatch(command_id) is not None


def call_command_id(command_id: str, token: str, *, waits: bool) -> str:
    """The id of a command that a step sends itself, told by ``token`` (32 hex digits) from all
    others that it sends; ``waits`` says whether it waits for the answer.
    """
    return f"{command_id}.{'call' if waits else 'send'}-{token}"


def is_call(command_id: str) -> bool:
    """Whether a command was sent by a step itself, so that no instance waits for its answer."""
    return _CALL.fullmatch(command_id) is not None


def is_awaited(command_id: str) -> bool:
    """Whether somebody outside of all instances waits for the answer of a command: the step that
    called, or whoever runs a job by hand.
    """
    called = _CALL.fullmatch(command_id)
    return is_by_hand(command_id) if called is None else called[1] == "call"


def trace_for(saga: str, key: str, traceparent: str, seq: int) -> str:
    """The W3C traceparent of a new instance: its first message's, or one made from its identity."""
    if len(traceparent) == TRACEPARENT_CHARS:
        return traceparent
    seed = f"{saga}\0{key}\0{seq}"
    digest = hashlib.blake2b(seed.encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-01"


def child_key(key: str, version: int, index: int) -> str:
    """The key of a child without one of its own: the parent's with the place of its effect, hashed
    when too long.
    """
    derived = f"{key}-{version}-{index}"
    if len(derived.encode()) <= KEY_BYTES_MAX:
        return derived
    return hashlib.sha256(derived.encode()).hexdigest()[:32]


def command_gate(target: str, concurrency_key: str) -> str:
    """The key of the gate that commands of a target and a concurrency key pass through, one at a
    time.
    """
    return _gate_key(f"job/{target}/{concurrency_key}")


def saga_gate(saga: str, concurrency_key: str) -> str:
    """The key of the gate that instances of a saga with a concurrency limit pass through."""
    return _gate_key(f"saga/{saga}/{concurrency_key}")


def _gate_key(text: str) -> str:
    if len(text.encode()) <= KEY_BYTES_MAX:
        return text
    return hashlib.sha256(text.encode()).hexdigest()
