"""Goal: an engine process shows its figures and health on a port of its own, and its traces.

Method: a real `snorri engine` beside the session's nats-server, asked over HTTP.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx

from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.cli_kit import Process, Snorri
from tests.waiting import eventually_sync


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _where(server: NatsServer, names: Names) -> tuple[str, ...]:
    return (
        *("--nats-url", server.url, "--bucket", names.bucket, "--namespace", names.namespace),
        *("--app", "sagas.examples"),
    )


def test_an_engine_shows_figures_health_and_traces(
    tmp_path: Path, nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names, port = fresh_names(), _free_port()
    where = _where(nats_server, names)
    shown = ("--metrics-port", str(port), "--traces", "console")
    engine = Process(tmp_path, "engine", *where, *shown)
    try:
        engine.until("engine on nats://")
        base = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            return httpx.get(f"{base}/health/ready").status_code == 200

        eventually_sync(ready, 20, "readiness")
        Snorri(tmp_path).run(
            *("publish", "OrderCreated", '{"orderId":"o-1","total":1}', "--key", "o-1"),
            *where[:6],
        )

        def counted() -> bool:
            text = httpx.get(f"{base}/metrics").text
            return 'snorri_transitions_total{outcome="started",saga="CheckoutSaga"} 1.0' in text

        eventually_sync(counted, 20, "the transition")
        assert httpx.get(f"{base}/health/live").json() == {"status": "ok"}
        assert engine.stop(signal.SIGTERM) == 0
        assert '"name": "transition CheckoutSaga"' in engine.output  # sent at the latest now
    finally:
        engine.close()


def test_a_taken_port_is_told(
    tmp_path: Path, nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = _where(nats_server, fresh_names())
        told = Snorri(tmp_path).fail("engine", *where, "--metrics-port", port, code=1)
    assert "--metrics-port" in told
