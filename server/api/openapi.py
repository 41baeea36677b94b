"""The OpenAPI document: what Litestar makes of the routes, and what it can't know.

Adds to every operation the problem documents it may answer with, the role it asks for and how one
shows who one is. Serves JSON and YAML only: pages that draw it would load code from elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from litestar import Litestar, Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    License,
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    PathItem,
    Reference,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType
from litestar.routes import HTTPRoute

from server.access.roles import PUBLIC, ROLE
from server.api.openapi_schemas import close, correct_parameters, truthful
from server.api.problems import MEDIA_TYPE

TITLE = "Snorri"
PATH = "/schema"
PROBLEM = "ProblemDocument"
METHODS = ("get", "post", "put", "patch", "delete")

DESCRIPTION = """\
Look at sagas, publish events, act on instances, ask history.

Errors are problem documents (RFC 9457) whose `next` says what to do. Lists are pages: give `next` \
of one answer as `cursor` of the following request. Writes take an `Idempotency-Key`: the same key \
does the same thing once.\
"""


def release() -> str:
    """The version of Snorri that is installed."""
    try:
        return version("snorri")
    except PackageNotFoundError:
        return "0"


def config(*, is_open: bool) -> OpenAPIConfig:
    """How the document is made and where it is served; ``is_open`` when nobody has to log in.

    It is made at the first request for it: that takes as long as all the rest of the application.
    """
    one = asyncio.Lock()

    async def made(request: Request[Any, Any, Any]) -> None:
        async with one:
            await asyncio.to_thread(complete, request.app, is_open=is_open)

    return OpenAPIConfig(
        title=TITLE,
        version=release(),
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="An API token (snorri access token)"
                ),
                "session": SecurityScheme(
                    type="apiKey",
                    name="snorri_session",
                    security_scheme_in="cookie",
                    description="Login of a person; writes need the X-CSRFToken header as well",
                ),
            }
        ),
        render_plugins=[
            JsonRenderPlugin(path=["/", "/openapi.json"]),
            YamlRenderPlugin(path="/openapi.yaml"),
        ],
        openapi_router=Router(
            PATH,
            route_handlers=[],
            before_request=made,
            include_in_schema=False,
            opt={ROLE: PUBLIC},
        ),
    )


def complete(app: Litestar, *, is_open: bool) -> OpenAPI:
    """The document with what the routes do not say themselves, made once."""
    document = app.openapi_schema
    schemas = document.components.schemas
    if PROBLEM in schemas:
        return document
    for schema in schemas.values():
        truthful(schema)
    for route in _routes(app):
        item = (document.paths or {}).get(route.path_format)
        for method, (handler, _) in route.route_handler_map.items():
            if operation := _operation(item, method):
                _complete(operation, handler, schemas, is_open=is_open)
    schemas[PROBLEM] = _problem_schema()
    return document


def _complete(
    operation: Operation,
    handler: HTTPRouteHandler,
    schemas: Mapping[str, Schema | Reference],
    *,
    is_open: bool,
) -> None:
    _add_problems(operation)
    correct_parameters(operation, handler)
    close(schemas, handler)
    role = handler.opt.get(ROLE)
    if role and role != PUBLIC:
        needs = f"Needs the role {role}."
        operation.description = "\n\n".join(filter(None, (operation.description, needs)))
        operation.security = [] if is_open else [{"token": []}, {"session": []}]
    else:
        operation.security = []


def _routes(app: Litestar) -> list[HTTPRoute]:
    return [route for route in app.routes if isinstance(route, HTTPRoute)]


def _operation(item: PathItem | None, method: str) -> Operation | None:
    if item is None or method.lower() not in METHODS:
        return None
    operation: Operation | None = getattr(item, method.lower())
    return operation


def _add_problems(operation: Operation) -> None:
    """Any refusal is a problem document; Litestar's own description of a 400 is another."""
    responses = dict(operation.responses or {})
    responses.pop("400", None)
    for codes, about in (("4XX", "Refused; `next` says what to do"), ("5XX", "Not possible now")):
        responses.setdefault(
            codes,
            OpenAPIResponse(
                description=about,
                content={
                    MEDIA_TYPE: OpenAPIMediaType(
                        schema=Reference(ref=f"#/components/schemas/{PROBLEM}")
                    )
                },
            ),
        )
    operation.responses = responses


def _problem_schema() -> Schema:
    text = Schema(type=OpenAPIType.STRING)
    return Schema(
        title=PROBLEM,
        description="An error (RFC 9457): what happened and what to do next",
        type=OpenAPIType.OBJECT,
        properties={
            "type": text,
            "title": text,
            "status": Schema(type=OpenAPIType.INTEGER),
            "detail": text,
            "next": text,
            "instance": text,
        },
        required=["type", "title", "status", "detail", "next"],
    )
