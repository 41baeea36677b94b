"""What tests of access share: an API with users, tokens and a proxy, and clients that are somebody.

The broker is the memory one; requests go to the application directly, from an address the test
names. Passwords are hashed with the least argon2 can do, so that a login takes no time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from argon2 import PasswordHasher
from litestar import Litestar, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from server.access import passwords
from server.access.access import Access
from server.access.passwords import sha256
from server.access.roles import PUBLIC, ROLE, ROLES
from server.access.source import AccessSource
from server.api.deps import Deps
from server.loading import App, load_samples
from server.settings import Settings
from store.client import SagaClient
from store.memory import MemoryBroker, SystemClock
from store.projection.port import Progress, ReadError
from tests.app_kit import quick_app

R = TypeVar("R")

BASE_URL = "http://snorri.example.com"
PEER = "192.0.2.10"
PROXY_PEER = "10.0.0.7"
PROXY_SECRET = "only the proxy knows this"
PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
MATRIX = Path(__file__).parent / "unit/server/access/matrix.txt"
TOKENS = {role: f"snorri_test-token-of-a-{role}" for role in ROLES}
EXPIRED = "snorri_expired"

FILE = f"""
allowed_hosts = ["snorri.example.com"]

[users.vera]
password = "{HASH}"
role = "viewer"

[users.olaf]
password = "{HASH}"
role = "operator"

[users.ada]
password = "{HASH}"
role = "admin"

[tokens.old]
sha256 = "{sha256(EXPIRED)}"
role = "admin"
expires = 2020-01-01T00:00:00Z

[proxy]
trusted = ["{PROXY_PEER}/32"]
identity_header = "X-Forwarded-User"
groups_header = "X-Forwarded-Groups"
secret_header = "X-Proxy-Secret"
secret_sha256 = "{sha256(PROXY_SECRET)}"
roles = {{ ops = "operator", admins = "admin" }}
""" + "".join(
    f'\n[tokens.{role}]\nsha256 = "{sha256(token)}"\nrole = "{role}"\n'
    for role, token in TOKENS.items()
)
USERS = {"vera": "viewer", "olaf": "operator", "ada": "admin"}


@get("/t/public", opt={ROLE: PUBLIC}, sync_to_thread=False, include_in_schema=False)
def anyone_looks() -> str:
    """For anybody."""
    return "seen"


@get("/t/viewer", opt={ROLE: "viewer"}, sync_to_thread=False, include_in_schema=False)
def viewer_looks() -> str:
    """For viewers."""
    return "seen"


@post("/t/operator", opt={ROLE: "operator"}, sync_to_thread=False, include_in_schema=False)
def operator_acts(data: JSONBody[dict[str, Any]]) -> str:
    """For operators."""
    return "done"


@post("/t/admin", opt={ROLE: "admin"}, sync_to_thread=False, include_in_schema=False)
def admin_acts() -> str:
    """For admins."""
    return "done"


@get("/t/undeclared", sync_to_thread=False, include_in_schema=False)
def undeclared() -> str:
    """For nobody."""
    return "leaked"


MORE = (anyone_looks, viewer_looks, operator_acts, admin_acts, undeclared)


class _NoProjection:
    """A read model that can answer nothing."""

    progress = Progress()

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """See ReadModel."""
        raise ReadError("there are no projections here")

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """See ReadModel."""
        return False


class Guarded:
    """An API with an access file at ``path``; ``second`` is another process of it."""

    def __init__(self, path: Path | None, broker: MemoryBroker, stack: AsyncExitStack) -> None:
        self.path = path
        self.broker = broker
        self._stack = stack
        self.app, self.access = self.process()

    def process(self) -> tuple[Litestar, Access]:
        """One more process that serves the same installation."""
        backend = self.broker.backend()
        source = AccessSource(self.path) if self.path is not None else None
        access = Access(source, backend.meta)
        deps = Deps(
            settings=Settings(),
            names=self.broker.names,
            backend=backend,
            client=SagaClient(backend, self.broker.names),
            read=_NoProjection(),
            app=_samples(),
            mask=lambda data: data,
            access=access,
        )
        return quick_app(deps, *MORE), access

    async def client(
        self,
        peer: str = PEER,
        base_url: str = BASE_URL,
        app: Litestar | None = None,
        **headers: str,
    ) -> httpx.AsyncClient:
        """A client with cookies of its own that connects from ``peer``."""
        transport = httpx.ASGITransport(app or self.app, client=(peer, 4711))  # type: ignore[arg-type]
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        client = httpx.AsyncClient(transport=transport, base_url=base_url, headers=spelled)
        return await self._stack.enter_async_context(client)

    async def logged_in(self, name: str, **options: Any) -> httpx.AsyncClient:
        """A browser in which ``name`` is logged in; it sends the CSRF token by itself."""
        client = await self.client(**options)
        answer = await log_in(client, name)
        assert answer.status_code == 303, answer.text
        client.headers["x-csrftoken"] = (await client.get("/api/v1/me")).json()["csrfToken"]
        return client

    async def bearer(self, token: str, **options: Any) -> httpx.AsyncClient:
        """A program with a token."""
        return await self.client(**options, authorization=f"Bearer {token}")


async def log_in(
    client: httpx.AsyncClient, name: str, password: str = PASSWORD, **fields: str
) -> httpx.Response:
    """Send the login form."""
    return await client.post("/login", data={"username": name, "password": password, **fields})


@asynccontextmanager
async def open_guarded(folder: Path, file: str | None = FILE) -> AsyncGenerator[Guarded]:
    """An API with that access file; None is one that is open on loopback."""
    path = None
    if file is not None:
        path = folder / "access.toml"
        path.write_text(file)
        path.chmod(0o600)
    broker = MemoryBroker(clock=SystemClock())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(broker.close)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # An unknown name costs as little as the others; unit/server/access/test_passwords.py.
        patch.setattr(passwords, "_nobody", lambda: HASH)
        yield Guarded(path, broker, stack)


@cache
def _samples() -> App:
    return load_samples()


def handlers_of(app: Litestar) -> Sequence[tuple[str, str, HTTPRouteHandler]]:
    """Path, method and handler of every route, those that answer OPTIONS left out."""
    found: list[tuple[str, str, HTTPRouteHandler]] = []
    for route in app.routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            if method != "OPTIONS":
                found.append((route.path, method, handler))
    return sorted(found, key=lambda one: one[:2])


def matrix() -> list[tuple[str, str, str]]:
    """Method, path and role of each line of the checked-in table."""
    lines = (line.split() for line in MATRIX.read_text().splitlines() if line[:1] not in ("#", ""))
    return [(method, path, role) for role, method, path in lines]
