"""An engine with one of two versions of the code, for deployments that roll.

Run as ``python -m tests.chaos.roll_runner VERSION URL NAMESPACE BUCKET``. Version 2 keeps its state
in another shape, which version 1 could not read, and brings the state of version 1 along.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from msgspec import Struct

from sagas import Message, SagaDefinition, SagaHandle, complete, define_saga, send
from sagas.definition import Registry
from tests.chaos import runner


class Listed(Struct):
    """The state of version 1: what was done, one after the other."""

    steps: list[str] = []


class Counted(Struct, forbid_unknown_fields=True):
    """The state of version 2: how often each was done."""

    done: dict[str, int] = {}


def _listed(step: str, *effects: Any) -> Any:
    def _handle(saga: SagaHandle[Listed], message: Message[Any]) -> object:
        saga.state.steps.append(step)
        return [effect(saga) for effect in effects]

    return _handle


def _counted(step: str, *effects: Any) -> Any:
    def _handle(saga: SagaHandle[Counted], message: Message[Any]) -> object:
        saga.state.done[step] = saga.state.done.get(step, 0) + 1
        return [effect(saga) for effect in effects]

    return _handle


def _reserve(saga: SagaHandle[Any]) -> object:
    return send("reserve", {"order": saga.key, "fate": "good"})


def _charge(saga: SagaHandle[Any]) -> object:
    return send("charge", {"order": saga.key, "fate": "good"})


def _done(saga: SagaHandle[Any]) -> object:
    return complete(None)


def count(old: Listed) -> Counted:
    """From version 1 to 2."""
    return Counted({step: old.steps.count(step) for step in sorted(set(old.steps))})


def saga(version: int) -> SagaDefinition:
    """Orders that are reserved, charged and done; they may be viewed at any time."""
    state = Listed() if version == 1 else Counted()
    step = _listed if version == 1 else _counted
    chain: Any = (
        define_saga("RollingOrder").version(version).correlate("order").on_unknown("ignore")
    )
    chain = chain.state(state)
    chain.on("OrderCreated", step("created", _reserve)).on("Viewed", step("viewed"))
    chain.on("Reserved", step("reserved", _charge)).on("Charged", step("charged", _done))
    return (chain if version == 1 else chain.upcast(1, count)).build()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    wanted, *where = sys.argv[1:]
    sys.exit(asyncio.run(runner.main("engine", *where, registry=Registry([saga(int(wanted))]))))
