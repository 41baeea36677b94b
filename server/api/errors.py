"""Every exception of a request becomes a problem document; what is not foreseen tells nothing.

A defect is answered with an id that stands in the log beside its traceback. Nothing of an
exception's text goes out unless it was written for whoever asks.
"""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from sagas.names import BadName
from server.api.problems import MEDIA_TYPE, Problem, ProblemDocument
from store.port import Unreachable
from store.projection.port import ReadError

log = logging.getLogger("snorri.api")

TYPE_PREFIX = "urn:snorri:problem:"
RETRY_AFTER_S = 1
DETAIL_LENGTH_MAX = 2000

# What Litestar itself refuses: our word for it, its title, and the next step.
REFUSALS: dict[int, tuple[str, str, str]] = {
    400: (
        "invalid-request",
        "The request can't be understood",
        "Correct what is named here; /schema says what each route takes.",
    ),
    401: ("unauthenticated", "Nobody is logged in", "Send a token or log in."),
    403: ("forbidden", "This is not allowed", "Ask an admin for a role that may do it."),
    404: ("no-such-route", "There is nothing here", "See /schema for all routes."),
    405: (
        "method-not-allowed",
        "This route does not take that method",
        "Use one of the methods of the Allow header.",
    ),
    413: ("too-large", "The body is too large", "Send less at once, or a reference to the data."),
    415: (
        "unsupported-media-type",
        "The body is of a kind this route does not take",
        "Send JSON with Content-Type: application/json.",
    ),
    429: ("too-many-requests", "Too many requests", "Wait for the seconds of Retry-After."),
    503: ("unavailable", "Not available now", "Try again in a moment; see /health/ready."),
}


def to_problem(error: Exception) -> Problem:
    """What to answer for an exception; logs the ones that are a defect of ours."""
    match error:
        case Problem():
            return error
        case Unreachable():
            return Problem(
                503,
                "nats-unreachable",
                "NATS does not answer",
                str(error),
                "Try again in a moment; /health/ready says what is wrong.",
                {"retryable": True},
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        case ReadError():
            return Problem(
                503,
                "projection-unavailable",
                "The projections can't be read now",
                str(error),
                "Try again in a moment; /health/ready says what is wrong.",
                {"retryable": True},
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        case BadName():
            return Problem(
                400, "bad-name", "A name or key can't be used", str(error), "Correct the name."
            )
        case RecursionError() if "deserializing" in str(error):
            return _refusal(HTTPException(status_code=400, detail="The JSON is nested too deeply."))
        case HTTPException() if error.status_code < 500 or error.status_code == 503:
            return _refusal(error)
        case _:
            return _defect(error)


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The response for an exception."""
    problem = to_problem(error)
    document = ProblemDocument(
        type=f"{TYPE_PREFIX}{problem.type}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail[:DETAIL_LENGTH_MAX],
        next=problem.next,
        instance=_printable(request.scope["path"]),
    )
    body = {**problem.more, **msgspec.to_builtins(document)}
    return Response(
        msgspec.json.encode(body),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


# Both: Litestar asks for the status first, so its own exceptions never meet a default of its own.
HANDLERS: ExceptionHandlersMap = {Exception: answer, HTTPException: answer}


def _refusal(error: HTTPException) -> Problem:
    type, title, next = REFUSALS.get(error.status_code, REFUSALS[400])
    more: dict[str, object] = {}
    detail = error.detail
    if isinstance(error.extra, list):
        errors = [_field(one) for one in error.extra if isinstance(one, dict)]
        more["errors"] = errors
        detail = "; ".join(f"{one['where']}: {one['message']}" for one in errors) or detail
    elif detail == HTTPStatus(error.status_code).phrase:
        detail = title
    return Problem(error.status_code, type, title, detail, next, more, error.headers)


def _field(error: dict[str, Any]) -> dict[str, str]:
    """One complaint of a validation: ``where`` names the parameter or the place in the body."""
    source, key = getattr(error.get("source"), "value", ""), str(error.get("key", ""))
    message = str(error.get("message", ""))
    if source in ("body", ""):  # of what is deep in a body Litestar tells no source
        path = key.removeprefix("data").lstrip(".")
        if message == "'data'":
            message = "this route needs a JSON body"
        return {"where": f"body.{path}" if path else "body", "message": message}
    if message.strip("'") == key:
        message = "is missing"
    return {"where": f"{source} {key}".strip(), "message": message}


def _defect(error: Exception) -> Problem:
    id = uuid.uuid4().hex[:12]
    log.error("a request failed, id %s", id, exc_info=error)
    return Problem(
        500,
        "internal",
        "Something went wrong here",
        f"A defect of ours; the log has it under id {id}.",
        "Try again; if it stays, look for the id in the log of this process.",
        {"id": id},
    )


def _printable(path: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in path)[:500]
