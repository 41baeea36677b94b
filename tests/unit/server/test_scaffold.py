"""Goal: what `init` and `new` write runs as it is, and nothing that exists is ever overwritten.

Method: write into a temporary folder, run the written tests in a process of their own as their
author would, and load the written app.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.scaffold import (
    ScaffoldError,
    make_app,
    make_job,
    make_saga,
    make_step_list,
    make_workflow,
)

ROOT = Path(__file__).resolve().parents[3]


def _python(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_a_new_app_passes_its_own_tests_and_loads(tmp_path: Path) -> None:
    root = tmp_path / "My-Shop"
    package, pieces = make_app(root)
    assert package == "my_shop"
    assert all((root / piece.path).is_file() for piece in pieces)
    make_saga(root, ["my_shop"], "order-refund")
    make_job(root, ["my_shop"], "send invoice")
    make_step_list(root, ["my_shop"], "create-order")
    make_workflow(root, ["my_shop"], "OrderApproval")
    run = _python(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "12 passed" in run.stdout
    load = (
        "from server.loading import load_app; app = load_app(['my_shop'])\n"
        "print(sorted(d.id for d in app.registry), sorted(app.jobs.targets))"
    )
    run = _python(root, "-c", load)
    assert run.stdout.split("\n")[0] == (
        "['OrderApproval', 'create-order', 'order-refund-saga', 'order-saga'] ['charge-customer',"
        " 'create-order.charge', 'create-order.reserve', 'create-order.reserve.undo',"
        " 'order-approval-reserve', 'order-approval-reserve.undo', 'send-invoice']"
    ), run.stderr


def test_what_is_written_keeps_the_line_length(tmp_path: Path) -> None:
    _, pieces = make_app(tmp_path / "shop")
    pieces += make_step_list(tmp_path / "shop", ["shop"], "create-order")
    pieces += make_workflow(tmp_path / "shop", ["shop"], "order-approval")
    assert [line for piece in pieces for line in piece.text.splitlines() if len(line) > 100] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "README.md").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"README\.md"):
        make_app(root)
    assert [path.name for path in root.iterdir()] == ["README.md"]
    assert (root / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["jobs", "Sagas", "1st", "class", "", "ü", "k" * 101, "../up/.."])
def test_a_name_that_can_be_no_package_is_refused(tmp_path: Path, name: str) -> None:
    if name == "":
        with pytest.raises(ScaffoldError):
            make_saga(tmp_path, ["shop"], name)
        return
    if name == "../up/..":
        package, _ = make_app(tmp_path / "shop", name)
        assert package == "up"  # never outside the folder
        return
    with pytest.raises(ScaffoldError):
        make_app(tmp_path / "shop", name)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("app", [[], ["a", "b"], ["absent"]])
def test_new_needs_one_package_to_add_to(tmp_path: Path, app: list[str]) -> None:
    with pytest.raises(ScaffoldError):
        make_saga(tmp_path, app, "refund")
    with pytest.raises(ScaffoldError):
        make_job(tmp_path, app, "refund")
    assert list(tmp_path.iterdir()) == []


def test_a_second_saga_of_the_same_name_is_refused(tmp_path: Path) -> None:
    make_app(tmp_path, "shop")
    make_saga(tmp_path, ["shop"], "refund-saga")
    with pytest.raises(ScaffoldError, match="nothing was written"):
        make_saga(tmp_path, ["shop"], "refund")
