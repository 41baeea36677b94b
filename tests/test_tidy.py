"""Goal: the tree keeps the rules of the house, whoever writes in it.

Method: each rule of `tests/tidy.py` runs over all our files, and first over a planted text that
breaks it and one that does not, so that a rule that sees nothing is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tidy

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"node_modules", "__pycache__", "build", "dist", "test-results"}
TEXTS = {
    *(".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".jsonl", ".html", ".css", ".js"),
    *(".conf", ".sql", ".svg", ".sh", ".cfg", ""),
}

Rule = Callable[[str, str], list[str]]

# rule, path, text that breaks it, text that does not
PLANTED: list[tuple[Rule, str, str, str]] = [
    (tidy.import_direction, "sagas/a.py", "from store import port", "from sagas import errors"),
    (tidy.import_direction, "sagas/a.py", "import litestar", "import hashlib, msgspec"),
    (
        tidy.import_direction,
        "sagas/x/a.py",
        "from ...store import port",
        "from ..names import escape",
    ),
    (tidy.import_direction, "store/a.py", "import jobs", "import sagas.kernel"),
    (tidy.import_direction, "jobs/a.py", "from ui.pages import x", "from store.port import Log"),
    (tidy.import_direction, "jobs/a.py", "from store import jetstream", "from store import memory"),
    (tidy.import_direction, "jobs/a.py", "import litestar", "import asyncio"),
    (tidy.import_direction, "ui/a.py", "from jobs import job", "from store import queries"),
    (tidy.import_direction, "ui/a.py", "from store.duck import Duck", "from store.ducks import D"),
    (tidy.import_direction, "server/a.py", "from tests import waiting", "from ui import pages"),
    (tidy.import_direction, "server/a.py", "import nats", "import nation"),
    (tidy.import_direction, "store/b.py", "import nats.aio", "from store.jetstream import link"),
    (tidy.import_direction, "store/port.py", "import duckdb", "import msgspec"),
    (
        tidy.examples_use_public_faces,
        "sagas/examples/checkout.py",
        "from sagas.kernel import decide",
        "from sagas import define_saga\nfrom sagas.examples.shop import Cart",
    ),
    (tidy.purity, "sagas/a.py", "import asyncio", "import json"),
    (tidy.purity, "sagas/programs/workflow_loop.py", "import time", "import asyncio"),
    (tidy.purity, "sagas/a.py", "from time import monotonic", "from datetime import datetime"),
    (tidy.purity, "sagas/a.py", "from uuid import uuid4", "from uuid import uuid5"),
    (tidy.purity, "sagas/a.py", "at = datetime.now()", "at = datetime.fromtimestamp(0)"),
    (tidy.purity, "sagas/a.py", "at = datetime.datetime.utcnow()", "at = context.now"),
    (tidy.purity, "sagas/a.py", "print(1)", "log = 'print(1)'"),
    (tidy.global_state, "sagas/a.py", "registry = {}", "REGISTRY = {'a': 1}\n__all__ = ['f']"),
    (
        tidy.global_state,
        "sagas/a.py",
        "seen: set[str] = set()",
        "def f() -> None:\n    seen = set()",
    ),
    (tidy.sizes, "store/a.py", "x = 1\n" * 402, "x = 1\n" * 400),
    (
        tidy.sizes,
        "tests/a.py",
        "def f():\n" + "    x = 1\n" * 70,
        "def f():\n" + "    x = 1\n" * 69,
    ),
    (tidy.module_docstring, "tests/test_a.py", "x = 1", '"""Goal and method."""'),
    (tidy.docstrings, "ui/a.py", "def f(): ...", "def _f(): ..."),
    (tidy.docstrings, "ui/a.py", "class A:\n    x = 1", 'class A:\n    """An A."""'),
    (
        tidy.docstrings,
        "store/a.py",
        'class A:\n    """A."""\n    def f(self):\n' + "        x = 1\n" * 7,
        'class A(Protocol):\n    """A."""\n    def f(self):\n' + "        x = 1\n" * 7,
    ),
    (
        tidy.struct_tags,
        "sagas/a.py",
        "class A(Struct, tag='a'): ...",
        "class A(Struct, tag_field='kind', tag='a'): ...",
    ),
    (
        tidy.struct_tags,
        "sagas/a.py",
        "class A(Struct, tag_field='kind', tag=True): ...",
        "class E(Struct, tag_field='kind'): ...\nclass A(E, tag='a'): ...",
    ),
    (tidy.sleeping, "tests/test_a.py", "await asyncio.sleep(0.1)", "await asyncio.sleep(0)"),
    (tidy.sleeping, "tests/test_a.py", "sleep(1)", "eventually(lambda: True, 1, 'it')"),
    (tidy.collected, "tests/test_a.py", "def tests_a(): ...", "def test_a(): ...\ndef _b(): ..."),
    (tidy.unfinished, "ui/a.py", "# TO" + "DO: later", "# to do, or not to do"),
    (tidy.machine_names, "docs/a.md", "see pypi" + ".org", "see the package index"),
    (tidy.machine_names, "a.toml", 'x = "/wo' + 'rk/main"', 'x = "a/wo' + 'rk/main"'),
]

RULES = list(dict.fromkeys(rule for rule, *_ in PLANTED))
ANY_FILE = {tidy.unfinished, tidy.machine_names}


def _files() -> Iterator[tuple[str, str]]:
    """All text files of the tree with their relative path; hidden folders but .ci left out."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f == ".ci" or (f[0] != "." and f not in SKIPPED))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix in TEXTS:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree() -> Iterator[list[tuple[str, str]]]:
    """The files all rules look at, read and parsed once; nobody after us carries them along."""
    yield list(_files())
    tidy.parse.cache_clear()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule, tree: list[tuple[str, str]]) -> None:
    texts = tree if rule in ANY_FILE else [(p, s) for p, s in tree if p.endswith(".py")]
    found = [complaint for path, source in texts for complaint in rule(path, source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "path", "bad", "good"),
    PLANTED,
    ids=[f"{r.__name__}-{i}" for i, (r, *_) in enumerate(PLANTED)],
)
def test_the_rule_sees_what_it_is_for(rule: Rule, path: str, bad: str, good: str) -> None:
    assert rule(path, bad)
    assert rule(path, good) == []


def test_every_rule_is_tried() -> None:
    """A rule added to the module but not to the table above would never run."""
    public = {
        function
        for name, function in vars(tidy).items()
        if callable(function)
        and getattr(function, "__module__", "") == tidy.__name__
        and not name.startswith("_")
        and name not in ("parse", "room", "imports")
    }
    assert public == set(RULES)


def test_the_tree_was_found(tree: list[tuple[str, str]]) -> None:
    paths = {path for path, _ in tree}
    assert {"pyproject.toml", "Makefile", "server/__init__.py", ".ci/run"} <= paths
