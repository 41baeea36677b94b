"""What the page on the API shows of the code: the table of routes, the table of problems."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from server.api import errors, sql_answers
from server.api.errors import TYPE_PREFIX
from server.api.openapi import METHODS
from tests.api_document import document, idle_app

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "api.md"
ROUTES = re.compile(r"(<!-- routes -->\n).*?(<!-- end -->)", re.DOTALL)
PROBLEMS = re.compile(r"(<!-- problems -->\n).*?(<!-- end -->)", re.DOTALL)


def routes_table() -> str:
    """Every route of the OpenAPI document with the role it needs, as Markdown."""
    roles = _roles()
    rows = ["| route | role | what |", "|---|---|---|"]
    for path, item in sorted(document()["paths"].items()):
        for method in METHODS:
            if method in item:
                about = item[method].get("summary") or item[method]["operationId"]
                role = roles[path, method.upper()]
                rows.append(f"| `{method.upper()} {path}` | {role} | {about} |")
    return "\n".join(rows) + "\n"


def problems_table() -> str:
    """Every kind of problem that the code raises, with its status, as Markdown."""
    found = {(type, status, title) for status, type, title in _problems()}
    by_type: dict[str, tuple[set[int], set[str]]] = {}
    for type, status, title in found:
        statuses, titles = by_type.setdefault(type, (set(), set()))
        statuses.add(status)
        titles.add(title)
    rows = ["| type | status | title |", "|---|---|---|"]
    for type, (statuses, titles) in sorted(by_type.items()):
        shown = ", ".join(map(str, sorted(statuses)))
        rows.append(f"| `{type}` | {shown} | {'; '.join(sorted(titles))} |")
    return "\n".join(rows) + f"\n\n`type` in a document is `{TYPE_PREFIX}<type>`.\n"


def api_page() -> str:
    """The page with its tables as they should be."""
    text = API.read_text(encoding="utf-8")
    text = ROUTES.sub(lambda found: f"{found[1]}{routes_table()}{found[2]}", text)
    return PROBLEMS.sub(lambda found: f"{found[1]}{problems_table()}{found[2]}", text)


def _roles() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for route in idle_app().routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            found[getattr(route, "path_format", ""), method] = str(handler.opt.get("role", ""))
    return found


def _problems() -> Iterator[tuple[int, str, str]]:
    """Status, type and title of every problem that the source raises."""
    for code, (status, title) in sql_answers.STATUS.items():
        yield status, f"sql-{code.replace('_', '-')}", title
    for status, (type, title, _) in errors.REFUSALS.items():
        yield status, type, title
    for path in sorted((ROOT / "server").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield from _raised(node)
                case _:
                    pass


def _raised(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str, str]]:
    """Those of one function, also where type and title were chosen before."""
    chosen: list[tuple[str, str]] = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id="type"), ast.Name(id="title")])],
                value=ast.Tuple(
                    elts=[ast.Constant(value=str(type)), ast.Constant(value=str(title))]
                ),
            ):
                chosen.append((type, title))
            case _:
                pass
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Name(id="Problem"),
                args=[ast.Constant(value=int(status)), type, title, *_],
            ):
                match type, title:
                    case ast.Constant(value=str(word)), ast.Constant(value=str(text)):
                        yield status, word, text
                    case _:
                        yield from ((status, *pair) for pair in chosen)
            case _:
                pass
