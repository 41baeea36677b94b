"""Goal: an app's modules are found as written down, and what is wrong with one is said and where.

Method: small packages written into a temporary folder, each under a name of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.loading import OURS, App, AppError, load_app, load_samples

SAGA = """
from sagas import define_saga
{name} = define_saga("{id}").state({{}}).on("Begin", lambda saga, message: None).build()
"""
JOB = """
from jobs import job
@job("{target}")
async def {name}(ctx):
    pass
"""

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into a folder that is searched; they are forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def make(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for parent in path.relative_to(tmp_path).parents:
                if str(parent) != ".":
                    (tmp_path / parent / "__init__.py").touch()

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _ids(app: App) -> list[str]:
    return sorted(definition.id for definition in app.registry)


def test_a_module_gives_what_stands_in_it(write: Write) -> None:
    write(app_a=SAGA.format(name="one", id="S1") + JOB.format(name="work", target="j1"))
    app = load_app(["app_a"])
    assert (_ids(app), app.jobs.targets, app.modules) == (["S1"], ("j1",), ("app_a",))


ACTIONS = """
from sagas import step, steps
from server.action_routes import action
async def ship(ctx): ...
ACTIONS = [action("/orders/{id}/ship", steps("ship", [step("one", ship)]))]
"""


def test_a_module_gives_actions_and_their_sagas(write: Write) -> None:
    write(app_with=ACTIONS)
    app = load_app(["app_with"])
    assert [(one.path, one.saga.id) for one in app.actions] == [("/orders/{id}/ship", "ship")]
    assert (_ids(app), app.jobs.targets) == (["ship"], ("ship.one",))


def test_two_actions_with_one_path_are_refused(write: Write) -> None:
    write(app_v=ACTIONS, app_w=ACTIONS.replace('steps("ship"', 'steps("ship2"'))
    with pytest.raises(AppError, match=r"two actions have the path '/orders/\{id\}/ship'"):
        load_app(["app_v", "app_w"])


def test_lists_registries_and_dicts_are_opened(write: Write) -> None:
    write(
        app_b=SAGA.format(name="_one", id="S1")
        + SAGA.format(name="_two", id="S2")
        + JOB.format(name="_work", target="j1")
        + "from sagas import Registry\nsagas = [_one]\nregistry = Registry([_two])\n"
        + "jobs = {'x': _work}\n"
    )
    app = load_app(["app_b"])
    assert (_ids(app), app.jobs.targets) == (["S1", "S2"], ("j1",))


def test_a_package_gives_its_parts(write: Write) -> None:
    write(
        app_c__sagas__first=SAGA.format(name="s", id="S1"),
        app_c__sagas__second=SAGA.format(name="s", id="S2"),
        app_c__jobs=JOB.format(name="work", target="j1"),
        app_c__other=SAGA.format(name="s", id="S3"),
    )
    app = load_app(["app_c"])
    assert (_ids(app), app.jobs.targets) == (["S1", "S2"], ("j1",))


def test_the_same_thing_seen_twice_is_one(write: Write) -> None:
    write(app_d=SAGA.format(name="s", id="S1"), app_e="from app_d import s\nall_of_them = (s, s)")
    assert _ids(load_app(["app_d", "app_e", "app_d"])) == ["S1"]


def test_providers_are_taken_along(write: Write) -> None:
    write(
        app_f="from jobs import Providers\nproviders = Providers()\nproviders.value('x', 1)\n"
        + JOB.format(name="work", target="j1")
    )
    app = load_app(["app_f"])
    with pytest.raises(Exception, match="has a provider"):
        app.providers.value("x", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SAGA.format(name="a", id="S") + SAGA.format(name="b", id="S"), "two sagas have the id"),
        (
            JOB.format(name="a", target="j") + JOB.format(name="b", target="j"),
            "two jobs have the target",
        ),
        (
            "from sagas import define_saga\ns = define_saga('S').state({})",
            "never built; end its chain with .build",
        ),
        ("from sagas import define_saga\ns = define_saga('S')", "never built"),
        ("x = 1", "no saga and no job"),
        (
            "from jobs import Providers\na, b = Providers(), Providers()\n"
            + JOB.format(name="work", target="j1"),
            "two Providers",
        ),
        ("raise SystemExit(3)", "SystemExit"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
    ],
)
def test_what_is_wrong_with_an_app_is_said(write: Write, text: str, words: str) -> None:
    write(app_wrong=text)
    with pytest.raises(AppError, match=words):
        load_app(["app_wrong"])


def test_an_import_that_fails_names_file_and_line(write: Write, tmp_path: Path) -> None:
    write(app_g="import app_h\n", app_h="x = 1\ny = undefined_name\n")
    with pytest.raises(AppError) as caught:
        load_app(["app_g"])
    assert f"{tmp_path / 'app_h.py'}, line 2" in str(caught.value)
    assert "y = undefined_name" in str(caught.value)


def test_a_syntax_error_names_file_and_line(write: Write, tmp_path: Path) -> None:
    write(app_i="x = 1\ndef broken(:\n")
    with pytest.raises(AppError, match=f"{tmp_path / 'app_i.py'}, line 2"):
        load_app(["app_i"])


def test_a_definition_that_contradicts_itself_names_file_and_line(write: Write) -> None:
    write(app_j="from sagas import define_saga\n\ndefine_saga('S').state({}).build()\n")
    with pytest.raises(AppError, match=r"app_j.py, line 3"):
        load_app(["app_j"])


@pytest.mark.parametrize("name", [*OURS, "sagas.kernel", "server.cli"])
def test_our_own_names_are_refused(name: str) -> None:
    with pytest.raises(AppError, match="one of Snorri's own packages"):
        load_app([name])


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "no app is named"), (["no such"], "is no module"), (["absent_one"], "no module 'absent")],
)
def test_names_that_lead_nowhere(names: list[str], words: str) -> None:
    with pytest.raises(AppError, match=words):
        load_app(names)


def test_the_samples_fit_together() -> None:
    app = load_samples()
    assert "CheckoutSaga" in _ids(app)
    assert "process-payment" in app.jobs


STEPS = """
from jobs import ErrorPolicy
from sagas import step, steps, workflow

async def run(ctx): ...

@step("greet")
async def greet(ctx, name: str): ...

@workflow("Hello")
async def hello(saga, name: str):
    await greet(saga, name)

order = steps("order", [step("reserve", run, run), greet], on_failed=run)
"""


def test_definitions_of_steps_bring_the_jobs_of_their_steps(write: Write) -> None:
    write(app_k=STEPS + "errors = ErrorPolicy(terminal=(ValueError,))")
    app = load_app(["app_k"])
    assert _ids(app) == ["Hello", "order"]
    assert sorted(app.jobs.targets) == [
        *("greet", "order.greet", "order.on_failed", "order.reserve", "order.reserve.undo"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one, two = ErrorPolicy(), ErrorPolicy()", "two ErrorPolicies"),
        (JOB.format(name="work", target="greet"), "the target 'greet' has two jobs"),
        (
            "async def needy(ctx, input, repo: 'dict[int, int]'): ...\n"
            "needs = steps('needs', [step('needy', needy)])",
            "nobody provides dict, which the job 'needs.needy' asks for",
        ),
    ],
)
def test_what_is_wrong_with_steps_is_said(write: Write, text: str, words: str) -> None:
    write(app_l=STEPS + text)
    with pytest.raises(AppError, match=words):
        load_app(["app_l"])
