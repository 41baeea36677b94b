"""The dashboard's desk: what the pages get, made of what the routes have."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import cast

from msgspec import structs

from server.access.roles import ROLES, Identity, Role
from server.api.deps import Deps
from server.api.openapi import release
from server.api.shown import Asked, show_text, shower
from server.api.sql_asking import ask_for
from server.correlation import key_of
from server.desk_bulk import DeskBulk
from server.desk_replays import DeskReplays
from server.desk_waves import DeskWaves
from server.settings import TOML_NAME, SettingWithOrigin, explain_settings
from store.failure_notes import FailureNotes
from store.job_runs import JobRuns
from store.partitions import PartitionState, partition_states
from store.projection.strays import Strays
from ui.desk import Desk, Who
from ui.sending import Sending
from ui.system import Check, Rebuild, Setting, System

SHOWN_VERSIONS = ("DuckDB", "Litestar")


def desk_of(deps: Deps, base: str = "") -> Desk:
    """The desk for pages mounted at ``base``."""
    return Desk(
        client=deps.client,
        read=deps.read,
        meta=deps.backend.meta,
        names=deps.names,
        registry=deps.app.registry,
        diagnosis=deps.diagnosis,
        now=deps.now,
        mask=deps.mask,
        shower=lambda request, unmask, what: shower(cast(Asked, request), deps, unmask, what),
        mask_text=lambda text, source: show_text(deps.mask, text, source),
        may=may,
        csrf=lambda request: str(request.auth.csrf),
        ask=lambda request, query: ask_for(deps, cast(Asked, request), query),
        sending=sending_of(deps),
        system=system_of(deps),
        bulk=DeskBulk(deps),
        waves=DeskWaves(deps),
        replays=DeskReplays(deps),
        notes=FailureNotes(deps.backend, deps.names),
        strays=Strays(deps.read, deps.now),
        throughput=deps.throughput,
        attempts=deps.attempts,
        room=deps.room,
        base=base,
    )


def sending_of(deps: Deps) -> Sending:
    """What publishing, starting and running jobs by hand asks of this process."""
    return Sending(
        receivers=deps.sagas.receivers,
        key_of=lambda card, payload: key_of(card, payload, deps.app.registry),
        runs=JobRuns(deps.backend, deps.names),
        queues=deps.backend.queues,
        traced=lambda name: deps.tracing.publishing(name, ""),
    )


def system_of(deps: Deps) -> System:
    """What the system page asks of this process."""

    async def checks() -> tuple[Check, ...]:
        health = await deps.health.look()
        return tuple(Check(one.name, one.ok, one.detail) for one in health.checks)

    def rebuild() -> Rebuild | None:
        state = deps.projector.rebuilder.state if deps.projector is not None else None
        if state is None:
            return None
        if state.status == "running":
            return Rebuild(state.part, "")
        return Rebuild(None, state.error or "The last rebuild went well.")

    def begin() -> None:
        assert deps.projector is not None
        deps.projector.rebuilder.begin()

    async def partitions() -> list[PartitionState]:
        return await partition_states(deps.backend, deps.names)

    rows = explain_settings({}, os.environ, Path(TOML_NAME))
    shown: list[SettingWithOrigin] = []
    for one in rows:
        value = getattr(deps.settings, one.name)
        origin = one.origin if value == one.value else "command line"
        shown.append(structs.replace(one, value=value, origin=origin))
    return System(
        version=release(),
        settings=tuple(Setting(one.name, one.shown, one.origin, one.help) for one in shown),
        checks=checks,
        rebuild=rebuild,
        begin_rebuild=begin if deps.projector is not None else None,
        broker=deps.broker,
        partitions=partitions if deps.broker is not None else None,
        versions={
            "Python": platform.python_version(),
            **{name: metadata.version(name.lower()) for name in SHOWN_VERSIONS},
        },
    )


def may(who: Who, role: str) -> bool:
    """Whether a visitor has the rights of a role; nobody has those of an unknown one."""
    wanted: Role | None = next((one for one in ROLES if one == role), None)
    return isinstance(who, Identity) and wanted is not None and who.may(wanted)
