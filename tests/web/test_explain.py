"""POST /v1/explain as a program meets it: what it answers, what it refuses, and what it leaves behind (nothing)."""

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.keys import create_key
from homeostat.web.listening import listen
from homeostat.web.server import build_server
from tests.retraining.clinic import SETTINGS, put_in_production, register_another, write_project

Row = dict[str, Any]
ROW: Row = {"age": 70, "dose": 25.0, "city": "C"}


@dataclass(frozen=True, slots=True)
class Served:
    """A clinic that is served: a client of it, its folder, and the digests of its two releases, the older first."""

    client: httpx.Client
    folder: Path
    live: str
    other: str


def serve(folder: Path) -> Iterator[httpx.Client]:
    with open_project(folder) as project:
        server = build_server(project)
        listener = listen("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield client
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests here: explaining changes nothing."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project", settings=SETTINGS)
    with open_project(folder) as project:
        live = put_in_production(project).release
        other = register_another(project, penalty=0.01)
    for client in serve(folder):
        yield Served(client, folder, live, other)


def explain(served: Served, body: object) -> httpx.Response:
    return served.client.post("/v1/explain", json=body)


def explained(served: Served, body: object) -> Json:
    answer = explain(served, body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def summed(told: Json) -> float:
    return float(told["base"] + sum(part["contribution"] for part in told["contributions"]))


# --- what is answered ---------------------------------------------------------------------------------------------


def test_a_row_is_explained_as_it_is_predicted(served: Served) -> None:
    predicted = served.client.post("/v1/predict", json=ROW).json()

    told = explained(served, ROW)

    assert {name: told[name] for name in ("probability", "label", "release")} == {
        name: predicted[name] for name in ("probability", "label", "release")
    }
    assert summed(told) == pytest.approx(told["log_odds"])
    assert {part["feature"]: part["value"] for part in told["contributions"]} == ROW
    assert told["sentence"].startswith("The probability is ")


def test_many_rows_are_explained_in_order_and_an_impossible_one_is_told_in_its_place(served: Served) -> None:
    told = explained(served, {"rows": [ROW, {**ROW, "age": 999}, {**ROW, "city": None}]})["explanations"]

    assert told[0] == explained(served, ROW)
    assert told[1] == {
        "rejected": [
            {
                "column": "age",
                "value": 999,
                "rule": "range",
                "expected": "0 to 120, -1 or null if not measured",
            }
        ]
    }
    assert [part["missing"] for part in told[2]["contributions"] if part["feature"] == "city"] == [True]


def test_no_rows_have_no_explanations(served: Served) -> None:
    assert explained(served, {"rows": []}) == {"explanations": []}


def test_a_stored_prediction_is_explained_by_the_release_that_answered_it(served: Served) -> None:
    predicted = served.client.post("/v1/predict", json=ROW).json()

    told = explained(served, {"id": predicted["id"]})

    assert told["id"] == predicted["id"]
    assert told["answered"]["probability"] == told["probability"] == predicted["probability"]
    assert told["answered"]["release"] == told["release"] == predicted["release"]


@pytest.mark.parametrize("name", ["2", "digest", "beginning"])
def test_another_release_is_named_by_number_or_digest(served: Served, name: str) -> None:
    names = {"digest": served.other, "beginning": served.other[:16]}

    assert explained(served, {**ROW, "release": names.get(name, name)})["release"] == served.other


def test_two_releases_are_compared_and_the_parts_sum_to_the_change(served: Served) -> None:
    told = explained(served, {**ROW, "compare": "2"})
    change = told["change"]

    assert (told["release"], told["compare"]["release"]) == (served.live, served.other)
    assert (change["from"], change["to"]) == (served.live, served.other)
    assert change["log_odds"] == pytest.approx(told["compare"]["log_odds"] - told["log_odds"])
    assert change["base"] + sum(one["difference"] for one in change["differences"]) == pytest.approx(change["log_odds"])
    assert change["sentence"].startswith(f"From release {served.live[:12]} to {served.other[:12]} the probability ")


def test_a_stored_prediction_can_be_compared_with_what_another_release_says(served: Served) -> None:
    predicted = served.client.post("/v1/predict", json=ROW).json()

    told = explained(served, {"id": predicted["id"], "compare": "2"})

    assert told["change"] == explained(served, {**ROW, "compare": "2"})["change"]


def test_of_many_rows_each_is_compared(served: Served) -> None:
    told = explained(served, {"rows": [ROW, {**ROW, "age": 30}], "release": "2", "compare": "1"})["explanations"]

    assert [one["change"]["to"] for one in told] == [served.other] * 2


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_single_impossible_row_is_422_with_its_reasons(served: Served) -> None:
    answer = explain(served, {**ROW, "dose": "much", "color": "red"})

    assert (answer.status_code, answer.json()["code"]) == (422, "row-rejected")
    assert [(one["column"], one["value"]) for one in answer.json()["rejected"]] == [("dose", "much"), ("color", "red")]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": "nobody"}, 404, "prediction-missing"),
        ({**ROW, "release": "77"}, 404, "release-missing"),
        ({"rows": [ROW], "compare": "77"}, 404, "release-missing"),
        ({**ROW, "release": 1}, 400, "request-invalid"),
        ({**ROW, "compare": ""}, 400, "request-invalid"),
        ({"id": 7}, 400, "request-invalid"),
        ({"id": "a", "age": 3}, 400, "request-invalid"),
        ({"rows": [ROW], "id": "a"}, 400, "request-invalid"),
        ({"rows": ROW}, 400, "request-invalid"),
        ({"rows": [3]}, 400, "request-invalid"),
        ([ROW], 400, "request-invalid"),
        ({"rows": [ROW] * 101}, 413, "request-too-large"),
        ({"rows": [{"age": "x" * 1_000_001}]}, 413, "request-too-large"),
        ({}, 422, "row-rejected"),
    ],
)
def test_what_cannot_be_explained_is_refused_with_a_reason(served: Served, body: Any, status: int, code: str) -> None:
    answer = explain(served, body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("value", ["[" * 400 + "]" * 400, "1" + "0" * 400, "9223372036854775808", '"\\ud800"', "1e999"])
def test_no_value_makes_it_fail(served: Served, value: str) -> None:
    answer = served.client.post("/v1/explain", content=f'{{"age": {value}, "dose": 1, "city": {value}}}'.encode())

    assert answer.status_code in {400, 422}


def test_where_only_the_service_is_installed_it_is_501_with_what_to_do(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)

    answer = explain(served, ROW)

    assert (answer.status_code, answer.json()["code"]) == (501, "explainer-missing")
    assert "homeostat[train]" in answer.json()["action"]


# --- what is left behind ------------------------------------------------------------------------------------------


def test_an_explained_row_is_no_prediction_and_no_rejection(served: Served) -> None:
    def count() -> list[int]:
        with open_project(served.folder) as project, project.database.read() as connection:
            return [
                connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()  # noqa: S608  literal names
                for table in ("predictions", "rejections", "events")
            ]

    before = count()

    explain(served, ROW)
    explain(served, {**ROW, "age": 999})
    explain(served, {"rows": [ROW, {}]})

    assert count() == before


def test_a_key_explains_with_its_own_scope_and_within_its_quota(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    with open_project(folder) as project:
        put_in_production(project)
        with project.database.write() as connection:
            now = datetime.now(UTC)
            token = create_key(connection, "t", frozenset({"explain"}), rows_per_minute=3, now=now)[1]
            other = create_key(connection, "t", frozenset({"predict", "read", "label"}), now=now)[1]

    for client in serve(folder):
        own, foreign = ({"Authorization": f"Bearer {one}"} for one in (token, other))
        statuses = [
            client.post("/v1/explain", json=ROW, headers=foreign).status_code,
            client.post("/v1/predict", json=ROW, headers=own).status_code,
            client.post("/v1/explain", json={"rows": [ROW] * 3}, headers=own).status_code,
            client.post("/v1/explain", json=ROW, headers=own).status_code,
        ]

    assert statuses == [403, 403, 200, 429]
