"""Goal: the mapping page names everything the four systems have, and on our side only what exists.

Method: what stands in code on the right is read as Python, as a command, a route or a setting, and
looked up; the names of the other systems are listed here. A row without a counterpart says so.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import jobs
import sagas
from jobs import data
from jobs.context import JobContext
from jobs.run_here import run_here
from sagas.builder import Draft, SagaBuilder
from sagas.programs.step_list import ListOptions, StepsChain
from sagas.programs.steps import StepOptions
from sagas.programs.workflow import WorkflowOptions
from server import action_routes
from server.cli import cli
from server.plugin import SnorriPlugin
from store import events, publisher, runs
from store.run_result import RunResult

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
ROUTES = re.findall(r"^\| `((?:GET|POST) [^`?]+)`", (ROOT / "docs" / "api.md").read_text(), re.M)
ROUTES += ["GET /health/live", "GET /health/ready"]
SETTINGS = (ROOT / "server" / "settings.py").read_text(encoding="utf-8")

# What the first word of a dotted name stands for; its attributes are looked up there.
OBJECTS: dict[str, tuple[type, ...]] = {
    "saga": (sagas.WorkflowSaga,),
    "ctx": (jobs.StepContext, JobContext),
    "providers": (jobs.Providers,),
    "builder": (SagaBuilder,),
    "runs": (runs.Runs,),
    "run": (runs.Run,),
    "result": (RunResult,),
    "publisher": (publisher.Publisher,),
    "checkout": (sagas.Workflow,),
    "wallet": (sagas.Entity,),
    "deposit": (sagas.EntityHandler,),
    "StepResponse": (sagas.StepResponse,),
}
CHAINS = {"define_saga": (Draft, SagaBuilder), "steps": (StepsChain,)}
OPTIONS = {"step": StepOptions, "steps": ListOptions, "workflow": WorkflowOptions}
PUBLIC: dict[str, Any] = {
    **{name: getattr(sagas, name) for name in sagas.__all__},
    **{name: getattr(jobs, name) for name in jobs.__all__},
    "create_publisher": publisher.create_publisher,
    "connect": runs.connect,
    "action": action_routes.action,
    "run_here": run_here,
    "create": data.create,
    "update": data.update,
    "delete": data.delete,
    **{name: getattr(data, name) for name in ("create", "update", "delete")},
    "Published": events.Published,
    "Rejected": events.Rejected,
    "SnorriPlugin": SnorriPlugin,
}

THERE = {
    "restate-saga": """
        createSagaStep createSagaStepStrict StepResponse permanentFailure createSagaWorkflow
        createSagaRestateWorkflow createSagaVirtualObject registerTerminalErrors
        unregisterTerminalErrors clearTerminalErrors setGlobalErrorMapper InferServiceType
        serviceClient serviceSendClient workflowClient workflowSendClient objectClient
        objectSendClient clients connect createContainerStep createContainerStepStrict
        createContainerWorkflow createContainerRestateWorkflow defineContainerWorkflow
        defineContainerRestateWorkflow InferContainerServiceType InferContainerCradle
        InferContainerInput InferContainerOutput InferContainerName InferContainerWorkflow
        runNestedSaga createSagaModule runAsStep TerminalError promise resolvePromise services
        failed run compensate name""",
    "VentureKit": """
        saga parallel execute compensate async run resume id traceId store createDefaultSagaStore
        createDynamoDBSagaStore tableName ttlSeconds onStepComplete onCompensating onFailed success
        context record error attempts steps output pending running completed compensating
        compensated failed""",
    "Nevr": """
        createEntityStep updateEntityStep deleteEntityStep storeAs useTransaction driver
        transactional entity action workflow input step execute compensate retry maxAttempts delay
        backoff resolve
        set get withData build executeWorkflow runWorkflow initialData error code failedStep
        compensatedSteps useTransaction transactional driver createEntityStep storeAs
        updateEntityStep deleteEntityStep resourceId""",
    "NetScript": """
        defineSaga durability state on compensate correlate concurrency schedule onSignal onQuery
        build defineSagaConfig name description topic tags sagaComplete sagaFail sagaCompensate send
        spawn SagaState SagaMessage SagaContext SagaHandler SagaDefinition SAGA_DURABILITY_TIERS
        SagaDurabilityTier SagaCorrelation CASCADED_MESSAGE_KINDS CascadedMessage defineSignal
        defineQuery createParallelQueue provider autoDiscover retryAttempts retryDelay connection
        deadLetterStore disableAutoTracing createDurableSagaRuntime resolveSagaStoreBackend
        PrismaSagaStore NETSCRIPT_SAGA_STORE createSagaPublisher SagaPublisherPort serviceName
        baseUrl publishPath headers retryableStatusCodes fetcher readEnv publish publishMany mode
        SagaPublisherResult SagaPublisherReceipt SagaPublisherRejected defineJobHandler
        createSuccessResult createFailureResult startSagas startSagaHandlers createSagaMiddleware
        createSSEEventsMiddleware SagaHistoryWriter createGarnetListTransport
        createNetScriptRedisTransport agent instances subscribe live trigger""",
}


class Row(NamedTuple):
    """One line of a table."""

    system: str
    there: str
    here: str
    note: str


def _rows() -> list[Row]:
    found: list[Row] = []
    system = ""
    for line in TEXT.splitlines():
        if line.startswith("## "):
            system = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| there"):
            found.append(Row(system, *(cell.strip() for cell in line.strip("|").split(" |"))))
    return found


ROWS = _rows()
CODES = [(row, code) for row in ROWS for code in re.findall(r"`([^`]+)`", row.here)]


@pytest.mark.parametrize("system", THERE)
def test_every_name_of_a_system_is_on_the_page(system: str) -> None:
    told = " ".join(row.there for row in ROWS if row.system == system)
    words = set(re.findall(r"\w+", told))
    assert set(THERE[system].split()) <= words, set(THERE[system].split()) - words


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.system}-{row.there}")
def test_a_row_has_a_counterpart_or_says_that_there_is_none(row: Row) -> None:
    assert "`" in row.here or row.note.startswith("not here")


@pytest.mark.parametrize(("row", "code"), CODES, ids=[code for _, code in CODES])
def test_what_stands_on_our_side_exists(row: Row, code: str) -> None:
    if code.startswith("snorri "):
        assert code.split()[1] in cli.commands
    elif code.startswith(("GET ", "POST ")):
        assert code in ROUTES
    elif code.startswith("SNORRI_"):
        assert code.removeprefix("SNORRI_").lower() in SETTINGS
    else:
        _look_up(ast.parse(code.removeprefix("@"), mode="eval").body)


def test_a_name_that_does_not_exist_is_found_out() -> None:
    for code in ("stepp(...)", "step(..., nope=1)", "saga.nope()", "ctx.nope", "steps('x').nope()"):
        with pytest.raises(AssertionError):
            _look_up(ast.parse(code, mode="eval").body)


def _look_up(node: ast.expr) -> None:
    """Every called or dotted name and every keyword, from the outside in."""
    if isinstance(node, ast.Call):
        _check_keywords(node)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.Call):
                _look_up(argument)
        _look_up(node.func)
    elif isinstance(node, ast.Attribute):
        owners = _owners(node.value)
        assert any(_has(owner, node.attr) for owner in owners), f"{owners} have no {node.attr}"
        if isinstance(node.value, ast.Call):
            _look_up(node.value)
    else:
        assert isinstance(node, ast.Name), ast.dump(node)
        assert node.id in PUBLIC, f"{node.id} is not public"


def _owners(node: ast.expr) -> tuple[type, ...]:
    if isinstance(node, ast.Name):
        return OBJECTS[node.id]
    assert isinstance(node, ast.Call), ast.dump(node)
    while isinstance(node, ast.Call):
        node = node.func.value if isinstance(node.func, ast.Attribute) else node.func
    assert isinstance(node, ast.Name), ast.dump(node)
    return CHAINS[node.id]


def _has(owner: type, name: str) -> bool:
    return hasattr(owner, name) or name in getattr(owner, "__struct_fields__", ())


def _check_keywords(call: ast.Call) -> None:
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    if isinstance(call.func, ast.Name):
        function = PUBLIC.get(call.func.id)
        assert function is not None, f"{call.func.id} is not public"
        known = set(inspect.signature(function).parameters)
        known |= set(getattr(OPTIONS.get(call.func.id), "__annotations__", ()))
    else:
        assert isinstance(call.func, ast.Attribute)
        owners = [one for one in _owners(call.func.value) if hasattr(one, call.func.attr)]
        known = {
            name
            for one in owners
            for name in inspect.signature(getattr(one, call.func.attr)).parameters
        }
    assert names <= known, f"no such parameters: {names - known}"
