"""What-if: what the definition of today would have made of an instance, beside what happened."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from sagas.instance import Instance, encode
from sagas.replay import Step
from store.differences import Difference, differences
from store.replaying import replay_instance
from ui.desk import Desk, Who
from ui.render import missing, page
from ui.told import Told, told

SHOWN_MAX = 50  # versions that differ, drawn with both sides


class Side(Struct, frozen=True):
    """One side of a version: how it was, or how it would be."""

    status: str
    error: str
    effects: tuple[Told, ...]


class Compared(Struct, frozen=True):
    """A version that would not be as it was; ``changes`` lead from its state to that of now."""

    step: Step
    then: Side
    now: Side | None
    changes: list[Difference]
    refused: str


class ReplayPage(Struct, frozen=True, kw_only=True):
    """The context of ``replay.html``; ``code_here`` is False when the saga's code is not loaded."""

    saga: str
    key: str
    versions: int
    changed: int
    first: int | None
    same_code: bool
    code_here: bool
    fault: str
    compared: tuple[Compared, ...]


@get("/instances/{saga:str}/{key:str}/replay", opt={"role": "viewer"})
async def what_if(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
) -> Response[str]:
    """The recorded messages through the definition that this process has loaded."""
    latest = await desk.client.latest(saga, key)
    if latest is None:
        link = ("/instances", {"saga": saga})
        return missing(request, desk, f"{saga} has no instance {key}", "Check the key.", link)
    definition = desk.registry.get(saga)
    found = None
    if definition is not None:
        found = await replay_instance(desk.client, definition, key, keep=SHOWN_MAX)
    context = ReplayPage(
        saga=saga,
        key=key,
        versions=found.versions if found else latest.instance.version,
        changed=found.changed if found else 0,
        first=found.first.recorded.version if found and found.first else None,
        same_code=definition is not None and definition.hash == latest.instance.definition,
        code_here=definition is not None,
        fault=desk.mask_text(found.fault, encode(latest.instance)) if found else "",
        compared=tuple(_compared(step, desk) for step in found.kept) if found else (),
    )
    return page(request, desk, "replay.html", context, title=f"What if · {key}")


def _compared(step: Step, desk: Desk) -> Compared:
    source = encode(step.recorded)
    then = _masked(step.recorded, desk)
    now = _masked(step.after, desk) if step.after else None
    changes, _ = differences(bytes(then.state), bytes(now.state)) if now else ([], False)
    return Compared(
        step=step,
        then=_side(then),
        now=_side(now) if now else None,
        changes=changes,
        refused=desk.mask_text(step.refused, source),
    )


def _side(instance: Instance) -> Side:
    error = instance.error
    return Side(
        status=instance.status,
        error=f"{error.type}: {error.message}" if error else "",
        effects=tuple(told(effect) for effect in instance.effects),
    )


def _masked(instance: Instance, desk: Desk) -> Instance:
    return msgspec.json.decode(desk.mask(encode(instance)), type=Instance)


ROUTES = (what_if,)
