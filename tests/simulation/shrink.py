"""A failing plan made smaller, piece by piece, for as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import structs

from tests.simulation.plan import Plan
from tests.simulation.world import Outcome, run

RUNS_MAX = 150


def shrink(outcome: Outcome, play: Callable[[Plan], Outcome] = run) -> Outcome:
    """The smallest failing run that is found by leaving things out of a failing one."""
    checks, runs = outcome.checks, 0
    smaller = True
    while smaller:
        smaller = False
        for plan in _less(outcome.plan):
            if runs >= RUNS_MAX:
                return outcome
            runs += 1
            found = play(plan)
            if found.checks & checks:
                outcome, smaller = found, True
                break
    return outcome


def _less(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them: halves first, then single things, then fewer players."""
    for field in ("troubles", "orders", "acts"):
        whole = getattr(plan, field)
        size = len(whole) // 2
        while size:
            for start in range(0, len(whole), size):
                rest = whole[:start] + whole[start + size :]
                if rest or field != "orders":
                    yield structs.replace(plan, **{field: rest})
            size //= 2
        if len(whole) == 1 and field != "orders":
            yield structs.replace(plan, **{field: ()})
    for index, order in enumerate(plan.orders):
        for simpler in (
            structs.replace(order, twice=()),
            structs.replace(order, count=1),
            structs.replace(order, simulate=()),
        ):
            if simpler != order:
                orders = (*plan.orders[:index], simpler, *plan.orders[index + 1 :])
                yield structs.replace(plan, orders=orders)
    if plan.roll_s:
        yield structs.replace(plan, roll_s=0.0)
    for field, least in (("partitions", 1), ("engines", 1), ("workers", 1), ("inline", 0)):
        if getattr(plan, field) > least:
            yield structs.replace(plan, **{field: getattr(plan, field) - 1})
