"""POST /v1/labels: recorded, repeated, conflicting, unknown and invalid outcomes are told apart."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from homeostat.project import Project
from homeostat.store.tables import labels

Row = dict[str, Any]


@pytest.fixture
def prediction(client: httpx.Client, row: Row) -> str:
    return str(client.post("/v1/predict", json=row).json()["id"])


def stored(project: Project) -> dict[str, str]:
    with project.database.read() as connection:
        return {line.prediction: line.label for line in connection.execute(select(labels))}


def test_an_outcome_is_recorded_once(client: httpx.Client, project: Project, prediction: str) -> None:
    answers = [client.post("/v1/labels", json={"id": prediction, "label": 1}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["status"] for answer in answers] == ["recorded", "repeated"]
    assert stored(project) == {prediction: "1"}


def test_a_conflicting_outcome_is_a_409_with_both(client: httpx.Client, project: Project, prediction: str) -> None:
    client.post("/v1/labels", json={"id": prediction, "label": 1})

    answer = client.post("/v1/labels", json={"id": prediction, "label": 0})

    assert (answer.status_code, answer.json()["code"]) == (409, "label-conflicting")
    assert answer.json()["outcome"] == {"id": prediction, "status": "conflicting", "label": 0, "standing": 1}
    assert stored(project) == {prediction: "1"}


def test_an_unknown_id_is_a_404(client: httpx.Client) -> None:
    answer = client.post("/v1/labels", json={"id": "nobody", "label": 1})

    assert (answer.status_code, answer.json()["code"]) == (404, "label-unknown")


@pytest.mark.parametrize("value", [2, "1", True, None, 0.5, [1], {"a": 1}, "x" * 5_000])
def test_a_value_outside_the_target_is_a_422(client: httpx.Client, prediction: str, value: object) -> None:
    answer = client.post("/v1/labels", json={"id": prediction, "label": value})

    assert (answer.status_code, answer.json()["code"]) == (422, "label-invalid")
    assert answer.json()["expected"] == "0 or 1"


def test_many_outcomes_are_each_answered_in_their_place(
    client: httpx.Client, project: Project, prediction: str
) -> None:
    sent = [(prediction, 0), ("nobody", 1), (prediction, 1), (prediction, "no"), (prediction, 0)]

    answer = client.post("/v1/labels", json={"labels": [{"id": one, "label": label} for one, label in sent]})

    assert answer.status_code == 200
    assert [outcome["status"] for outcome in answer.json()["outcomes"]] == [
        "recorded",
        "unknown",
        "conflicting",
        "invalid",
        "repeated",
    ]
    assert stored(project) == {prediction: "0"}


FORMLESS = (
    *(
        "[]",
        "{}",
        '{"id":1,"label":1}',
        '{"id":"a"}',
        '{"id":"a","label":1,"more":2}',
        '{"labels":{}}',
        '{"labels":[1]}',
    ),
    *('{"labels":[{"id":"a"}]}', '{"labels":[],"id":"a"}', "", "NaN", '{"id":"a","label":' + "[" * 100_000),
)


@pytest.mark.parametrize("body", FORMLESS, ids=lambda body: body[:30])
def test_a_body_of_another_form_records_nothing(client: httpx.Client, project: Project, body: str) -> None:
    answer = client.post("/v1/labels", content=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "request-invalid")
    assert stored(project) == {}


@pytest.mark.parametrize("depth", [100, 500, *range(900, 1_000, 3)])
def test_a_label_nested_to_any_depth_is_refused(client: httpx.Client, prediction: str, depth: int) -> None:
    body = '{"id":"%s","label":%s}' % (prediction, "[" * depth + "]" * depth)  # noqa: UP031  braces are the content

    assert client.post("/v1/labels", content=body).status_code in {400, 422}


def test_more_outcomes_than_the_limit_are_refused(client: httpx.Client) -> None:
    sent = [{"id": "a", "label": 1}] * 10_001

    assert client.post("/v1/labels", json={"labels": sent}).status_code == 413


def test_thousands_of_outcomes_are_recorded_in_one_request(client: httpx.Client, project: Project, row: Row) -> None:
    answered = client.post("/v1/predict", json={"rows": [row] * 2_000}).json()["predictions"]

    sent = [{"id": one["id"], "label": one["label"]} for one in answered] + [{"id": new_id(), "label": 1}]
    outcomes = client.post("/v1/labels", json={"labels": sent}).json()["outcomes"]

    assert [o["status"] for o in outcomes] == ["recorded"] * 2_000 + ["unknown"]
    assert len(stored(project)) == 2_000


def new_id() -> str:
    return "018bcfe5-687b-7c5e-9a3f-0d6f7e1c2b4a"


def test_an_id_with_any_characters_is_only_unknown(client: httpx.Client) -> None:
    for odd in ("", "\x00", "'; DROP TABLE labels; --", "../../etc/passwd", "\U0001f600"):
        assert client.post("/v1/labels", json={"id": odd, "label": 1}).status_code == 404
