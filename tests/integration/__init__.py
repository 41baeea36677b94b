"""Tests against real processes: nats-server, DuckDB files, kill -9."""
