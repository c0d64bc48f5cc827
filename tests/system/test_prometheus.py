"""The shipped alert rules and dashboard, in a real Prometheus that scrapes the real pages of a busy installation."""

import json
import math
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.peers import PeerProcess, free_port, require, start_on_free_port, wait_until
from tests.worker.scripted import workplace, write_boxes
from tests.worker.watched import tally, watched
from worker.health import health_server
from worker.heartbeats import Role

pytestmark = [pytest.mark.peer]

RULES = PROJECT / "deploy" / "alerts" / "cspine.rules.yaml"
DASHBOARD = PROJECT / "deploy" / "grafana" / "cspine.json"
OPERATIONS = PROJECT / "deploy" / "OPERATIONS.md"
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: cspine
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The samples that an expression has now."""
        found = self.get("query", query=expression)
        assert found["resultType"] == "vector", expression
        return [(sample["metric"], float(sample["value"][1])) for sample in found["result"]]

    def scrapes(self) -> int:
        """How often the target was scraped so far."""
        return int(sum(value for _, value in self.query("count_over_time(cspine_build_info[10m])")))

    def wait_for_scrapes(self, count: int) -> None:
        """Return after this many further scrapes."""
        until = self.scrapes() + count
        wait_until(lambda: self.scrapes() >= until, 60, "scrapes")


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Prometheus]:
    """Run Prometheus with the shipped rules; it scrapes ``target`` every second."""
    program = require("prometheus")
    folder.mkdir()
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, port=target))

    def attempt(port: int) -> tuple[PeerProcess, Callable[[], bool]]:
        command = [str(program), f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        return PeerProcess(command, folder / "prometheus.log"), lambda: is_ready(port)

    process, port = start_on_free_port(attempt)
    try:
        yield Prometheus(port)
    finally:
        process.stop()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that saw an installation before and after its clerk counted what had happened."""
    folder = tmp_path_factory.mktemp("seen")
    write_boxes(folder / "boxes")
    with workplace(folder / "template") as made:
        made.receive(folder / "boxes")
        made.analyzer().analyze(*made.complete())
    with watched(folder / "template", folder / "watched", counted=False) as place:
        settings = replace(place.settings, health_port=free_port(), destinations_file=destinations(folder))
        server = health_server(settings, Role.CONSOLE, place.database, lambda: True)
        server.start()
        try:
            with prometheus(folder / "prometheus", settings.health_port or 0) as running:
                wait_until(lambda: running.scrapes() >= 2, 60, "two scrapes")
                tally(place)
                running.wait_for_scrapes(4)
                yield running
        finally:
            server.stop()


def destinations(folder: Path) -> Path:
    path = folder / "destinations.toml"
    path.write_text('[[destination]]\nname = "pacs"\npeer = "PACS@127.0.0.1:104"\n')
    return path


def dashboard_queries() -> list[tuple[str, str]]:
    """Title and expression of every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize(("title", "expression"), dashboard_queries())
def test_every_query_of_the_dashboard_has_data(seen: Prometheus, title: str, expression: str) -> None:
    expression = expression.replace("$__range", "5m").replace("$__rate_interval", "1m")
    assert "$" not in expression
    samples = seen.query(expression)
    assert samples, title
    assert all(math.isfinite(value) for _, value in samples), (title, samples)


def rules_of(running: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in running.get("rules")["groups"] for rule in group["rules"]]


def test_every_rule_is_evaluated_and_everything_that_it_asks_for_has_data(seen: Prometheus) -> None:
    rules = rules_of(seen)
    assert len(rules) > 15
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    selectors = {
        selector for rule in rules for selector in re.findall(r"cspine[a-z0-9_:]+(?:\{[^}]*\})?", rule["query"])
    }
    assert len(selectors) > 15
    assert [selector for selector in sorted(selectors) if not seen.query(selector)] == []
    assert [rule["name"] for rule in rules if rule["type"] == "recording" and not seen.query(rule["name"])] == []


def test_the_alert_of_what_is_wrong_here_is_pending_and_says_what_to_do(seen: Prometheus) -> None:
    alerts = {alert["labels"]["alertname"]: alert for alert in seen.get("alerts")["alerts"]}
    assert set(alerts) <= {"CspineListenerDown", "CspineDiskLow"}  # no listener beats here; the disk is the machine's
    assert alerts["CspineListenerDown"]["state"] in {"pending", "firing"}
    assert alerts["CspineListenerDown"]["annotations"]["next_step"].startswith("Start it")


def test_every_alert_has_a_summary_a_next_step_and_a_place_in_the_documents(seen: Prometheus) -> None:
    headings = {
        re.sub(r"[^a-z ]", "", line.lower()).strip().replace(" ", "-") for line in OPERATIONS.read_text().splitlines()
    }
    for rule in rules_of(seen):
        if rule["type"] == "alerting":
            annotations = rule["annotations"]
            assert set(annotations) == {"summary", "next_step", "runbook"}, rule["name"]
            document, _, anchor = annotations["runbook"].partition("#")
            assert PROJECT / document == OPERATIONS
            assert anchor in headings, rule["name"]
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([require("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_promtool_finds_the_rules_good() -> None:
    checked = promtool("check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stderr


def test_each_alert_fires_for_its_trouble_and_none_when_all_is_well(tmp_path: Path) -> None:
    tests = RULES.with_name("cspine.rules.test.yaml")
    checked = promtool("test", "rules", str(tests))
    assert checked.returncode == 0, checked.stderr
    named = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert named == {name for name in named if name in tests.read_text()}
    for path in (tests, RULES):  # the test notices when an alert says something else
        (tmp_path / path.name).write_text(path.read_text().replace("values: '0.2x120'", "values: '0.1x120'"))
    assert promtool("test", "rules", str(tmp_path / tests.name)).returncode != 0
