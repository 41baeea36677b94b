"""What the routes work with, made once for a process and handed to every handler as ``deps``."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from server.loading import App
from server.settings import Settings
from server.tracing import QUIET, Tracing
from store.client import SagaClient
from store.port import Backend
from store.projection.port import ReadModel
from store.subjects import Names


class Deps(Struct, kw_only=True):
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
    tracing: Tracing = QUIET  # `with deps.tracing.publishing(type, header) as traceparent`
