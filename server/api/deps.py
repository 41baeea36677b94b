"""What the routes work with, made once for a process and handed to every handler as ``deps``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from msgspec import Struct, field

from server.access.access import Access
from server.correlation import KnownSagas
from server.live.hub import Hub
from server.loading import App
from server.settings import Settings
from server.tracing import QUIET, Tracing
from store.client import SagaClient
from store.diagnosis_gather import Diagnosis
from store.port import Backend
from store.projection.port import ReadModel
from store.subjects import Names


class Deps(Struct, kw_only=True, dict=True):
    """The parts behind the API. ``app`` is the code this process has loaded: plans and queries need
    their definition here; what only engines know is in the registry of the meta bucket.
    """

    settings: Settings
    names: Names
    backend: Backend
    client: SagaClient
    read: ReadModel
    app: App
    mask: Callable[[bytes], bytes]  # JSON in, JSON out, secret fields replaced
    live: Hub | None = None  # None: this process streams nothing
    tracing: Tracing = QUIET  # `with deps.tracing.publishing(type, header) as traceparent`
    access: Access = field(default_factory=Access)  # who may come in; by default all of loopback

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Says what an instance waits for: ``await deps.diagnosis.waits(instance)``."""
        return Diagnosis(self.backend, self.names, self.read)

    @cached_property
    def sagas(self) -> KnownSagas:
        """The registered sagas, kept for a moment: whom an event reaches."""
        return KnownSagas(self.backend.meta, self.app.registry)
