"""Where the parts of a process are put together: the services of its roles on an open broker.

The only place that decides which services a command starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, assert_never

from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Service, Supervisor
from jobs.worker import Worker
from server.broker_watch import BrokerWatch, usage_of
from server.connecting import Runtime
from server.loading import App
from server.logs import redactor
from server.observing import Observing
from server.settings import Settings
from store.broker_clock import BrokerClock, Clock
from store.room import RoomWatch

if TYPE_CHECKING:
    from server.serving import Serving

Role: TypeAlias = Literal["engine", "jobs", "api"]

EMBEDDED_ENGINE = "dev"


class Process(NamedTuple):
    """What runs in this process; ``serving`` is None unless one of its roles is ``api``."""

    supervisor: Supervisor
    serving: Serving | None


def build_process(
    settings: Settings,
    runtime: Runtime,
    app: App,
    roles: Sequence[Role],
    targets: Sequence[str] = (),
    *,
    mount: str = "",
) -> Process:
    """The services of ``roles`` in the order they start; ``targets`` limits the jobs, () is all.

    With ``mount`` the API has no server of its own and stands at that path of somebody else's.
    Raises DefinitionError for a target without a job and for providers that can't work, and
    AccessFileError.
    """
    server = runtime.server
    observing = Observing(
        *(settings, runtime.backend, runtime.names),
        healthy=server.healthy if server is not None else None,
    )
    clock = BrokerClock(runtime.backend.time)
    services: list[Service] = [*observing.first(), *_watches(runtime), clock]
    secret_names = app.secrets.union(settings.secrets)
    redactor.hide(lambda: secret_names)
    serving: Serving | None = None
    inline: InlineSteps | None = None
    if settings.inline_steps and {"engine", "jobs"} <= set(roles):
        jobs = app.jobs.select(targets or None)
        inline = InlineSteps(runtime.names, inline_targets(app.registry, jobs), clock.now)
    for role in roles:
        match role:
            case "engine":
                engine = _engine(settings, runtime, app, observing, inline, clock.now)
                observing.scrape.engine(engine)
                services.append(engine)
            case "jobs":
                services.append(
                    Worker(
                        *(runtime.backend, runtime.names, app.jobs),
                        targets=targets or None,
                        providers=app.providers,
                        hook=observing.hook,
                        now=clock.now,
                        secret_fields=settings.secrets,
                        inline=inline,
                    )
                )
            case "api":
                # DuckDB and the web framework take most of a second to load; others go without.
                from server.serving import build_serving

                serving = build_serving(
                    *(runtime.backend, runtime.url, runtime.names, app, settings),
                    observing=observing,
                    mount=mount,
                    broker=runtime.backend.state,
                    now=clock.now,
                )
                services += serving.services
            case _:
                assert_never(role)
    if serving is None:
        services += observing.last()
    return Process(Supervisor(services, "snorri"), serving)


def _engine(
    settings: Settings,
    runtime: Runtime,
    app: App,
    observing: Observing,
    inline: InlineSteps | None,
    now: Clock,
) -> Engine:
    return Engine(
        *(runtime.backend, runtime.names, app.registry),
        # Nobody else can hold the data directory, so whoever holds it is the engine that was there
        # before: after a crash its leases are its own, not waited for.
        engine_id=EMBEDDED_ENGINE if runtime.server is not None else "",
        hook=observing.hook,
        secret_fields=settings.secrets,
        inline=inline,
        now=now,
    )


def _watches(runtime: Runtime) -> tuple[Service, Service]:
    """What looks after the broker."""
    backend, server = runtime.backend, runtime.server
    room = RoomWatch(backend.meta, lambda: usage_of(backend, server))
    return BrokerWatch(backend, server), room
