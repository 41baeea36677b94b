"""Goal: alerts and dashboard ask for figures that exist, and each alert leads to its runbook.

Method: the files are read as Prometheus and Grafana read them; every name in every query must be a
metric of the catalogue, one of its labels, or a word of the query language.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.metrics_page import metrics

ROOT = Path(__file__).resolve().parents[1]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")

# Given by Prometheus itself to whatever it scrapes.
OF_PROMETHEUS = {"up": ("job", "instance")}
EVERYWHERE = {"job", "instance"}
WORDS = {"sum", "max", "by", "rate", "increase", "histogram_quantile", "or", "and"}
LABELS: dict[str, tuple[str, ...]] = {name: labels for name, _, labels, _ in metrics()}
LABELS |= {
    f"{name}_bucket": (*labels, "le") for name, kind, labels, _ in metrics() if kind == "histogram"
}
LABELS |= OF_PROMETHEUS
KINDS = {name: kind for name, kind, *_ in metrics()}

TOKEN = re.compile(
    r"(?P<text>\"[^\"]*\")|(?P<range>\[(?:\d+[smh]|\$__rate_interval)\])|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[a-z_]+)|(?P<sign>==|!=|=~|!~|[-+*/<>=(){},])|(?P<space>\s+)"
)


def _tokens(query: str) -> list[tuple[str, str]]:
    found, place = [], 0
    while place < len(query):
        token = TOKEN.match(query, place)
        assert token is not None, f"{query!r}: {query[place:]!r} is no part of a query"
        assert token.lastgroup is not None
        if token.lastgroup != "space":
            found.append((token.lastgroup, token[0]))
        place = token.end()
    return found


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
def test_a_query_asks_for_what_there_is(query: str) -> None:
    tokens = _tokens(query)
    signs = [text for kind, text in tokens if kind == "sign"]
    for opening, closing in ("()", "{}"):
        assert signs.count(opening) == signs.count(closing)
    names = [text for kind, text in tokens if kind == "name"]
    asked = {name for name in names if name in LABELS}
    assert asked, "no metric in it"
    known = EVERYWHERE.union(*(LABELS[name] for name in asked))
    assert set(names) - asked - WORDS <= known


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
def test_counters_are_asked_for_their_growth_and_gauges_are_not(query: str) -> None:
    for name in re.findall(r"snorri_[a-z_]+", query):
        grows = name.endswith(("_total", "_bucket"))
        rated = re.search(rf"(?:rate|increase)\({name}\b", query) is not None
        assert grows is rated, name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    section = re.search(rf"^## {name}\n\n(.+?)(?=\n## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert len(section[1]) > 150
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        grouped = re.search(r"by \(([a-z, ]+)\)", rule["expr"])
        assert label in (grouped[1].split(", ") if grouped else EVERYWHERE)
        assert grouped is not None or not rule["expr"].startswith(("sum", "max")), label


def test_runbooks_are_of_alerts_and_name_what_exists() -> None:
    sections = set(re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE))
    assert sections == {rule["alert"] for rule in RULES}
    anchors = {section.lower() for section in sections}
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOKS)) <= anchors


def test_the_dashboard_is_one_that_can_be_imported() -> None:
    assert BOARD["uid"] == "snorri"
    assert [one["name"] for one in BOARD["templating"]["list"]] == ["datasource"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"]
    taken = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in BOARD["panels"]]
    assert len(set(taken)) == len(taken)
