"""Prometheus metrics: what is counted, where the figures come from, and where they are read."""
