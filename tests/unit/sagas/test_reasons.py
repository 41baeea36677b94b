"""Goal: whoever is told why a message changed nothing is also told what to do next.

Method: each reason written in the sources is read from there; it must go on after a semicolon.
Reasons about our own internal signals (code ``moot``) concern nobody and are left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = (
    *(f"sagas/{name}.py" for name in ("gate", "kernel", "parking", "routing", "work")),
    "jobs/intake.py",
)
ANSWERS = {"Ignored": 1, "Undeliverable": 0, "Misdelivery": 1, "letter": 1, "note": 2}


Names = list[tuple[int, str, str]]  # line, name and text of assignments


def _texts(node: ast.expr, names: Names) -> list[str]:
    """What a text may be, ``{}`` for what is put into it; nothing where it is not written here."""
    match node:
        case ast.Constant(str(value)):
            return [value]
        case ast.JoinedStr(values):
            return ["".join(_part(part, names) for part in values)]
        case ast.IfExp(body=body, orelse=other):
            return [*_texts(body, names), *_texts(other, names)]
        case ast.Name(id):
            before = [text for line, name, text in names if name == id and line < node.lineno]
            return before[-1:]
        case _:
            return []


def _part(part: ast.expr, names: Names) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    inner = part.value if isinstance(part, ast.FormattedValue) else part
    found = _texts(inner, names) if isinstance(inner, ast.Name) else []
    return found[0] if found else "{}"


def _assigned(function: ast.FunctionDef) -> Names:
    names: Names = []
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        target = node.targets[0]
        if isinstance(target, ast.Name):
            texts = _texts(node.value, names)
            names += [(node.lineno, target.id, text) for text in texts]
    return names


def _reasons(path: str) -> Iterator[tuple[int, str, str]]:
    """Line, answer and text of each reason that a file gives."""
    for function in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = _assigned(function)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            place = ANSWERS.get(name)
            if place is None or len(node.args) <= place:
                continue
            internal = isinstance(node.args[0], ast.Constant) and node.args[0].value == "moot"
            if not internal:
                for text in _texts(node.args[place], names):
                    yield node.lineno, name, text


REASONS = [(path, *reason) for path in FILES for reason in _reasons(path)]


def test_the_reasons_are_found() -> None:
    assert len(REASONS) > 25
    assert {path for path, *_ in REASONS} == set(FILES)


@pytest.mark.parametrize(("path", "line", "answer", "text"), REASONS)
def test_a_reason_names_the_next_step(path: str, line: int, answer: str, text: str) -> None:
    what, _, next = text.partition("; ")
    assert next, f"{path}:{line} {answer}: {text!r} says nothing after a semicolon"
    assert not what[0].isupper(), text  # it stands within sentences
    assert not next.endswith((".", " ")), text
