"""What stands in deploy/ must know the names that the product serves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from cronsched.core import clock
from cronsched.metrics import InstallationCollector
from jobs.engine import metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
_NAME = re.compile(r"cronsched_[a-z_]+")


def served() -> set[str]:
    registry = CollectorRegistry()
    registry.register(InstallationCollector(now=clock.now()))
    families = [*registry.collect(), *metrics.REGISTRY.collect()]
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


@pytest.mark.django_db
def test_the_alert_rules_ask_for_what_is_served():
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]

    asked = {name for rule in rules for name in _NAME.findall(rule["expr"])}
    assert asked
    assert asked <= served()
    assert all({"summary", "action"} <= set(rule["annotations"]) for rule in rules)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not here")
def test_the_alerts_fire_when_they_should_and_only_then():
    subprocess.run(
        ["promtool", "test", "rules", "alerts.test.yml"], cwd=DEPLOY / "prometheus", check=True, timeout=60
    )


@pytest.mark.django_db
def test_the_dashboard_asks_for_what_is_served():
    board = json.loads((DEPLOY / "grafana/cronsched.json").read_text())

    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in _NAME.findall(expression)}
    assert len(board["panels"]) == len({panel["id"] for panel in board["panels"]})
    assert asked
    assert asked <= served()


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").iterdir()))
def test_a_units_documentation_is_where_the_unit_expects_the_checkout(unit: str):
    text = (DEPLOY / "systemd" / unit).read_text()

    [named] = re.findall(r"^Documentation=file:/opt/cronsched/(.+)$", text, re.MULTILINE)
    assert (DEPLOY.parent / named).is_file()
    assert "WorkingDirectory=/opt/cronsched\n" in text


@pytest.mark.skipif(not (DEPLOY.parent / ".git").exists(), reason="a copy without git")
def test_git_ignores_the_files_in_which_compose_keeps_secrets():
    compose = (DEPLOY.parent / "compose.yaml").read_text()
    holders = {*re.findall(r"env_file: (\S+)", compose), *re.findall(r"--env-file (\S+)", compose)}

    assert holders == {"deploy/docker.env", ".env.compose"}
    run = ["git", "check-ignore", *holders]
    ignored = subprocess.run(run, cwd=DEPLOY.parent, capture_output=True, text=True).stdout.split()
    assert set(ignored) == holders
