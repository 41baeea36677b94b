"""``GET /api/v1/sagas/subscribe``: what happens to instances, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import HeaderParameter, QueryParameter

from sagas.instance import Status
from sagas.names import check_key, check_name
from server.access.roles import ROLE, Identity
from server.api.deps import Deps
from server.api.problems import Problem
from server.api.shown import Unmask, shower
from server.live.changes import View
from server.live.channel import Extra, Filter
from server.live.stream import MEDIA_TYPE, LiveResponse

SEQ_MAX = 2**53 - 1
LAST_EVENT_ID = "Last-Event-ID"
EXAMPLE = """\
id: 4711
event: saga:completed
data: {"seq":4711,"saga":"CheckoutSaga","key":"o-1001","version":4,"status":"completed",\
"statusBefore":"running","at":"2026-01-31T09:00:00Z",\
"cause":{"kind":"event","type":"ShipmentCreated","by":""},"error":null}

"""

SagaFilter = Annotated[str | None, QueryParameter(description="Only instances of this saga")]
KeyFilter = Annotated[str | None, QueryParameter(description="Only instances with this key")]
StatusFilter = Annotated[
    list[Status] | None,
    QueryParameter(description="Only changes that led to this status; may stand several times"),
]
Include = Annotated[
    list[Extra] | None,
    QueryParameter(
        description="Further events: `deadletter` when one arises or is dealt with, `projection`"
        " (at most once a second) when lists have moved on, `broker` (once a second) while it is"
        " out of reach, and when it is back; may stand several times"
    ),
]
WithState = Annotated[
    bool, QueryParameter(name="state", description="With the state after each transition")
]
After = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=SEQ_MAX,
        description="Begin after this sequence; the header Last-Event-ID goes before it",
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name=LAST_EVENT_ID,
        description="Id of the last event that was received: a sequence of the log",
    ),
]


@get(
    "/api/v1/sagas/subscribe",
    opt={ROLE: "viewer"},
    summary="Stream changes",
    responses={
        200: ResponseSpec(
            data_container=str,
            generate_examples=False,
            media_type=MEDIA_TYPE,
            examples=[Example(summary="An instance has completed", value=EXAMPLE)],
            description="Server-sent events, for as long as the client stays",
        )
    },
)
async def subscribe(
    request: Request[Identity, Any, Any],
    deps: NamedDependency[Deps],
    saga: SagaFilter = None,
    key: KeyFilter = None,
    status: StatusFilter = None,
    include: Include = None,
    with_state: WithState = False,
    after: After = None,
    last_event_id: LastEventId = None,
    unmask: Unmask = False,
) -> LiveResponse:
    """Stream what happens to instances (server-sent events), each event once and in order.

    Events: `saga:started`, `saga:state_changed`, `saga:completed`, `saga:failed`,
    `saga:compensating`, `saga:compensated`, `saga:parked`, `saga:cancelled`. The id of an event is
    its sequence in the log; who comes back with `Last-Event-ID` (an EventSource does) gets what was
    missed. `saga:dropped` tells a client that read too slowly how many events it will not get (it
    still gets the newest of each instance), `saga:reset` that it has to load everything again.
    """
    if deps.live is None:
        raise Problem(
            503,
            "no-live-view",
            "There is no live view here",
            "This process streams no changes.",
            "Ask the API of `snorri serve` or `snorri dev`.",
        )
    shower(request, deps, unmask, "the live view")  # refuses who may not, and records who may
    filter = Filter(
        saga=None if saga is None else check_name(saga, "saga id"),
        key=None if key is None else check_key(key),
        statuses=frozenset(status or ()),
        extras=frozenset(include or ()),
        view=View(state=with_state, clear=unmask),
    )
    return LiveResponse(deps.live, filter, _resume_after(after, last_event_id))


def _resume_after(after: int | None, last_event_id: str | None) -> int | None:
    """Where to go on; a reconnecting EventSource repeats its URL, so the header is the newer."""
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit()) or int(last_event_id) > SEQ_MAX:
        raise Problem(
            400,
            "bad-event-id",
            "The last event id is none of ours",
            f"{LAST_EVENT_ID} is no sequence of the log.",
            "Send the id of the last event unchanged, or leave the header out to begin now.",
        )
    return int(last_event_id)


ROUTES = (subscribe,)
