"""The lives of dependencies in one worker: the worker's own, each tenant's, each run's, each
command's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from jobs.context import JobContext
from jobs.dependencies import Key, Providers, Resolver, RunId

log = logging.getLogger("snorri.jobs")

RUN_IDLE_S = 60.0  # after which a run of which no command is at work is cleaned up


class _RunScope:
    """What lives as long as a run, while commands of it come to this worker."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.at_work = 0
        self.idle_since_s = 0.0
        self.is_over = False


class Scopes:
    """Opens a scope for each command; ``close`` cleans up what lives longer."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._app = Resolver(providers)
        self._tenants: dict[str, tuple[Providers, Resolver]] = {}
        self._for_runs = providers.for_runs
        self._runs: dict[RunId, _RunScope] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def command(self, context: JobContext[Any]) -> Resolver:
        """A scope that also gives the context itself; raises what choosing the tenant raises."""
        given: dict[Key, object] = {
            kind: context for kind in type(context).__mro__ if issubclass(kind, JobContext)
        }
        tenant = self._providers.tenant_of(context)
        providers, app = self._tenant(tenant) if tenant else (self._providers, self._app)
        run = RunId(context.saga, context.key if context.saga else context.command_id, tenant)
        given[RunId] = run
        if not self._for_runs:
            return Resolver(providers, app, given)
        scope = self._runs.get(run)
        if scope is None:
            scope = _RunScope(Resolver(providers, app, {RunId: run}, life="run"))
            self._runs[run] = scope
        scope.at_work += 1
        return Resolver(providers, scope.resolver, given, on_close=lambda: self._left(run, scope))

    def run_ended(self, saga: str, key: str) -> None:
        """A run is over: what lives as long as it is cleaned up, after its last command."""
        for tenant in ("", *self._tenants):
            run = RunId(saga, key, tenant)
            if (scope := self._runs.get(run)) is not None:
                scope.is_over = True
                self._end_idle(run, scope)

    def sweep(self) -> None:
        """Clean up runs of which nothing has come for a while; they may have gone on elsewhere."""
        before_s = time.monotonic() - RUN_IDLE_S
        for run, scope in list(self._runs.items()):
            if not scope.at_work and scope.idle_since_s < before_s:
                scope.is_over = True
                self._end_idle(run, scope)

    async def close(self) -> None:
        """Clean up runs, then tenants, then the rest; raises what a clean-up raises, after all of
        it.
        """
        for run, scope in list(self._runs.items()):
            scope.is_over, scope.at_work = True, 0
            self._end_idle(run, scope)
        await asyncio.gather(*self._closing)
        try:
            for _, resolver in self._tenants.values():
                await resolver.close()
        finally:
            await self._app.close()

    def _left(self, run: RunId, scope: _RunScope) -> None:
        scope.at_work -= 1
        scope.idle_since_s = time.monotonic()
        self._end_idle(run, scope)

    def _end_idle(self, run: RunId, scope: _RunScope) -> None:
        if scope.is_over and scope.at_work <= 0 and self._runs.get(run) is scope:
            del self._runs[run]
            task = asyncio.create_task(_cleaned(run, scope.resolver), name=f"clean-up of {run.key}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _tenant(self, tenant: str) -> tuple[Providers, Resolver]:
        known = self._tenants.get(tenant)
        if known is None:
            providers, own = self._providers.tenant(tenant)
            known = (providers, Resolver(providers, self._app, own=own))
            self._tenants[tenant] = known
        return known


async def _cleaned(run: RunId, resolver: Resolver) -> None:
    try:
        await resolver.close()
    except Exception:
        log.exception("the clean-up of a provider of %s/%s failed", run.saga, run.key)
