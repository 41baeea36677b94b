"""What a test may look at and expect of an instance on trial; ``sagas.testing`` lets it run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import msgspec

from sagas.comparing import differences
from sagas.decision import (
    Decision,
    Ignored,
    IgnoredCode,
    Refused,
    Snapshot,
    Transition,
    Undeliverable,
)
from sagas.definition import SagaDefinition
from sagas.effects import Effect
from sagas.instance import Instance, Status
from sagas.messages import Cause, to_raw
from sagas.upcasting import current_state, upcast


class Expectations:
    """The looks and expectations of a scenario; each ``expect`` raises AssertionError."""

    definition: SagaDefinition
    key: str
    now: datetime
    last: Decision | None  # what the kernel said to the last step
    ignored: list[tuple[Cause, Ignored]]  # messages that the last step let go
    _snapshot: Snapshot
    _step: list[Instance]

    # --- looks

    @property
    def instance(self) -> Instance:
        """The instance as it is stored now; AssertionError when it does not exist."""
        instance = self._snapshot.instance
        assert instance is not None, f"there is no instance: {self._situation()}"
        return instance

    @property
    def state(self) -> Any:
        """The author's state, as the handlers see it."""
        instance = self.instance
        return current_state(self.definition, instance.state, instance.definition_version)

    def query(self, name: str, **arguments: object) -> object:
        """The answer of a declared query."""
        state = upcast(self.definition, self.instance.state, self.instance.definition_version)
        return self.definition.query(name, state, arguments)

    # --- expectations, each about the last step or about the instance as it is now

    def expect(self, *effects: Effect) -> Self:
        """The last step had exactly these effects, in order; ids made by the kernel don't count."""
        found = differences(effects, self._step, self.key, self.now)
        assert not found, "\n".join(
            ["the effects differ (- expected, + happened):", *found, self._situation()]
        )
        return self

    def expect_nothing(self) -> Self:
        """The last step had no effects."""
        return self.expect()

    def expect_state(self, **fields: object) -> Self:
        """These fields of the state have these values."""
        actual: dict[str, object] = msgspec.json.decode(self.instance.state)
        wanted: dict[str, object] = msgspec.json.decode(to_raw(fields))
        lines = [
            f"  {name}: expected {value!r}, is {actual.get(name, '(not there)')!r}"
            for name, value in wanted.items()
            if name not in actual or actual[name] != value
        ]
        assert not lines, "\n".join(["the state differs:", *lines, self._situation()])
        return self

    def expect_status(self, status: Status) -> Self:
        """The instance has this status."""
        actual = self.instance.status
        assert actual == status, f"the status is {actual}, not {status}: {self._situation()}"
        return self

    def expect_result(self, result: object) -> Self:
        """The instance has ended with this result."""
        wanted = msgspec.json.decode(to_raw(result))
        actual = msgspec.json.decode(self.instance.result)
        assert actual == wanted, f"the result is {actual!r}, not {wanted!r}: {self._situation()}"
        return self

    def expect_timers(self, *ids: str) -> Self:
        """Exactly these timers are set."""
        actual = sorted(self.instance.timers)
        assert actual == sorted(ids), f"the timers are {actual}, not {sorted(ids)}"
        return self

    def expect_ignored(self, code: IgnoredCode | None = None) -> Self:
        """The last step changed nothing, or let a message of the backlog go, for this reason."""
        ignored = [one for _, one in self.ignored]
        if isinstance(self.last, Ignored):
            ignored.append(self.last)
        assert any(code in (None, one.code) for one in ignored), (
            f"it was not ignored{f' as {code}' if code else ''}: {self._situation()}"
        )
        return self

    def expect_parked(self, contains: str = "") -> Self:
        """The instance is parked, with an error that contains this text."""
        instance = self.instance
        error = f"{instance.error.type}: {instance.error.message}" if instance.error else ""
        assert instance.status == "parked", f"it is not parked: {self._situation()}"
        assert contains in error, f"{contains!r} is not in the error: {error}"
        return self

    def expect_refused(self, contains: str = "") -> Self:
        """The action was refused, or the message became a dead letter, for a reason like this."""
        assert isinstance(self.last, (Refused, Undeliverable)), (
            f"it was not refused: {self._situation()}"
        )
        assert contains in self.last.reason, f"{contains!r} is not in: {self.last.reason}"
        return self

    def _situation(self) -> str:
        instance = self._snapshot.instance
        last = self.last
        if not isinstance(last, Transition) and last is not None:
            return f"the last step was {type(last).__name__.lower()}: {last.reason}"
        if instance is None:
            return "nothing has happened yet"
        text = f"{instance.saga}/{instance.key}: {instance.status} at version {instance.version}"
        if instance.error is not None:
            text += f", {instance.error.type}: {instance.error.message}\n{instance.error.traceback}"
        return f"{text}\nstate: {bytes(instance.state).decode()}"
