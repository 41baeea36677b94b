"""The room that connects: settings, the embedded nats-server, the API, the command line.

It builds the concrete parts of the other rooms and hands them to each other; nobody imports it.
"""
