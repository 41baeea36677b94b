"""What of a document is shown to whom: secret fields are masked unless an admin asks for them.

Asking for them is on record in the log of this process: who, which instance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Request
from litestar.params import QueryParameter
from msgspec import Raw, Struct

from server.access.audit import record
from server.access.roles import Identity
from server.api.deps import Deps
from server.api.problems import Problem
from store.live_mask import LiveMask

Asked: TypeAlias = Request[Identity, Any, Any]
Show: TypeAlias = Callable[[bytes], bytes]

Unmask = Annotated[
    bool, QueryParameter(name="unmask", description="Show secret fields; for admins, on record")
]


def shower(request: Asked, deps: Deps, unmask: bool, what: str) -> Show:
    """How JSON of ``what`` goes out to whoever asks; raises Problem when they may not unmask."""
    if not unmask:
        return deps.mask
    user = request.user
    if not user.may("admin"):
        raise Problem(
            403,
            "forbidden",
            "Secret fields are for admins",
            f"You are {user.role}; unmask=true needs the role admin.",
            "Ask without unmask, or have an admin look.",
        )
    record("unmasked", user, request.auth.address, shown=what)
    return lambda data: data


def raw(show: Show, value: bytes | Raw) -> Raw:
    """``value`` (JSON) as it may be shown."""
    return Raw(show(bytes(value)))


def document(show: Show, value: bytes) -> Raw:
    """A document of ours as it may be shown: only what authors wrote in it can be secret."""
    return Raw(show.document(value) if isinstance(show, LiveMask) else show(value))


def show_text(show: Show, text: str, source: bytes | Raw) -> str:
    """A text that may quote values of ``source`` (JSON), without those that are secret there."""
    if isinstance(show, LiveMask):
        return show.text(text, bytes(source))
    quoted = msgspec.json.encode({"source": Raw(bytes(source)), "message": text})
    return msgspec.json.decode(show(quoted), type=_Quoted).message


class _Quoted(Struct):
    message: str
