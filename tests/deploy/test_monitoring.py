"""Numbers, their documentation, the dashboard and the alert rules name the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from bot.operations.metrics import Metrics
from storage.database.columns import utc_now
from storage.database.enums import RoundStatus
from storage.training.rounds import RoundNumbers
from trainer.metrics import _families

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\b(?:reactune|process)_[a-z_]+[a-z]\b")
OF_PROMETHEUS = ("process_",)
SUFFIXES = ("_bucket", "_sum", "_count")


def metrics() -> dict[str, str]:
    """Return {name: type} of every metric of ours, as it is scraped."""
    numbers = RoundNumbers(dict.fromkeys(RoundStatus, 1), 1.0, 1, utc_now(), utc_now(), 0.5)
    families = [*Metrics().registry.collect(), *_families(numbers)]
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in families
        if not family.name.startswith(OF_PROMETHEUS)
    }


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(reactune_\w+)` \| (\w+) \|", text, re.MULTILINE))


def named_in(expression: str) -> set[str]:
    """Return the metrics that an expression reads, without the suffixes of histograms and the process's own."""
    names = set(NAME.findall(re.sub(r'"[^"]*"', "", expression)))
    known = metrics()
    return {
        next((name.removesuffix(s) for s in SUFFIXES if name.removesuffix(s) in known), name)
        for name in names
        if not name.startswith(OF_PROMETHEUS)
    }


def expressions() -> Iterator[str]:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def rules() -> list[dict]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def test_every_metric_is_documented_with_its_type():
    assert documented() == metrics()


def test_names_follow_the_conventions_of_prometheus():
    for name, kind in metrics().items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|percent)\b", name), name


def test_the_dashboard_shows_every_metric_and_no_other():
    shown = set().union(*(named_in(expression) for expression in expressions()))
    assert shown == set(metrics())


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        columns, lines = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in lines}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_alert_rules_read_metrics_that_exist_and_say_what_to_do():
    for rule in rules():
        assert named_in(rule["expr"]) <= set(metrics()), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "remedy"}


def test_alert_rules_add_up_several_outcomes():
    several = [rule["expr"] for rule in rules() if re.search(r'=~"\w+\|', rule["expr"])]
    assert len(several) == 2
    for expression in several:
        assert re.search(r"\bsum( without \(outcome\) )?\((rate|increase)\(", expression), expression


def test_prometheus_scrapes_the_default_ports():
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    targets = [job["static_configs"][0]["targets"] for job in config["scrape_configs"]]
    assert targets == [["127.0.0.1:9108"], ["127.0.0.1:9109"]]
    assert config["rule_files"] == ["prometheus-alerts.yml"]
