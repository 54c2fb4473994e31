"""The alert rules: valid, each proved to fire and to stay quiet, about metrics that exist, and with advice for each.

Not here: Prometheus as it runs (`test_prometheus`).
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from homeostat.monitoring.metrics import Metrics
from tests.system.prometheus import CASES, EXAMPLE, RULES, find_program

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"


def promtool(*arguments: object) -> str:
    """Run promtool, and return what it says; fail with that if it finds fault."""
    command = [find_program("promtool"), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def read_rules() -> dict[str, dict[str, Any]]:
    """Return every alert by its name."""
    groups = msgspec.yaml.decode(RULES.read_bytes())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def metrics_of(expression: str) -> set[str]:
    """Return the families whose series a rule names."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"homeostat_\w+", expression)}


def test_the_rules_and_the_example_are_valid() -> None:
    assert f"{len(read_rules())} rules found" in promtool("check", "rules", RULES)
    assert "valid" in promtool("check", "config", "--syntax-only", EXAMPLE)


def test_every_case_of_the_rules_comes_out_as_written() -> None:
    promtool("test", "rules", CASES)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_stays_quiet() -> None:
    cases = [case for test in msgspec.yaml.decode(CASES.read_bytes())["tests"] for case in test["alert_rule_test"]]
    found = {(case["alertname"], bool(case["exp_alerts"])) for case in cases}

    assert found == {(name, fires) for name in read_rules() for fires in (True, False)}


def test_every_metric_that_a_rule_names_is_one_that_the_service_shows() -> None:
    shown = {f.name + ("_total" if f.type == "counter" else "") for f in Metrics().registry.collect()}
    # In the texts as well: they look up figures of their own.
    named = metrics_of(RULES.read_text())

    assert len(named) > 10
    assert named <= shown


def test_every_alert_says_how_bad_it_is_what_has_happened_and_what_to_do() -> None:
    headings = {line.lstrip("# ").lower() for line in RUNBOOK.read_text().splitlines() if line.startswith("###")}
    for name, rule in read_rules().items():
        told = rule["annotations"]

        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert told["summary"].endswith(".")
        assert "{{" in told["description"]
        assert told["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert name.lower() in headings
