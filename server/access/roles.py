"""Roles and who somebody is. Pure.

A role holds all rights of the ones before it: a viewer looks, an operator acts on instances and
messages, an admin sees secret fields, rebuilds projections and manages access.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from msgspec import Struct

Role: TypeAlias = Literal["viewer", "operator", "admin"]
Via: TypeAlias = Literal["open", "session", "token", "proxy", "nats", "backup"]
ROLES: tuple[Role, ...] = get_args(Role)

# The key under which each route handler declares the role it asks for, or PUBLIC.
ROLE = "role"
PUBLIC = "public"


class Identity(Struct, frozen=True, kw_only=True):
    """Who asks: ``via`` says how that is known. ``open`` is loopback without an auth file, ``nats``
    a request to the micro service, which NATS permissions have let through, ``backup`` anyone on
    this machine who looks at a backup, whose name tells which.
    """

    name: str
    role: Role
    via: Via

    def may(self, role: Role) -> bool:
        """Whether this identity has the rights of ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


ANYONE_HERE = Identity(name="local", role="admin", via="open")
