"""What an action on an entity is: a saga, and the route that runs it for one entity.

    ACTIONS = [action("/orders/{id}/checkout", checkout)]

At the top level of an app's module it is served by `snorri serve` and `snorri dev`; an application
with SnorriPlugin serves those of its modules, and its own. The routes are made elsewhere
(``server.action_routes``), so that whoever serves nothing loads no web framework.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sagas import DefinitionError, SagaDefinition
from server.access.roles import Role

if TYPE_CHECKING:
    from litestar.types import Guard

PATH = re.compile(r"/[^{}]*\{id\}(?:/[^{}]+)+")


class EntityAction:
    """A route that runs a saga for one entity; see ``action``.

    No Struct, whose types Litestar would look at for every request.
    """

    __slots__ = ("guards", "once", "path", "role", "saga")

    def __init__(
        self, path: str, saga: SagaDefinition, once: bool, role: Role, guards: Sequence[Guard]
    ) -> None:
        self.path = path
        self.saga = saga
        self.once = once
        self.role: Role = role
        self.guards = tuple(guards)

    @property
    def room(self) -> str:
        """The first part of its path, as ``orders``."""
        return self.path.split("/", 2)[1]


def action(
    path: str,
    saga: SagaDefinition,
    *,
    once: bool = False,
    role: Role = "operator",
    guards: Sequence[Guard] = (),
) -> EntityAction:
    """Serve a step list or a workflow at ``path``, which holds ``{id}``, the key of the entity.

    ``once``: the entity's id names the run, so the action is taken once and whoever asks again
    with the same body gets its outcome. Otherwise each request is a run of its own, but for those
    under one ``Idempotency-Key``. ``role`` is what whoever asks must have, ``guards`` are those of
    your application. Raises DefinitionError.
    """
    if PATH.fullmatch(path) is None:
        raise DefinitionError(f"the path of an action is /orders/{{id}}/checkout, not {path!r}")
    if saga.program is None or not saga.starting:
        raise DefinitionError(
            f"the action {path} needs a step list or a workflow; {saga.id!r} is driven by messages"
        )
    return EntityAction(path, saga, once, role, guards)
