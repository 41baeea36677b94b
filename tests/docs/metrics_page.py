"""The table of metrics in docs/metrics.md, made from the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Info

from server.metrics.catalog import Catalog

METRICS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->)", re.DOTALL)
SUFFIXES = {"counter": "_total", "info": "_info"}


def metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and meaning of each metric of ours, in the order of the catalogue."""
    for metric in vars(Catalog()).values():
        if isinstance(metric, Counter | Gauge | Histogram | Info):
            own: Any = metric  # what it was made with is not public
            name = own._name + SUFFIXES.get(own._type, "")
            yield name, own._type, own._labelnames, own._documentation


def metrics_page() -> str:
    """The page with its table as it should be."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, meaning in metrics():
        rows.append(f"| `{name}` | {kind} | {', '.join(labels)} | {meaning} |")
    table = "\n".join(rows) + "\n"
    text = METRICS.read_text(encoding="utf-8")
    return TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", text)
