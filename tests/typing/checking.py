"""What the type checker says of code that uses the public names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def assert_wrong_where_said(folder: Path, code: str) -> None:
    """The type checker finds errors in the lines that say ``# wrong``, and in no others."""
    (folder / "checked.py").write_text(code, encoding="utf-8")
    config = {"include": ["."], "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(
        [*command, "-p", str(folder)], capture_output=True, text=True, check=False, timeout=100
    )
    report = json.loads(ran.stdout)
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    found = {one["range"]["start"]["line"] for one in errors}
    expected = {n for n, line in enumerate(code.splitlines()) if "# wrong" in line}
    assert found == expected, "\n".join(
        f"{one['range']['start']['line']}: {one['message']}" for one in errors
    )
