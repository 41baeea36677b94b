"""The dashboard's desk: what the pages get, made of what the routes have."""

from __future__ import annotations

from datetime import UTC, datetime

from server.access.roles import ROLES, Identity, Role
from server.api.deps import Deps
from server.api.shown import show_text
from ui.desk import Desk, Who


def desk_of(deps: Deps, base: str = "") -> Desk:
    """The desk for pages mounted at ``base``."""
    return Desk(
        client=deps.client,
        read=deps.read,
        meta=deps.backend.meta,
        names=deps.names,
        registry=deps.app.registry,
        diagnosis=deps.diagnosis,
        now=lambda: datetime.now(UTC),
        mask=deps.mask,
        mask_text=lambda text, source: show_text(deps.mask, text, source),
        may=may,
        csrf=lambda request: str(request.auth.csrf),
        base=base,
    )


def may(who: Who, role: str) -> bool:
    """Whether a visitor has the rights of a role; nobody has those of an unknown one."""
    wanted: Role | None = next((one for one in ROLES if one == role), None)
    return isinstance(who, Identity) and wanted is not None and who.may(wanted)
