"""One grammar for subjects and keys: build and parse are inverses, and a key can never act as a
wildcard.

nats-server accepts ``*`` and ``>`` as literal tokens on publish, so nothing unescaped may reach a
subject: every token is made by ``sagas.names.escape``.
"""

from __future__ import annotations

from msgspec import Struct

from sagas.names import BadName, check_key, check_name, escape, unescape

__all__ = ["BadName", "Names", "check_key", "check_name", "escape", "unescape"]


class Names(Struct, frozen=True):
    """All subjects and stream names of one installation, made from its namespace and its bucket."""

    namespace: str = "saga"
    bucket: str = "SAGA"

    @property
    def events_stream(self) -> str:
        return f"{self.bucket}_EVENTS"

    @property
    def log_stream(self) -> str:
        return f"KV_{self.bucket}"

    @property
    def meta_bucket(self) -> str:
        return f"{self.bucket}_META"

    @property
    def meta_stream(self) -> str:
        return f"KV_{self.bucket}_META"

    # --- events: what anyone publishes, and where the server stores it

    def event(self, type: str, key: str | None = None) -> str:
        tail = f".{escape(key)}" if key is not None else ""
        return f"{self.namespace}.events.{escape(type)}{tail}"

    def event_filters(self, partition: int) -> tuple[str, ...]:
        """What partition ``partition`` reads of the events stream; events without a key go with
        partition 0, and so do those with a literal ``*`` or ``>`` for a token, which the server
        takes but does not transform.
        """
        keyed = f"{self.namespace}.in.{partition}.>"
        return (keyed, f"{self.namespace}.events.>") if partition == 0 else (keyed,)

    def stored_event(self, type: str, key: str) -> str:
        """Filter for the stored events of a type and key, whatever their partition."""
        return f"{self.namespace}.in.*.{escape(type)}.{escape(key)}"

    def parse_event(self, subject: str) -> tuple[str, str | None]:
        """Type and ordering key of a stored event; raises BadName."""
        tokens = subject.split(".")[self.namespace.count(".") + 1 :]
        if tokens[0] == "in" and len(tokens) == 4:
            return unescape(tokens[2]), unescape(tokens[3])
        if tokens[0] == "events" and len(tokens) in (2, 3):
            return unescape(tokens[1]), unescape(tokens[2]) if len(tokens) == 3 else None
        raise BadName(f"{subject!r} is no subject of an event")

    # --- signals: internal messages, partitioned like events

    def signal(self, kind: str, key: str) -> str:
        return f"{self.namespace}.signals.{escape(kind)}.{escape(key)}"

    def signal_filters(self, partition: int) -> tuple[str, ...]:
        return (f"{self.namespace}.sig.{partition}.>",)

    # --- commands and timers

    def command(self, target: str, key: str) -> str:
        return f"{self.namespace}.commands.{escape(target)}.{escape(key)}"

    def command_filter(self, target: str) -> str:
        return f"{self.namespace}.commands.{escape(target)}.>"

    def api(self, question: str) -> str:
        """Where the micro service answers; no stream keeps it."""
        return f"{self.namespace}.api.{question}"

    def timer(self, saga: str, key: str, timer: str) -> str:
        return f"{self.namespace}.timers.{escape(saga)}.{escape(key)}.{escape(timer)}"

    def timer_cancel(self, partition: int) -> str:
        """Where the message that purges a schedule is written; the server wants another subject
        than the schedule's.
        """
        return f"{self.namespace}.timers.cancelled.{partition}"

    def cron(self, saga: str) -> str:
        return f"{self.namespace}.timers.cron.{escape(saga)}"

    # --- the bucket

    def instance(self, saga: str, key: str) -> str:
        return f"$KV.{self.bucket}.i.{escape(saga)}.{escape(key)}"

    def parse_instance(self, subject: str) -> tuple[str, str]:
        """Saga and key of a revision's subject; raises BadName."""
        tokens = subject.split(".")
        if len(tokens) != 5 or tokens[:3] != ["$KV", self.bucket, "i"]:
            raise BadName(f"{subject!r} is no subject of an instance")
        return unescape(tokens[3]), unescape(tokens[4])

    def instances(self, saga: str | None = None, key: str | None = None) -> str:
        tokens = ("*" if name is None else escape(name) for name in (saga, key))
        return f"$KV.{self.bucket}.i.{'.'.join(tokens)}"

    def records(self) -> str:
        """Everything in the bucket: instances, dead letters, positions and notes."""
        return f"$KV.{self.bucket}.>"

    def position(self, partition: int) -> str:
        return f"$KV.{self.bucket}.p.{partition}"

    def notes(self, partition: int) -> str:
        """Outcomes that are no transition (ignored, refused), in one list for each commit that has
        any.
        """
        return f"$KV.{self.bucket}.n.{partition}"

    def notes_all(self) -> str:
        return f"$KV.{self.bucket}.n.*"

    def dead_letter(self, id: str) -> str:
        return f"$KV.{self.bucket}.d.{escape(id)}"

    def dead_letters(self) -> str:
        return f"$KV.{self.bucket}.d.*"

    def failure_note(self, fingerprint: str) -> str:
        """What people wrote about a group of failures."""
        return f"$KV.{self.bucket}.f.{escape(fingerprint)}"

    def archived_set(self, id: str) -> str:
        """The record of one set of files that history was moved to."""
        return f"$KV.{self.bucket}.a.{escape(id)}"

    def archived_sets(self) -> str:
        return f"$KV.{self.bucket}.a.*"

    def handled_ids(self, saga: str, key: str) -> str:
        """The message ids of archived versions, where the last version does not hold them all."""
        return f"$KV.{self.bucket}.h.{escape(saga)}.{escape(key)}"
