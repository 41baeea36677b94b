"""Goal: every metric stands on its page with what it means, and every alert names real ones.

Method: the page against what the catalogue gives; the events of the live view against their page.
"""

from __future__ import annotations

import re

from sagas.instance import STATUS_TRANSITIONS
from server.live.changes import CHANGE_NAMES, change_names
from server.live.channel import KEPT_EVENTS
from server.live.limits import Limits
from server.live.replay import REPLAY_MAX
from tests.docs.metrics_page import METRICS, metrics, metrics_page

PREFIX = "snorri_"


def test_the_table_is_current() -> None:
    assert METRICS.read_text(encoding="utf-8") == metrics_page(), "run `make docs`"


def test_names_and_units_follow_the_conventions() -> None:
    for name, kind, labels, meaning in metrics():
        assert name.startswith(PREFIX)
        assert name.endswith("_total") is (kind == "counter")
        assert meaning
        assert not {"key", "instance", "id"} & set(labels)


def test_queries_name_metrics_that_exist() -> None:
    known = {name for name, *_ in metrics()}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    named = set(re.findall(r"\bsnorri_\w+", METRICS.read_text(encoding="utf-8")))
    assert named <= known, named - known


def test_the_live_page_is_true() -> None:
    page = METRICS.with_name("live.md").read_text(encoding="utf-8")
    for name in {name for status in STATUS_TRANSITIONS for name in change_names("x", status)}:
        assert f"`saga:{name}`" in page
    assert "`saga:started`" in page
    assert set(CHANGE_NAMES.values()) <= set(STATUS_TRANSITIONS)
    limits = Limits()
    for number in (
        KEPT_EVENTS,
        REPLAY_MAX,
        limits.streams_max,
        limits.streams_of_address_max,
        limits.heartbeat_s,
        limits.write_s,
        limits.life_s / 60,
    ):
        assert f"{number:,g}" in page or f"{number:,.0f}" in page, number
