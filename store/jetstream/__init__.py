"""The ports of the store on NATS JetStream; the only package of Snorri that knows the NATS client.

``connect`` opens all of them on one connection. Everything else here is internal: callers hold the
ports of ``store.port`` and nothing of this package but the function.
"""

from __future__ import annotations

from store.jetstream.backend import JetStreamBackend, connect

__all__ = ["JetStreamBackend", "connect"]
