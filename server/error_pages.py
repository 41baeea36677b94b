"""Errors as pages for people in a browser; programs get the problem document of the same error."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from server.access.middleware import WrongToken
from server.access.roles import Identity
from server.api import errors
from ui.app import desk_in
from ui.desk import Desk
from ui.render import ErrorPage, RefusedForm, Typed, page

FOR_PROGRAMS = ("/api/", "/schema", "/health", "/metrics", "/version")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an error with a page for a person in a browser, else with its document."""
    if not _wants_page(request) or not isinstance(request.scope.get("user"), Identity):
        return errors.answer(request, error)
    desk = desk_in(request.scope)
    if isinstance(error, WrongToken):
        return _other_session(request, desk, error)
    problem = errors.to_problem(error)
    context = ErrorPage(problem.status, problem.title, problem.detail, problem.next)
    response = page(
        request, desk, "error.html", context, title=problem.title, status=problem.status
    )
    response.headers.update(problem.headers)
    return response


# The exception handlers of an application that serves the dashboard.
HANDLERS: ExceptionHandlersMap = {Exception: answer, HTTPException: answer}


def _other_session(request: Request[Any, Any, Any], desk: Desk, error: WrongToken) -> Response[Any]:
    """The page for a form of another session, with what was typed so that it is not lost."""
    typed = tuple(Typed(name, value) for name, values in error.fields.items() for value in values)
    context = RefusedForm(tuple(one for one in typed if one.value.strip()))
    title = "This form belongs to another session"
    return page(request, desk, "refused_form.html", context, title=title, status=error.status)


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    if request.scope["path"].startswith(FOR_PROGRAMS):
        return False
    return "text/html" in request.headers.get("accept", "")
