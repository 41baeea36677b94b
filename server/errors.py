"""What can go wrong when Snorri starts and runs; every message ends with the next step.

ProcessEnded              a running process lost a part that nobody stopped
SetupError
+-- SettingsError         a setting is unknown, of a wrong type, or refused
+-- DataDirError
|   +-- DataDirBusy       another Snorri holds the data directory
|   +-- LayoutUnknown     the directory was written by a version this one can't read
+-- HttpPortTaken         the API can't listen where it should
+-- EmbeddedError
    +-- ServerMissing     no nats-server on this machine
    +-- PortTaken         the port asked for belongs to another program
    +-- StartFailed       nats-server ended or was not ready in time; its last words are inside
"""

from __future__ import annotations


class ProcessEnded(Exception):
    """A running process lost a part that nobody stopped; the message says which and why."""


class SetupError(Exception):
    """Snorri can't start as it is set up."""


class SettingsError(SetupError):
    """A setting is unknown, of a wrong type or refused; the message says which and where."""


class DataDirError(SetupError):
    """The data directory can't be used."""


class DataDirBusy(DataDirError):
    """Another process holds the data directory; the message names its pid and port."""


class LayoutUnknown(DataDirError):
    """The data directory was written by a version of Snorri this one can't read."""


class HttpPortTaken(SetupError):
    """The API can't listen where it should; the message says why and what to use instead."""


class EmbeddedError(SetupError):
    """The embedded nats-server can't do its work."""


class ServerMissing(EmbeddedError):
    """No nats-server was found, or what was found is none."""


class PortTaken(EmbeddedError):
    """The port asked for belongs to another program."""


class StartFailed(EmbeddedError):
    """nats-server ended at once or was not ready in time; the message holds its last words."""
