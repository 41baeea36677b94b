"""The rules of the house as functions from one source text to a list of complaints.

It owns what `tests/test_tidy.py` enforces on the tree: import directions, what the pure room must
not touch, sizes, docstrings, words. Each rule takes (path, source), the path relative to the root
of the repository with forward slashes, and reads nothing else: it can be tried on planted text.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache

ROOMS = ("sagas", "store", "jobs", "server", "ui")
MAY_IMPORT = {
    "sagas": {"sagas"},
    "store": {"store", "sagas"},
    "jobs": {"jobs", "store", "sagas"},
    "ui": {"ui", "store", "sagas"},
    "server": set(ROOMS),
}
# Concrete backends are built in `server` and handed down; these are never named elsewhere.
BACKENDS = ("store.jetstream", "store.duck")
NATS_HOME = "store/jetstream/"
DUCKDB_HOME = "store/duck/"
NOT_IN_JOBS = {"litestar", "uvicorn", "jinja2"}
IMPURE_MODULES = {
    *("asyncio", "time", "random", "secrets", "os", "pathlib", "logging", "io", "socket"),
    *("subprocess", "threading", "multiprocessing", "tempfile", "shutil", "signal", "ctypes"),
}
# Tasks and gather need an event loop; this module is one without a clock and without I/O.
PURE_LOOP = "sagas/programs/workflow_loop.py"
IMPURE_CALLS = {"open", "print", "input", "exec", "eval"}
IMPURE_ATTRIBUTES = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"),
}
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# A method this short says what it does by its name; longer ones have a docstring.
METHOD_LINES_PLAIN_MAX = 6
SLEEP_HOME = "tests/waiting.py"
# Written in pieces, so that this file does not break its own rules.
UNFINISHED = re.compile("|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b")))
MACHINE = re.compile(
    "|".join(
        (
            r"pypi\." + "org",
            r"python" + r"hosted\.org",
            r"registry\.npmjs\." + "org",
            r"(?<![\w.\-])/(?:work|root|opt/pypi|tmp/w|home/\w+|Users/\w+)" + "/",
        )
    )
)


@cache
def parse(source: str) -> ast.Module:
    """The tree of a source text; shared by all rules."""
    return ast.parse(source)


def room(path: str) -> str | None:
    """The room a file belongs to, None for tests and the like."""
    head = path.split("/")[0]
    return head if head in ROOMS else None


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a module imports, relative imports resolved."""
    package = path.split("/")[:-1]
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def import_direction(path: str, source: str) -> list[str]:
    """Rooms import only towards `sagas`, tests are imported by tests only, backends by `server`."""
    here = room(path)
    if here is None:
        return []
    found: list[str] = []
    for line, name in imports(path, source):
        head = name.split(".")[0]
        if head == "tests" or (head in ROOMS and head not in MAY_IMPORT[here]):
            found.append(f"{path}:{line} {here} must not import {name}")
        if here in ("jobs", "ui") and any(f"{name}.".startswith(f"{b}.") for b in BACKENDS):
            found.append(f"{path}:{line} {name} is built in server and handed down as a port")
        if here == "sagas" and head not in {"sagas", "msgspec"} | set(sys.stdlib_module_names):
            found.append(f"{path}:{line} sagas imports the standard library and msgspec only")
        if head == "nats" and not path.startswith(NATS_HOME):
            found.append(f"{path}:{line} only {NATS_HOME} imports nats")
        if head == "duckdb" and not path.startswith(DUCKDB_HOME):
            found.append(f"{path}:{line} only {DUCKDB_HOME} imports duckdb")
        if here == "jobs" and head in NOT_IN_JOBS:
            found.append(f"{path}:{line} jobs know nothing of the web, so no {head}")
    return found


# Besides the rooms themselves: what is apart from them because it needs more, or is for tests.
PUBLIC_FACES = ("sagas", "sagas.testing", "jobs", "jobs.data", "jobs.sql_database")


def examples_use_public_faces(path: str, source: str) -> list[str]:
    """Sample definitions are ordinary user code: of our rooms they name `sagas` and `jobs` only."""
    if "/examples/" not in path:
        return []
    package = ".".join(path.split("/")[:2])
    found: list[str] = []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        found += [
            f"{path}:{node.lineno} examples import from sagas and jobs themselves, not {name}"
            for name in names
            if name.split(".")[0] in ROOMS
            and name not in PUBLIC_FACES
            and not f"{name}.".startswith(f"{package}.")
        ]
    return found


def purity(path: str, source: str) -> list[str]:
    """Inside `sagas` nothing reads a clock, a file, chance or the environment, or writes a log."""
    if room(path) != "sagas":
        return []
    found = [
        f"{path}:{line} sagas are pure: no {name}"
        for line, name in imports(path, source)
        if (name.split(".")[0] in IMPURE_MODULES or name in IMPURE_ATTRIBUTES)
        and not (path == PURE_LOOP and name.split(".")[0] == "asyncio")
    ]
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in IMPURE_CALLS | IMPURE_ATTRIBUTES:
                found.append(f"{path}:{node.lineno} sagas are pure: no {node.func.id}()")
        elif isinstance(node, ast.Attribute):
            tail = ".".join(ast.unparse(node).split(".")[-2:])
            if tail in IMPURE_ATTRIBUTES:
                found.append(f"{path}:{node.lineno} sagas are pure: no {tail}")
    return found


