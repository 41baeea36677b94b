"""Declaring jobs: what ``@job`` accepts, what it refuses with a next step, and the registry.

Method: declarations only; nothing runs a job but the call that the decorated function stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from jobs import Job, JobContext, JobRegistry, job
from sagas.errors import DefinitionError
from sagas.retry import RetryPolicy, retry

if TYPE_CHECKING:
    from decimal import Decimal


class Payment(Struct):
    """A payload."""

    amount: int


async def _nothing(ctx: JobContext[Any]) -> None:
    """Do nothing.

    More about it.
    """


def test_defaults() -> None:
    made = job("pay")(_nothing)
    assert (made.target, made.description) == ("pay", "Do nothing.")
    assert made.retry == retry(5, "1s")
    assert (made.timeout_s, made.heartbeat_s) == (300.0, None)
    assert (made.concurrency, made.concurrency_total) == (16, None)
    assert (made.on_success, made.on_failure, made.enabled) == (None, None, True)
    assert not made.threaded


def test_everything_given() -> None:
    policy = RetryPolicy(attempts_max=2)
    made = job(
        "pay",
        retry=policy,
        timeout="30s",
        concurrency=2,
        concurrency_total=4,
        heartbeat="10s",
        on_success="Paid",
        on_failure="NotPaid",
        description="Pays",
        enabled=False,
    )(_nothing)
    assert (made.retry, made.timeout_s, made.heartbeat_s) == (policy, 30.0, 10.0)
    assert (made.concurrency, made.concurrency_total) == (2, 4)
    assert (made.on_success, made.on_failure) == ("Paid", "NotPaid")
    assert (made.description, made.enabled) == ("Pays", False)
    assert job("pay", timeout=None)(_nothing).timeout_s is None


def test_the_payload_type_comes_from_the_annotation() -> None:
    @job("a")
    async def two(ctx: JobContext[Payment], payload: Payment) -> None: ...

    @job("b")
    async def one(ctx: JobContext[Payment]) -> None: ...

    @job("c")
    async def plain(ctx, payload): ...

    assert [two.decode(b'{"amount":1}'), one.decode(b'{"amount":2}')] == [Payment(1), Payment(2)]
    assert [two.takes_payload, one.takes_payload] == [True, False]
    assert plain.decode(b"[1]") == [1]


@pytest.mark.asyncio
async def test_a_job_is_still_its_function() -> None:
    @job("double")
    async def double(ctx: object, payload: int) -> int:
        return payload * 2

    @job("plain")
    def plain(ctx: object, payload: int) -> int:
        return payload + 1

    assert await double(None, 4) == 8
    assert plain(None, 4) == 5
    assert plain.threaded


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 0}, "give it 1 to 1000"),
        ({"concurrency": 1001}, "give it 1 to 1000"),
        ({"concurrency_total": 0}, "1 or more"),
        ({"timeout": 0}, "over 0"),
        ({"heartbeat": "0s"}, "over 0"),
        ({"timeout": "soon"}, "can't read the delay"),
        ({"on_success": "x" * 101}, "at most 100"),
        ({"on_failure": "\ud800"}, "UTF-8"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises((DefinitionError, ValueError), match=says):
        job("pay", **options)(_nothing)


@pytest.mark.parametrize("target", ["", "x" * 101])
def test_targets_that_cannot_be(target: str) -> None:
    with pytest.raises(DefinitionError, match="the target"):
        job(target)


def _no_arguments() -> None: ...


def _three(ctx: object, payload: object, more: object) -> None: ...


def _keyword(ctx: object, *, payload: object) -> None: ...


def _generator(ctx: object):
    yield 1


async def _async_generator(ctx: object):
    yield 1


def _unreadable(ctx: object, payload: Decimal) -> None: ...


def _undecodable(ctx: object, payload: dict[Payment, int] | list[int] | set[int]) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_no_arguments, "must take"),
        (_three, "must take"),
        (_keyword, "must take"),
        (_generator, "no function"),
        (_async_generator, "yields"),
        (Payment, "no function"),
        (_unreadable, "TYPE_CHECKING"),
        (_undecodable, "can't be decoded"),
    ],
)
def test_functions_that_cannot_be_jobs(function: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        job("pay")(function)


def test_the_registry_refuses_a_second_job_for_a_target() -> None:
    first, second = job("pay")(_nothing), job("pay")(_nothing)
    registry = JobRegistry([first, first])
    with pytest.raises(DefinitionError, match="has two jobs"):
        registry.add(second)
    with pytest.raises(DefinitionError, match="decorate the function"):
        registry.add(_nothing)  # type: ignore[arg-type]
    assert (list(registry), len(registry), registry.targets) == ([first], 1, ("pay",))
    assert "pay" in registry
    assert registry.get("pay") is first
    assert registry.get("other") is None


def test_selecting_targets() -> None:
    pay, off = job("pay")(_nothing), job("off", enabled=False)(_nothing)
    registry = JobRegistry([pay, off])
    assert registry.select() == [pay]
    assert registry.select(["off", "pay", "off"]) == [off, pay]
    with pytest.raises(DefinitionError, match="known are: pay, off"):
        registry.select(["zebra"])
    assert isinstance(pay, Job)
