"""The texts of the files that `snorri init` and `snorri new` write; ``<<name>>`` is filled in."""

from __future__ import annotations

PYPROJECT = """\
[project]
name = "<<distribution>>"
version = "0.1.0"
description = "Sagas and jobs of <<package>>"
requires-python = ">=3.11"
dependencies = ["snorri"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["<<package>>"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

SETTINGS = """\
# Settings for snorri in this directory; `snorri config` shows all of them.
app = ["<<package>>"]
"""

README = """\
# <<package>>

    snorri dev                      # nats-server, engine and jobs on this machine
    snorri publish OrderPlaced '{"orderId": "o-1", "amount": 4200}' --key o-1
    snorri show order-saga o-1
    python -m pytest                # no broker needed

Sagas are in `<<package>>/sagas`, jobs in `<<package>>/jobs`; every module there is found by itself.
`snorri new saga NAME` and `snorri new job NAME` add more.
"""

GITIGNORE = """\
.snorri/
.venv/
__pycache__/
"""

PACKAGE = '''\
"""The app <<package>>: its sagas and jobs are found in the packages of these names."""
'''

PART = '''\
"""<<part>> of <<package>>; each module here is loaded."""
'''

CONFTEST = '''\
"""Shared by all tests; nothing yet."""
'''

SAGA = '''\
"""<<id>>-saga: what it does, in a sentence."""

from __future__ import annotations

from msgspec import Struct

from sagas import Message, SagaHandle, complete, define_saga, fail, send


class State(Struct):
    """What an instance remembers."""

    orderId: str = ""
    amount: int = 0
    step: str = "new"


class <<Pascal>>Placed(Struct):
    """The message that starts an instance."""

    orderId: str
    amount: int = 0


class Done(Struct):
    """The answer of the job."""

    reference: str = ""


class Refused(Struct):
    """The job's "no"."""

    reason: str = ""


builder = define_saga("<<id>>-saga").correlate("orderId").state(State())


@builder.on("<<Pascal>>Placed", starts=True)
def placed(saga: SagaHandle[State], message: Message[<<Pascal>>Placed]):
    order = message.payload
    saga.state = State(orderId=order.orderId, amount=order.amount, step="waiting")
    return send("<<target>>", {"orderId": order.orderId, "amount": order.amount})


@builder.on("<<Job>>Done")
def done(saga: SagaHandle[State], message: Message[Done]):
    saga.state = State(orderId=saga.state.orderId, amount=saga.state.amount, step="done")
    return complete({"reference": message.payload.reference})


@builder.on("<<Job>>Refused")
def refused(saga: SagaHandle[State], message: Message[Refused]):
    return fail(message.payload.reason)


<<snake>>_saga = builder.build()
'''

SAGA_TEST = '''\
"""What <<id>>-saga does, without a broker: messages in, effects and states out."""

from <<package>>.sagas.<<snake>> import <<snake>>_saga
from sagas import send
from sagas.testing import given


def test_it_asks_the_job_and_completes():
    (
        given(<<snake>>_saga, key="o-1")
        .when("<<Pascal>>Placed", {"orderId": "o-1", "amount": 4200})
        .expect(send("<<target>>", {"orderId": "o-1", "amount": 4200}))
        .when_answer("<<target>>", "<<Job>>Done", {"reference": "r-1"})
        .expect_status("completed")
    )


def test_a_no_of_the_job_ends_it_as_failed():
    (
        given(<<snake>>_saga, key="o-1")
        .when("<<Pascal>>Placed", {"orderId": "o-1", "amount": 4200})
        .when_answer("<<target>>", "<<Job>>Refused", {"reason": "not today"})
        .expect_status("failed")
    )
'''

JOB = '''\
"""<<target>>: what it does, in a sentence."""

from __future__ import annotations

from msgspec import Struct

from jobs import JobContext, failure, job


class <<Pascal>>(Struct):
    """The payload of the command."""

    orderId: str
    amount: int = 0


@job(
    "<<target>>",
    on_success="<<Pascal>>Done",
    on_failure="<<Pascal>>Refused",
    timeout="30s",
)
async def <<snake>>(ctx: JobContext[<<Pascal>>], wanted: <<Pascal>>):
    """Do the work. It may run more than once for one command: hand on ctx.idempotency_key."""
    if wanted.amount < 0:
        return failure("the amount is below zero")
    return {"orderId": wanted.orderId, "reference": ctx.idempotency_key}
'''

JOB_TEST = '''\
"""What <<target>> does: a job is a function and can be called as one."""

import asyncio
from types import SimpleNamespace

from <<package>>.jobs.<<snake>> import <<Pascal>>, <<snake>>


def test_its_answer_names_what_was_done():
    ctx = SimpleNamespace(idempotency_key="c-1")
    answer = asyncio.run(<<snake>>(ctx, <<Pascal>>(orderId="o-1", amount=1)))
    assert answer == {"orderId": "o-1", "reference": "c-1"}
'''
