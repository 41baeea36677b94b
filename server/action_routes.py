"""The routes of actions on entities: ``POST /orders/{id}/checkout``.

    app = Litestar(plugins=[SnorriPlugin(app=["shop"], actions=[
        action("/orders/{id}/checkout", checkout),
    ])])

Those that stand in an app's modules are routes of the API, too (``of_app``).

The request starts a run of a step list or a workflow and waits for it: 200 with what it completed
with, 202 with a link when that takes longer, a problem document with the failed step when it
failed. The input of the run is the body, a JSON object, with the ``id`` of the path in it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Annotated, Any, cast

import msgspec
from litestar import Request, Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, HeaderParameter, QueryParameter
from msgspec import Struct

from sagas import SagaDefinition
from sagas.instance import Status
from sagas.messages import to_raw
from sagas.names import BadName, check_key
from server.access.roles import Identity, Role
from server.action_schemas import operation_of
from server.api.errors import answer, to_problem
from server.api.links import instance_path
from server.api.problems import Problem
from server.entity_actions import EntityAction, action
from server.errors import SettingsError
from server.traceparent import clean_traceparent
from store.client import SagaClient
from store.codec import TRACEPARENT
from store.run_result import RunResult, failure_of
from store.runs import RunRefused, Runs

__all__ = ("ActionRoutes", "EntityAction", "action", "of_app")

WAIT_MS = 30_000
WAIT_MS_MAX = 300_000

Asked = Request[Any, Any, Any]


class ActionUnderWay(Struct, frozen=True, kw_only=True):
    """The answer while a run has not ended: where to look, and how it stands."""

    saga: str
    key: str
    status: Status
    location: str
    next: str


class ActionRoutes:
    """Makes the routes of actions. ``client`` gives the connection, ``identify`` who asks (None:
    the application's guards say who may), ``mount`` is where the API is, for links.
    """

    def __init__(
        self,
        client: Callable[[], SagaClient],
        identify: Callable[[Any], Identity | None] | None,
        mount: str,
    ) -> None:
        self._client = client
        self._identify = identify
        self._mount = mount

    def route(self, declared: EntityAction) -> HTTPRouteHandler:
        """The route of an action."""
        saga = declared.saga

        async def take(
            request: Asked,
            id: FromPath[str],
            idempotency_key: Annotated[
                str | None,
                HeaderParameter(name="Idempotency-Key", description="One key, one run"),
            ] = None,
            wait_ms: Annotated[
                int, QueryParameter(name="waitMs", ge=0, le=WAIT_MS_MAX, description="How long")
            ] = WAIT_MS,
        ) -> Response[Any]:
            by = self._who(request, declared.role)
            input = await _input(request, saga, id)
            trace = clean_traceparent(request.headers.get(TRACEPARENT, ""))
            runs = Runs(self._client(), by=by, trace=trace)
            return await self._ran(
                runs, declared, input, _key(declared, id, idempotency_key), wait_ms
            )

        return post(
            declared.path.replace("{id}", "{id:str}"),
            status_code=200,
            guards=list(declared.guards),
            opt={"role": declared.role},
            tags=["actions"],
            operation_class=operation_of(saga),
            operation_id=f"action{re.sub(r'[^A-Za-z0-9]+', '-', declared.path)}",
            summary=saga.description or f"Run {saga.id}",
            description=f"Runs {saga.id} with the body and the id as its input.",
            exception_handlers=cast("Any", {Problem: _problem, HTTPException: _problem}),
        )(take)

    def _who(self, request: Asked, role: Role) -> str:
        """Who stands in the history; raises Problem for somebody who may not."""
        if self._identify is None:
            return "action"
        identity = self._identify(request)
        if identity is None:
            raise Problem(
                *(401, "unauthenticated", "Nobody is logged in"),
                "The application does not know who asks.",
                "Log in, or send a token.",
            )
        if not identity.may(role):
            raise Problem(
                *(403, "forbidden", "This is not allowed"),
                f"It takes the role {role}; {identity.name} is {identity.role}.",
                "Ask an admin for a role that may do it.",
            )
        return identity.name

    async def _ran(
        self, runs: Runs, declared: EntityAction, input: object, key: str, wait_ms: int
    ) -> Response[Any]:
        try:
            run = await runs.start(declared.saga.id, input, key=key)
        except RunRefused as error:
            raise Problem(
                *(409, "start-refused", "The action could not be started", f"{error}."),
                "Send another Idempotency-Key, or what was sent under this one before.",
            ) from None
        location = self._mount + instance_path(run.saga, run.key)
        try:
            result = await run.result(timeout=wait_ms / 1000)
        except TimeoutError:
            return self._under_way(run.saga, run.key, cast("Status", await run.status()), location)
        if result.success:
            return Response(result.output, status_code=200, headers={"Location": location})
        if result.status in ("parked", "paused"):
            return self._under_way(run.saga, run.key, result.status, location)
        raise _failed(result, location)

    def _under_way(self, saga: str, key: str, status: Status, location: str) -> Response[Any]:
        waits = status in ("parked", "paused")
        body = ActionUnderWay(
            saga=saga,
            key=key,
            status=status,
            location=location,
            next="It waits for an operator; look there." if waits else "It goes on; look there.",
        )
        return Response(body, status_code=202, headers={"Location": location})


def of_app(
    actions: Iterable[EntityAction], client: SagaClient, taken: Iterable[str]
) -> list[HTTPRouteHandler]:
    """The routes of an app's own actions beside those of the API; ``taken`` are paths of those.

    Raises SettingsError for an action whose path begins as one of ours.
    """
    rooms = {path.split("/", 2)[1] for path in taken if path.count("/") >= 1}
    routes = ActionRoutes(lambda: client, _logged_in, "")
    made: list[HTTPRouteHandler] = []
    for declared in actions:
        if declared.room in rooms:
            raise SettingsError(
                f"the action {declared.path} begins as a route of the API or a page does; give it"
                f" another first part than {declared.room!r}"
            )
        made.append(routes.route(declared))
    return made


def _logged_in(request: Any) -> Identity | None:
    return request.scope.get("user")


async def _input(request: Asked, saga: SagaDefinition, id: str) -> dict[str, Any]:
    """The body with the id in it, fit for the saga; raises Problem."""
    body = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body.strip() and media_type and not media_type.endswith(("/json", "+json")):
        raise Problem(
            *(415, "unsupported-media-type", "The body is no JSON"),
            f"Its Content-Type is {media_type[:100]!r}.",
            "Send application/json.",
        )
    try:
        given = msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_body(f"The body is no JSON object: {error}.") from None
    if given.get("id", id) != id:
        raise _bad_body(f"The body is about {given['id']!r:.60}, the path about {id!r:.60}.")
    input = {**given, "id": id}
    try:
        saga.handlers[saga.starting[0]].decode(to_raw(input))
    except msgspec.ValidationError as error:
        raise _bad_body(f"The body does not fit: {error}.") from None
    return input


def _bad_body(detail: str) -> Problem:
    return Problem(
        *(400, "invalid-request", "The request can't be understood", detail),
        "Send a JSON object with the fields that the action takes.",
    )


def _key(declared: EntityAction, id: str, idempotency_key: str | None) -> str:
    """The key of the run; raises Problem for an id that can be none."""
    tail = "" if declared.once else f".{idempotency_key or uuid.uuid4().hex}"
    try:
        return check_key(f"{id}{tail}")
    except BadName as error:
        raise Problem(
            *(400, "invalid-request", "The id can't name a run", f"{error}."),
            "Use a shorter id, or a shorter Idempotency-Key.",
        ) from None


def _failed(result: RunResult[Any], location: str) -> Problem:
    """What a run that failed tells: the step, the code, what was undone."""
    failure = failure_of(result)
    return Problem(
        422,
        "action-failed",
        "The action has failed",
        f"{failure.error}.",
        "Nothing of it stands." if result.status == "compensated" else "Look at the run.",
        {
            "error": failure.error,
            "code": failure.code,
            "failedStep": failure.failed_step,
            "compensatedSteps": failure.compensated_steps,
            "run": location,
        },
        {"Location": location},
    )


def _problem(request: Asked, error: Exception) -> Response[Any]:
    return answer(request, to_problem(error))
