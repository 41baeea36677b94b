"""`make audit`: known vulnerabilities of what the lock file names, asked of pip-audit.

That tool calls a package that it could not look up skipped, and ends well; here an audit is only
good when every package was looked up. Exit codes: 0 clean, 1 vulnerabilities, 3 not audited.

Continuous integration asks too, also on machines without a way to the advisories: there an audit
that could not be made is one line and no failure (`if_reachable`). What was found always is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

from tests.supply.locked import LOCK, locked

CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 3
TIME_S = 180


class Verdict(NamedTuple):
    """What an audit came to: an exit code and the lines to print."""

    code: int
    lines: tuple[str, ...]


def judge(output: str, names: set[str]) -> Verdict:
    """The verdict on pip-audit's JSON about the packages ``names``."""
    try:
        rows: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return Verdict(
            NOT_AUDITED,
            ("not audited: pip-audit gave no answer; is there a network? Nothing is known.",),
        )
    bad = [
        f"{row['name']} {row['version']}: {one['id']}, fixed in "
        f"{', '.join(one['fix_versions']) or 'no version yet'}"
        for row in rows
        for one in row.get("vulns", ())
    ]
    asked = {row["name"] for row in rows if "skip_reason" not in row}
    unknown = sorted(names - asked)
    lines = list(bad)
    if unknown:
        lines.append(
            f"not audited: {len(unknown)} of {len(names)} packages could not be looked up "
            f"({', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}); "
            "is the index of advisories reachable?"
        )
    if bad:
        return Verdict(VULNERABLE, (*lines, "raise them: make lock ARGS=--upgrade, then test"))
    if unknown:
        return Verdict(NOT_AUDITED, tuple(lines))
    return Verdict(CLEAN, (f"{len(names)} packages, no known vulnerability",))


def where_it_may_fail(verdict: Verdict) -> Verdict:
    """The same verdict, but for an audit that could not be made, which is said and let pass."""
    if verdict.code != NOT_AUDITED:
        return verdict
    return Verdict(CLEAN, (f"{' '.join(verdict.lines)} (let pass; `make audit` fails)",))


def main(*, if_reachable: bool = False) -> int:
    """Audit the lock file and print the verdict; the exit code.

    With ``if_reachable`` an audit that could not be made is no failure.
    """
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    command += ["--requirement", str(LOCK), "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_S, check=False)
        output = done.stdout
    except subprocess.TimeoutExpired:
        output = ""
    verdict = judge(output, {one.name for one in locked()})
    if if_reachable:
        verdict = where_it_may_fail(verdict)
    print("\n".join(verdict.lines))
    return verdict.code
