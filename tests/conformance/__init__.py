"""The promises of ``store.port``, checked on every implementation of it."""
