"""``python -m tests.supply audit [--if-reachable]`` and ``sbom``."""

from __future__ import annotations

import sys

from tests.supply import audit


def main() -> int:
    """Do what the only argument says; the exit code."""
    match sys.argv[1:]:
        case ["audit"]:
            return audit.main()
        case ["audit", "--if-reachable"]:
            return audit.main(if_reachable=True)
        case ["sbom"]:
            from tests.supply import sbom

            print(f"wrote {sbom.write()}")
            return 0
        case _:
            print("say audit, audit --if-reachable or sbom")
            return 2


if __name__ == "__main__":
    sys.exit(main())
