"""The routes that only look: state, health, metrics and the description of the service."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.outcome_checks import append_outcome_check
from homeostat.project import Project
from homeostat.web.server import Server

Row = dict[str, Any]
LOOKING = ["/v1/status", "/v1/drift", "/v1/performance", "/v1/releases", "/v1/history", "/v1/events", "/v1/schema"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def samples(client: httpx.Client) -> dict[str, float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        s.name + "".join(f" {k}={v}" for k, v in sorted(s.labels.items())): s.value for f in families for s in f.samples
    }


@pytest.mark.parametrize("route", [*LOOKING, "/livez", "/readyz", "/readyz?verbose", "/metrics", "/docs"])
def test_every_looking_route_answers(client: httpx.Client, route: str) -> None:
    assert client.get(route).status_code == 200


@pytest.mark.parametrize("route", [*LOOKING, "/livez", "/readyz", "/metrics"])
def test_a_wrong_method_is_a_405_that_names_the_right_one(client: httpx.Client, route: str) -> None:
    answer = client.post(route)

    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method-not-allowed", "GET")


@pytest.mark.parametrize("route", ["/v1", "/v1/predict/", "/v1/nothing", "/v3/health/live", "/..%2f..%2fetc"])
def test_an_unknown_route_is_a_404_problem(client: httpx.Client, route: str) -> None:
    answer = client.get(route)

    assert (answer.status_code, answer.json()["code"]) == (404, "route-missing")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_address_alone_is_the_board(client: httpx.Client) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "The loop, now at: monitoring" in answer.text


def test_the_page_of_the_routes_needs_no_other_site(client: httpx.Client) -> None:
    page, document = client.get("/docs").text, client.get("/openapi.json").json()

    assert all(path in page for path in document["paths"])
    assert re.findall(r'(?:src|href|action)="(?!/|data:|#)', page) == []


def test_the_status_counts_what_was_kept(client: httpx.Client, row: Row) -> None:
    answered = client.post("/v1/predict", json=row).json()
    client.post("/v1/predict", json={**row, "Age": 250})
    client.post("/v1/labels", json={"id": answered["id"], "label": 1})

    status = client.get("/v1/status").json()

    assert [status["log"][kind] for kind in ("predictions", "rejections", "labels")] == [1, 1, 1]
    assert status["production"]["release"] == status["serving"]["release"] == answered["release"]
    assert (status["durability"], status["refused"], status["ready"]) == ("power-safe", None, True)


def test_the_history_and_the_releases_name_who_is_in_production(client: httpx.Client) -> None:
    promotion = client.get("/v1/history").json()["promotions"][0]
    release = client.get("/v1/releases").json()["releases"][0]

    assert (promotion["epoch"], promotion["release"], promotion["previous"]) == (1, release["digest"], None)
    assert datetime.fromisoformat(promotion["decided_at"]).tzinfo is not None


def test_the_history_tells_who_was_in_production_at_a_moment(client: httpx.Client) -> None:
    (promotion,) = client.get("/v1/history").json()["promotions"]

    asked = [
        client.get("/v1/history", params={"at": at}) for at in (promotion["decided_at"], "2001-01-01", "2999-01-01Z")
    ]

    assert asked[0].json()["promotions"] == [promotion]
    assert (asked[1].json()["at"], asked[1].json()["promotions"]) == ("2001-01-01T00:00:00Z", [])
    assert (asked[2].status_code, asked[2].json()["code"]) == (422, "parameter-invalid")


def test_the_events_can_be_read_in_parts(client: httpx.Client) -> None:
    events = client.get("/v1/events").json()["events"]

    assert client.get("/v1/events", params={"after": 1, "limit": 1}).json()["events"] == events[1:2]
    assert {e["kind"] for e in client.get("/v1/events", params={"kind": "promoted"}).json()["events"]} == {"promoted"}


@pytest.mark.parametrize("query", [{"after": -1}, {"limit": 0}, {"limit": 1_001}, {"limit": "x"}, {"after": 10**30}])
def test_a_wrong_parameter_is_a_422_that_names_it(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = client.get("/v1/events", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "parameter-invalid")
    assert next(iter(query)) in answer.json()["detail"]


def test_the_schema_is_that_of_the_release_that_answers(client: httpx.Client, project: Project) -> None:
    schema = client.get("/v1/schema").json()

    assert schema["digest"] == project.schema.digest
    assert [f["name"] for f in schema["features"]] == [f.name for f in project.schema.features]


def test_the_latest_drift_check_is_shown_and_measured(client: httpx.Client, project: Project) -> None:
    assert client.get("/v1/drift").json() == {"check": None}
    report = {"score": 0.375, "boundary": 0.3}
    with project.database.write() as connection:
        append_check(connection, report, epoch=1, window=(1, 200), release="r", now=datetime.now(UTC))

    assert client.get("/v1/drift").json()["check"]["score"] == 0.375
    assert samples(client)["homeostat_drift_score"] == 0.375


def test_the_performance_is_shown_with_what_was_expected_of_each_window(client: httpx.Client, project: Project) -> None:
    nothing = client.get("/v1/performance").json()
    figures = {"n_rows": 200, "accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}
    report, window = {"score": 0.0, "boundary": 0.3, "estimated": figures}, (1, 200)
    with project.database.write() as connection:
        append_check(connection, report, epoch=1, window=window, release="r", now=datetime.now(UTC))
        append_outcome_check(connection, {"n_outcomes": 0}, epoch=1, window=window, release="r", now=datetime.now(UTC))

    found = client.get("/v1/performance").json()

    assert (nothing["epoch"], nothing["estimated"], nothing["checks"]) == (1, None, [])
    assert found["estimated"] == {"first_seq": 1, "last_seq": 200, **figures}
    assert [(check["report"], check["estimated"]) for check in found["checks"]] == [({"n_outcomes": 0}, figures)]


def test_the_metrics_count_requests_rows_and_rules(client: httpx.Client, row: Row) -> None:
    client.post("/v1/predict", json={"rows": [row, row, {**row, "Age": 250}]})
    client.post("/v1/predict", json={**row, "Ages": 3})
    client.get("/nowhere/at/all")

    found = samples(client)

    assert found["homeostat_http_requests_total route=/v1/predict status=200"] == 1
    assert found["homeostat_http_requests_total route=none status=404"] == 1
    assert found["homeostat_http_errors_total code=row-rejected"] == 1
    assert sum(v for k, v in found.items() if k.startswith("homeostat_predictions_total")) == 2
    assert found["homeostat_rejected_rows_total"] == 2
    assert found["homeostat_rule_violations_total column=Age rule=range"] == 1
    assert found["homeostat_rule_violations_total column= rule=unknown"] == 1


def test_the_metrics_name_the_release_and_time_the_commits(client: httpx.Client, row: Row) -> None:
    release = client.post("/v1/predict", json=row).json()["release"]

    found = samples(client)

    assert found[f"homeostat_release_info digest={release} epoch=1"] == 1
    assert found["homeostat_log_commit_duration_seconds_count"] == 1
    assert found["homeostat_release_swaps_total"] == 1


def test_a_promoted_release_answers_without_a_restart(
    client: httpx.Client, row: Row, promote_copy: Callable[[str], str]
) -> None:
    digest = promote_copy("a copy")

    wait_for(lambda: client.get("/v1/status").json()["serving"]["release"] == digest)

    assert client.post("/v1/predict", json=row).json()["release"] == digest


def test_a_refused_release_is_named_and_the_old_one_stays_ready(
    client: httpx.Client, server: Server, row: Row, promote_missing: Callable[[], str]
) -> None:
    before = server.worker.require_live().digest
    digest = promote_missing()

    wait_for(lambda: client.get("/readyz?verbose").json()["refused"] is not None)

    ready = client.get("/readyz?verbose")
    assert (ready.status_code, ready.json()["refused"]["release"]) == (200, digest)
    assert ready.json()["refused"]["code"] == "release-missing"
    assert client.post("/v1/predict", json=row).json()["release"] == before


def test_while_it_drains_the_service_is_alive_but_not_ready(client: httpx.Client, server: Server, row: Row) -> None:
    server.worker.drain()

    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz?verbose").json()["obstacles"] == ["the process is shutting down"]
    assert client.post("/v1/predict", json=row).status_code == 200


def test_the_description_shows_the_rows_of_this_project(client: httpx.Client, project: Project) -> None:
    predict = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]

    row, batch = predict["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert list(row["properties"]) == [f.name for f in project.schema.features]
    assert batch["properties"]["rows"]["items"]["anyOf"][0] == row
    assert {"200", "400", "401", "403", "413", "422", "429", "503"} == set(predict["responses"])


def test_the_description_refers_to_nothing_that_is_missing(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")

    names = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.text))
    assert names <= set(answer.json()["components"]["schemas"])
    assert names


def test_every_route_is_described_with_a_summary(client: httpx.Client) -> None:
    def operations() -> Iterator[dict[str, Any]]:
        for path in client.get("/openapi.json").json()["paths"].values():
            yield from path.values()

    assert len(list(operations())) == 31
    assert all(operation["summary"] and operation["tags"] for operation in operations())
