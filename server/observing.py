"""What a process shows of itself: figures, traces, health; put together from the settings.

Web framework and OpenTelemetry are loaded only where they are used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from jobs.service import Service
from jobs.telemetry import Hook, Hooks, LoggingHook
from server.errors import SettingsError
from server.health import Readiness
from server.metrics.catalog import Catalog
from server.metrics.hook import MetricsHook
from server.metrics.scrape import Scrape
from server.settings import Settings
from server.tracing import QUIET, Tracing
from store.port import Backend
from store.subjects import Names

if TYPE_CHECKING:
    from server.otel import OtelTracing


class Observing:
    """The hook for the engines and workers of a process, and what its figures are read from.

    ``healthy`` asks our own nats-server, where there is one. Raises SettingsError for traces
    without OpenTelemetry.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        names: Names,
        healthy: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.healthy = healthy
        self.scrape = Scrape(Catalog(_release()))
        self.scrape.broker(backend)
        self._settings = settings
        self._backend = backend
        self._names = names
        hooks: list[Hook] = [LoggingHook(), MetricsHook(self.scrape.catalog)]
        self._otel = _otel(settings)
        if self._otel is not None:
            hooks.append(self._otel)
        self.hook: Hook = Hooks(*hooks)

    @property
    def tracing(self) -> Tracing:
        """Where the API tells of what it publishes."""
        return self._otel or QUIET

    def first(self) -> list[Service]:
        """Services that start before the others and stop after them."""
        return [self._otel] if self._otel is not None else []

    def last(self) -> list[Service]:
        """Services of a process without an API: figures and health on a port of their own."""
        settings = self._settings
        if settings.metrics_port is None:
            return []
        from server.metrics.service import MetricsService

        health = Readiness(self._backend, self._names, healthy=self.healthy)
        return [MetricsService(self.scrape, health, settings.metrics_host, settings.metrics_port)]


def _otel(settings: Settings) -> OtelTracing | None:
    if settings.traces == "off":
        return None
    try:
        from server.otel import make_tracing
    except ImportError:
        raise SettingsError(
            f"traces={settings.traces} needs OpenTelemetry; install it with "
            "`pip install 'snorri[otel]'`, or unset SNORRI_TRACES"
        ) from None
    return make_tracing(settings.traces)


def _release() -> str:
    try:
        return version("snorri")
    except PackageNotFoundError:
        return "0"
