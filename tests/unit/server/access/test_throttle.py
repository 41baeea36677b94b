"""Goal: attempts are limited by key within a window, and the memory of them is bounded.

Method: a clock of the test's own.
"""

from __future__ import annotations

from server.access.throttle import KEYS_MAX, Throttle


def test_after_the_limit_one_waits_for_the_oldest_to_age() -> None:
    now = [0.0]
    throttle = Throttle(2, 100.0, lambda: now[0])
    throttle.failed("a")
    now[0] = 10.0
    assert throttle.wait_s("a") == 0
    throttle.failed("a")
    assert throttle.wait_s("a") == 90.0
    assert throttle.wait_s("b") == 0
    now[0] = 100.0
    assert throttle.wait_s("a") == 0
    throttle.failed("a")
    assert throttle.wait_s("a") == 10.0


def test_forgiving_takes_the_last_one_back_forgetting_all() -> None:
    throttle = Throttle(2, 100.0, lambda: 0.0)
    for _ in range(2):
        throttle.failed("a")
    throttle.forgive("a")
    assert throttle.wait_s("a") == 0
    throttle.failed("a")
    assert throttle.wait_s("a") > 0
    throttle.forget("a")
    throttle.failed("a")
    assert throttle.wait_s("a") == 0


def test_the_oldest_keys_are_forgotten() -> None:
    throttle = Throttle(1, 100.0, lambda: 0.0)
    for number in range(KEYS_MAX + 10):
        throttle.failed(str(number))
    assert throttle.wait_s("0") == 0
    assert throttle.wait_s(str(KEYS_MAX)) > 0
    assert len(throttle._failures) == KEYS_MAX
