"""Deterministic simulation: the real kernel, engine, worker and projector on the broker in memory,
in virtual time, with everything that may happen between them chosen by a seed.

``python -m tests.simulation --help`` runs it by hand; ``docs/reliability.md`` says what it covers.
"""
