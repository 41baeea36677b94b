"""A delivery from the queue becomes a Command: headers read and checked. Pure.

Whatever cannot be one is BadCommand with its reason; a header that is only doubtful (a retry policy
or a deadline that can't be read) is BadCommand too, since running without it is not what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from jobs.context import Command
from sagas.errors import DefinitionError
from sagas.names import BadName, unescape
from sagas.retry import RetryPolicy
from store import codec


class BadCommand(Exception):
    """The message is no command; its text says why."""


def read_command(subject: str, headers: Mapping[str, str], target: str) -> Command:
    """The command that a delivery carries; raises BadCommand."""
    get = headers.get
    id = get(codec.COMMAND_ID)
    if not id:
        raise BadCommand(f"it has no header {codec.COMMAND_ID}")
    token = subject.rpartition(".")[2]
    try:
        saga, own_key = get(codec.SAGA), get(codec.IDEMPOTENCY_KEY)
        key = get(codec.KEY)  # a call of a step has a subject of its own, and the key of its run
        deadline, retry = get(codec.DEADLINE), get(codec.RETRY)
        version, sends = get(codec.VERSION), get(codec.ATTEMPT)
        return Command(
            id=id,
            target=target,
            key=unescape(key) if key else unescape(token),
            key_token=token,
            idempotency_key=unescape(own_key) if own_key else id,
            saga=unescape(saga) if saga else "",
            version=int(version) if version else 0,
            deadline=_moment(deadline) if deadline else None,
            retry=_policy(retry) if retry else None,
            trace=get(codec.TRACEPARENT, ""),
            sends=int(sends) if sends else 1,
        )
    except (BadName, DefinitionError, msgspec.MsgspecError, ValueError) as error:
        raise BadCommand(f"a header can't be read: {error}") from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@lru_cache(maxsize=1024)
def _policy(text: str) -> RetryPolicy:
    return msgspec.json.decode(text, type=RetryPolicy)