def global_state(path: str, source: str) -> list[str]:
    """No mutable dict, list or set under a lower-case name at the top of a module of `sagas`."""
    if room(path) != "sagas":
        return []
    found: list[str] = []
    for node in parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        names = [n for n in names if n != n.upper() and not n.startswith("__")]
        if names and _mutable(getattr(node, "value", None)):
            found.append(f"{path}:{node.lineno} {names[0]} is mutable state of the whole process")
    return found


def _mutable(value: ast.expr | None) -> bool:
    displays = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
    makers = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict"}
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in makers
    return isinstance(value, displays)


def sizes(path: str, source: str) -> list[str]:
    """Modules and functions stay small enough to be read in one go."""
    lines = source.count("\n") + 1
    found = [f"{path} has {lines} lines, {MODULE_LINES_MAX} are allowed"]
    found = found if lines > MODULE_LINES_MAX + 1 else []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                found.append(f"{path}:{node.lineno} {node.name} has {length} lines, too many")
    return found


def module_docstring(path: str, source: str) -> list[str]:
    """Every module opens with what it owns; a test file with its goal and method."""
    return [] if ast.get_docstring(parse(source)) else [f"{path} has no docstring"]


def docstrings(path: str, source: str) -> list[str]:
    """Public classes and functions of a room say what they do; short methods and ports may not."""
    if room(path) is None:
        return []
    found: list[str] = []
    for node in parse(source).body:
        found += _undocumented(path, node, 0)
        if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
            for part in node.body:
                found += _undocumented(path, part, METHOD_LINES_PLAIN_MAX)
    return found


def _undocumented(path: str, node: ast.stmt, lines_plain_max: int) -> list[str]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    overload = any("overload" in ast.unparse(d) for d in node.decorator_list)
    if node.name.startswith("_") or overload or length <= lines_plain_max:
        return []
    return [] if ast.get_docstring(node) else [f"{path}:{node.lineno} {node.name} has no docstring"]


def struct_tags(path: str, source: str) -> list[str]:
    """A tagged Struct is told apart by `kind` and a fixed word, never by the name of its class."""
    classes = [n for n in ast.walk(parse(source)) if isinstance(n, ast.ClassDef)]
    by_kind = {c.name for c in classes if _keyword(c, "tag_field") == "kind"}
    found: list[str] = []
    for node in classes:
        tag = next((k.value for k in node.keywords if k.arg == "tag"), None)
        if tag is None:
            continue
        if not (isinstance(tag, ast.Constant) and isinstance(tag.value, str)):
            found.append(f"{path}:{node.lineno} the tag of {node.name} is not a string literal")
        if node.name not in by_kind and not by_kind & set(map(ast.unparse, node.bases)):
            found.append(f"{path}:{node.lineno} {node.name} is tagged without tag_field='kind'")
    return found


def _keyword(node: ast.ClassDef, name: str) -> object:
    values = (k.value for k in node.keywords if k.arg == name)
    return next((v.value for v in values if isinstance(v, ast.Constant)), None)


def sleeping(path: str, source: str) -> list[str]:
    """Tests wait for a signal or a condition with a deadline; `sleep(0)` only lets others run."""
    if not path.startswith("tests/") or path == SLEEP_HOME:
        return []
    found: list[str] = []
    for node in ast.walk(parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] != "sleep":
            continue
        if ast.unparse(node.func) == "saga.sleep":  # a timer on record; no test waits for it
            continue
        if not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0):
            found.append(f"{path}:{node.lineno} sleeps; wait for what it waits for")
    return found


def collected(path: str, source: str) -> list[str]:
    """A top-level function of a test file is a test, decorated (a fixture …) or starts with `_`."""
    if not path.split("/")[-1].startswith("test_"):
        return []
    return [
        f"{path}:{node.lineno} {node.name} looks like a test that never runs"
        for node in parse(source).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith(("test_", "_"))
        and not node.decorator_list
    ]


def unfinished(path: str, source: str) -> list[str]:
    """What is on main is done: no notes to oneself."""
    return _lines_with(UNFINISHED, path, source, "is unfinished")


def machine_names(path: str, source: str) -> list[str]:
    """No package registry and no path of one machine in any file of the tree."""
    return _lines_with(MACHINE, path, source, "names a registry or a path of one machine")


def _lines_with(pattern: re.Pattern[str], path: str, source: str, complaint: str) -> list[str]:
    return [
        f"{path}:{number} {complaint}: {found.group()}"
        for number, line in enumerate(source.splitlines(), 1)
        if (found := pattern.search(line))
    ]
