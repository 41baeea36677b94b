"""When to try again: a policy as data and a pure delay; attempts are counted by whoever owns the
work, once.

The delay grows by a factor, is clamped, and is spread by a jitter fraction that comes in from
outside. Exponents are bounded, so any attempt number gives a finite delay.
"""

from __future__ import annotations

from msgspec import Struct, structs

from sagas.durations import DELAY_S_MAX, seconds
from sagas.errors import DefinitionError

FACTOR_MAX = 1000.0
_EXPONENT_MAX = 64  # with the largest factor still a finite number


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """``attempts_max`` tries in all; before try n+1 a delay of ``delay_s * factor**(n-1)``, at most
    ``delay_max_s``.

    ``jitter`` is the part of the delay that is random: 0.2 means 80 % to 100 % of it. Raises
    DefinitionError.
    """

    attempts_max: int = 5
    delay_s: float = 1.0
    factor: float = 2.0
    delay_max_s: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise DefinitionError(
                f"a retry policy needs at least 1 attempt, not {self.attempts_max}"
            )
        # Written so that what is no number at all (NaN) is refused too.
        if not 0 <= self.delay_s <= self.delay_max_s <= DELAY_S_MAX:
            raise DefinitionError(
                f"a retry policy needs 0 <= delay_s <= delay_max_s <= {DELAY_S_MAX:g}"
            )
        if not (1 <= self.factor <= FACTOR_MAX and 0 <= self.jitter <= 1):
            raise DefinitionError(
                f"a retry policy needs a factor from 1 to {FACTOR_MAX:g} and a jitter from 0 to 1"
            )
        for name in ("delay_s", "factor", "delay_max_s", "jitter"):
            # Else it would be written as 2 and, once read back, as 2.0: other bytes of one policy.
            if type(value := getattr(self, name)) is int:
                structs.force_setattr(self, name, float(value))


ONCE = RetryPolicy(attempts_max=1)


def retry(
    attempts: int = 5,
    delay: float | str = 1.0,
    *,
    backoff: float = 2.0,
    delay_max: float | str = 300.0,
    jitter: float = 0.2,
) -> RetryPolicy:
    """A retry policy as people write it: ``retry(3, "2s", delay_max="1m")``."""
    delay_s = seconds(delay)
    return RetryPolicy(
        attempts_max=attempts,
        delay_s=delay_s,
        factor=backoff,
        delay_max_s=max(delay_s, seconds(delay_max)),
        jitter=jitter,
    )


def delay(policy: RetryPolicy, attempt: int, fraction: float) -> float:
    """Seconds to wait after failed attempt ``attempt`` (1, 2 …); ``fraction`` from 0 to 1 picks the
    jitter.
    """
    exponent = min(max(attempt, 1) - 1, _EXPONENT_MAX)
    full = min(policy.delay_s * policy.factor**exponent, policy.delay_max_s)
    return full * (1.0 - policy.jitter * min(max(fraction, 0.0), 1.0))


def may_retry(policy: RetryPolicy, attempt: int) -> bool:
    """Whether another try may follow attempt ``attempt`` (1, 2 …)."""
    return attempt < policy.attempts_max
