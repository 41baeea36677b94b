"""Calling an entity: one of its exclusive handlers, and waiting for what it gives."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

from litestar import Response, post
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.messages import NULL
from sagas.programs.workflow_signals import EntityCall
from server.access.roles import ROLE
from server.api.acting import TIMEOUT_MS, TimeoutMs
from server.api.bodies import Exact
from server.api.links import instance_path
from server.api.missing import registered
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked, raw, show_text
from store.events import ID_BYTES_MAX
from store.port import Unreachable
from store.run_lines import ClientLine, RunRefused


class CallBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """With what to call."""

    input: Annotated[
        Raw | UnsetType, Meta(description="What the handler takes; default null", examples=[5])
    ] = UNSET
    id: Annotated[
        str,
        Meta(
            max_length=ID_BYTES_MAX,
            description="Calls under one id are handled once and answered the same; default: a new"
            " one",
        ),
    ] = ""
    timeout_ms: TimeoutMs = TIMEOUT_MS


class CallOutcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the handler gave. While it is not `done` (202) the call waits for its turn."""

    saga: str
    key: str
    handler: str
    id: str
    done: bool
    output: Annotated[Raw | UnsetType, Meta(description="What the handler returned")] = UNSET
    next: Annotated[str | UnsetType, Meta(description="What to do while it is not done")] = UNSET


@post(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/call/{handler:str}",
    opt={ROLE: "operator"},
    dto=Exact[CallBody],
    return_dto=None,
    status_code=200,
    operation_id="callEntity",
    summary="Call a handler of an entity",
)
async def call_entity(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    handler: Annotated[str, PathParameter(description="A handler that the entity declares")],
    data: JSONBody[CallBody] = CallBody(),  # noqa: B008 - frozen
) -> Response[CallOutcome]:
    """Have the entity handle the call: 200 with what it gives, 202 when it has not in time, 422
    when it refused or failed, after which what it did is undone.
    """
    await registered(deps, saga)
    id = data.id or uuid.uuid4().hex
    call = EntityCall(handler, NULL if data.input is UNSET else data.input)
    line = ClientLine(deps.client, request.user.name)
    try:
        async with asyncio.timeout(data.timeout_ms / 1000):
            result = await line.call(saga, key, call, id)
    except RunRefused as error:
        raise Problem(
            409,
            "call-refused",
            "The call could not be made",
            f"{error}.",
            "Correct what is named here and call again.",
        ) from None
    except (TimeoutError, Unreachable):
        waits = f"It is handled in its turn; ask again with the id {id!r}."
        outcome = CallOutcome(saga=saga, key=key, handler=handler, id=id, done=False, next=waits)
        return Response(outcome, status_code=202, headers={"Location": instance_path(saga, key)})
    if result.error:
        raise Problem(
            422,
            "call-failed",
            "The entity refused the call, or it failed and was undone",
            show_text(deps.mask, result.error, call.input),
            "Correct the input, or look at the entity, and call again under another id.",
            {"code": result.code},
        )
    output = raw(deps.mask, result.output)
    return Response(
        CallOutcome(saga=saga, key=key, handler=handler, id=id, done=True, output=output)
    )


ROUTES = (call_entity,)
