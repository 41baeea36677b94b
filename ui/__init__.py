"""The room that shows: pages, their typed contexts, templates and static files.

It reads through the ports of the store and never touches NATS, DuckDB or a job.
"""
