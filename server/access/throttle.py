"""How often somebody may try: failures of the last minutes, by address and by name. Pure but for
the clock it is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

KEYS_MAX = 10_000  # the oldest are forgotten, so that nobody fills the memory with names


class Throttle:
    """At most ``limit`` failures of a key within ``window_s``; then wait for the oldest to age."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Seconds until ``key`` may try again; 0 when it may now."""
        now = self._clock()
        times = [at for at in self._failures.get(key, ()) if now - at < self._window_s]
        if len(times) < self._limit:
            return 0.0
        return self._window_s - (now - times[-self._limit])

    def failed(self, key: str) -> None:
        """Count a failure of ``key``."""
        now = self._clock()
        times = [at for at in self._failures.get(key, ()) if now - at < self._window_s]
        self._failures[key] = [*times, now][-self._limit :]
        self._failures.move_to_end(key)
        while len(self._failures) > KEYS_MAX:
            self._failures.popitem(last=False)

    def forgive(self, key: str) -> None:
        """The last one of ``key`` was no failure after all."""
        times = self._failures.pop(key, [])[:-1]
        if times:
            self._failures[key] = times

    def forget(self, key: str) -> None:
        """``key`` begins anew."""
        self._failures.pop(key, None)
