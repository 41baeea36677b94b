"""``make chaos``: the mixed run by hand, ``python -m tests.chaos --sagas 10000 --seed 7``.

The same seed strikes the same faults at the same moments of the same load; what meets them is up
to the machine. With ``--report`` the figures go into docs/chaos-report.md.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import get_args

from tests.chaos.mixed import judge
from tests.chaos.mixed.faults import KINDS
from tests.chaos.mixed.plan import make_plan
from tests.chaos.mixed.report import summary, write_report
from tests.chaos.mixed.roles import forget_ids_soon
from tests.chaos.mixed.run import Outcome, run

FAULTS_MAX = 100
SHOWN_MAX = 40


def main() -> int:
    """Run as the arguments say; 1 when something did not hold."""
    arguments = _arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    faults = arguments.faults or min(FAULTS_MAX, max(len(KINDS), arguments.sagas // 50))
    only = f' --only "{arguments.only}"' if arguments.only else ""
    print(f"--seed {seed} --sagas {arguments.sagas} --faults {faults}{only}", flush=True)
    forget_ids_soon()
    # Connections that break are the point; what comes of it is judged at the end.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = arguments.keep or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        plan = make_plan(seed, arguments.sagas, faults, arguments.only)
        outcome = asyncio.run(run(plan, home, lambda line: print(line, flush=True)))
    _tell(outcome)
    if arguments.report:
        print(f"written: {write_report(outcome)}")
    return 1 if outcome.complaints else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="A mixed run under faults.")
    parser.add_argument("--seed", type=int, help="repeats a run; by chance when left out")
    parser.add_argument("--sagas", type=int, default=2000, help="how many are begun (2000)")
    parser.add_argument("--faults", type=int, help="how many strike; one for 50 sagas")
    parser.add_argument("--only", choices=sorted(KINDS), default="", help="this kind of fault only")
    parser.add_argument("--report", action="store_true", help="write docs/chaos-report.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave everything in this folder")
    return parser.parse_args()


def _tell(outcome: Outcome) -> None:
    print("\n".join(summary(outcome)))
    counts = Counter(complaint.fault for complaint in outcome.complaints)
    print(", ".join(f"{fault} {counts[fault]}" for fault in get_args(judge.Fault)))
    for complaint in outcome.complaints[:SHOWN_MAX]:
        print(f"{complaint.fault}: {complaint.what}")


if __name__ == "__main__":
    sys.exit(main())
