"""The HTTP server as a service of this process: uvicorn in our own event loop.

Owns the listening socket. Promises: a taken port is told before anything is served, signals stay
ours, and a stop ends within a few seconds whatever the clients do: requests may finish, streams are
asked to end, what is left then is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Generator

import uvicorn
from litestar.types import ASGIApp

from server.errors import HttpPortTaken
from server.https import Certificate
from server.live.wire import StreamingProtocol
from store.life import Life

log = logging.getLogger("snorri.api")

STOP_GRACE_S = 3.0
STOP_CUT_S = 2.0  # for what was cut off to notice it
KEEP_ALIVE_S = 30
BACKLOG = 2048


class ApiService:
    """Serves ``app`` on ``host`` and ``port`` (0: any free one, ``address`` tells which).

    ``closing`` is called when a stop begins: whoever holds streams open ends them then.
    """

    name = "API"

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        closing: Callable[[], None] = lambda: None,
        grace_s: float = STOP_GRACE_S,
        certificate: Certificate | None = None,
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._closing = closing
        self._grace_s = grace_s
        self._certificate = certificate
        self._life = Life()
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen; raises HttpPortTaken."""
        listener = listen(self._host, self._port)
        certificate = self._certificate
        scheme = "http" if certificate is None else "https"
        self.address = _address(scheme, self._host, listener.getsockname()[1])
        config = uvicorn.Config(
            self._app,
            http=StreamingProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # Who asks is decided in server.access, which knows whom to believe.
            proxy_headers=False,
            ssl_certfile=certificate.cert if certificate is not None else None,
            ssl_keyfile=certificate.key if certificate is not None else None,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(self._grace_s)),
        )
        server = _Server(config)
        task = self._life.guard(asyncio.create_task(server.serve(sockets=[listener]), name="api"))
        self._server, self._task = server, task
        try:
            while not server.started:
                await asyncio.wait({task}, timeout=0.01)
                if task.done():
                    await task
                    raise RuntimeError("the HTTP server ended before it had begun")
        except BaseException:
            server.should_exit = True
            listener.close()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def stop(self) -> None:
        """Take no more requests, let those that run finish, cut off the rest."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def wait(self) -> None:
        """Return after ``stop``; raises when the server ended by itself."""
        await self._life.wait()

    async def _stop(self) -> None:
        server, task = self._server, self._task
        if server is not None and task is not None:
            try:
                self._closing()
            finally:
                server.should_exit = True
                await asyncio.wait({task}, timeout=self._grace_s + STOP_CUT_S)
                server.cut()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._life.end()


class _Server(uvicorn.Server):
    """uvicorn without hands on the signals of this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals belong to whoever runs the services."""
        yield

    def cut(self) -> None:
        """Drop every connection that is left and the requests behind it."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()


def check_listen(host: str, port: int) -> None:
    """Raises HttpPortTaken when nothing can listen there now; to be told before anything starts."""
    listen(host, port).close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises HttpPortTaken with the next step."""
    bare = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except PermissionError:
        raise HttpPortTaken(f"port {port} needs root; use --port 8092 or 0") from None
    except socket.gaierror as error:
        raise HttpPortTaken(
            f"host {host!r} is not known here ({error.strerror}); use --host 127.0.0.1"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise HttpPortTaken(
                f"{host} is no address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all"
            ) from None
        why = os.strerror(error.errno) if error.errno else str(error)
        raise HttpPortTaken(
            f"port {port} of {host} can't be used for the API ({why}); another program "
            "has it, perhaps a Snorri that runs already: stop that, or use --port with another "
            "number (0 takes any)"
        ) from None


def _address(scheme: str, host: str, port: int) -> str:
    """The address to open: of a socket that listens everywhere, this machine's."""
    bare = host.strip("[]")
    bare = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)  # noqa: S104 - not bound here
    return f"{scheme}://[{bare}]:{port}" if ":" in bare else f"{scheme}://{bare}:{port}"
