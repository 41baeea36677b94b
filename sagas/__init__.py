"""Sagas: definitions, effects and the pure kernel that decides what a message does to an instance.

This is the public face for authors. Nothing in this package reads a clock, does I/O or knows of a
broker.
"""

from __future__ import annotations

from sagas.builder import Draft, SagaBuilder, define_saga
from sagas.definition import Registry, SagaDefinition
from sagas.effects import (
    cancel,
    compensate,
    complete,
    fail,
    publish,
    schedule,
    send,
    spawn,
    unschedule,
)
from sagas.errors import DefinitionError, SagaError
from sagas.handlers import Context, SagaHandle
from sagas.handlers import Returned as Effects
from sagas.messages import Message
from sagas.programs.entity import Entity, EntityHandler, entity
from sagas.programs.step_list import StepList, StepsChain, steps
from sagas.programs.steps import Step, StepResponse, parallel, sequence, step
from sagas.programs.transactions import transaction
from sagas.programs.workflow import Workflow, workflow
from sagas.programs.workflow_errors import StepFailed, WaitTimedOut, WorkflowFailed
from sagas.programs.workflow_saga import WorkflowSaga
from sagas.retry import RetryPolicy, retry
from sagas.secrets import Secret

__all__ = (
    "Context",
    "DefinitionError",
    "Draft",
    "Effects",
    "Entity",
    "EntityHandler",
    "Message",
    "Registry",
    "RetryPolicy",
    "SagaBuilder",
    "SagaDefinition",
    "SagaError",
    "SagaHandle",
    "Secret",
    "Step",
    "StepFailed",
    "StepList",
    "StepResponse",
    "StepsChain",
    "WaitTimedOut",
    "Workflow",
    "WorkflowFailed",
    "WorkflowSaga",
    "cancel",
    "compensate",
    "complete",
    "define_saga",
    "entity",
    "fail",
    "parallel",
    "publish",
    "retry",
    "schedule",
    "send",
    "sequence",
    "spawn",
    "step",
    "steps",
    "transaction",
    "unschedule",
    "workflow",
)
