"""The lives of dependencies in one worker: the worker's own, each tenant's, each command's."""

from __future__ import annotations

from typing import Any

from jobs.context import JobContext
from jobs.dependencies import Key, Providers, Resolver


class Scopes:
    """Opens a scope for each command; ``close`` cleans up what lives as long as the worker."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._app = Resolver(providers)
        self._tenants: dict[str, tuple[Providers, Resolver]] = {}

    def command(self, context: JobContext[Any]) -> Resolver:
        """A scope that also gives the context itself; raises what choosing the tenant raises."""
        given: dict[Key, object] = {
            kind: context for kind in type(context).__mro__ if issubclass(kind, JobContext)
        }
        tenant = self._providers.tenant_of(context)
        providers, app = self._tenant(tenant) if tenant else (self._providers, self._app)
        return Resolver(providers, app, given)

    async def close(self) -> None:
        """Clean up the tenants, then the rest; raises what a clean-up raises, after all of it."""
        try:
            for _, resolver in self._tenants.values():
                await resolver.close()
        finally:
            await self._app.close()

    def _tenant(self, tenant: str) -> tuple[Providers, Resolver]:
        known = self._tenants.get(tenant)
        if known is None:
            providers, own = self._providers.tenant(tenant)
            known = (providers, Resolver(providers, self._app, own=own))
            self._tenants[tenant] = known
        return known
