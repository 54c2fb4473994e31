"""POST /v1/predict: normal rows are answered and kept, impossible rows are refused by name, and nothing is a 500."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sqlalchemy import func, select

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.monitoring.entries import label_from_text
from homeostat.project import Project
from homeostat.store.tables import predictions, rejections
from homeostat.training.scoring import Graph
from homeostat.web.server import Server

Row = dict[str, Any]


def count_rows(project: Project) -> tuple[int, int]:
    with project.database.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) for table in (predictions, rejections)]
    return counts[0] or 0, counts[1] or 0


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """Assert an RFC 9457 answer with our three parts, and return it."""
    problem: Mapping[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(problem[part] for part in ("type", "title", "detail", "expected", "action"))
    return problem


def test_a_normal_row_is_answered_by_the_release_in_production(client: httpx.Client, server: Server, row: Row) -> None:
    live = server.worker.require_live()

    answer = client.post("/v1/predict", json=row).json()

    cells = {name: None if value is None else float(value) for name, value in row.items()}
    assert answer["probability"] == float(live.graph.score(stack_rows([cells], live.schema))[0])
    assert answer["release"] == live.digest
    assert answer["label"] == int(answer["probability"] >= 0.5)


def test_an_answered_row_is_in_the_log_as_it_was_sent(client: httpx.Client, project: Project, row: Row) -> None:
    answer = client.post("/v1/predict", json={**row, "BMI": None}).json()

    with project.database.read() as connection:
        kept = connection.execute(select(predictions)).one()
    assert msgspec.json.decode(kept.row) == {**row, "BMI": None}
    assert (kept.id, kept.probability, kept.release) == (answer["id"], answer["probability"], answer["release"])
    assert label_from_text(kept.label) == answer["label"]


def test_a_marker_a_null_and_any_way_to_say_missing_get_the_same_answer(client: httpx.Client, row: Row) -> None:
    answers = [client.post("/v1/predict", json={**row, "Insulin": marker}).json() for marker in (0, 0.0, None)]

    assert len({answer["probability"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("change", "column", "rule"),
    [
        ({"Age": 250}, "Age", "range"),
        ({"Age": "old"}, "Age", "number"),
        ({"Age": True}, "Age", "number"),
        ({"Age": [50]}, "Age", "number"),
        ({"Age": {"years": 50}}, "Age", "number"),
        ({"Age": -1e300}, "Age", "finite"),
        ({"Glucos": 3}, "Glucos", "unknown"),
        ({"": 3}, "", "unknown"),
    ],
)
def test_an_impossible_row_is_refused_by_column_value_and_rule(
    client: httpx.Client, row: Row, change: Row, column: str, rule: str
) -> None:
    answer = client.post("/v1/predict", json={**row, **change})

    problem = assert_is_problem(answer, 422, "row-rejected")
    found = problem["rejected"][0]
    assert (found["column"], found["value"], found["rule"]) == (column, change[column], rule)
    assert found["expected"]


def test_a_row_without_a_field_is_refused(client: httpx.Client, row: Row) -> None:
    del row["Age"]

    problem = assert_is_problem(client.post("/v1/predict", json=row), 422, "row-rejected")

    assert problem["rejected"] == [
        {"column": "Age", "value": None, "rule": "required", "expected": "the field, or null if not measured"}
    ]


def test_a_refused_row_is_kept_with_its_reasons(client: httpx.Client, project: Project, row: Row) -> None:
    client.post("/v1/predict", json={**row, "Age": 250})

    with project.database.read() as connection:
        line = connection.execute(select(rejections)).one()
    assert msgspec.json.decode(line.row) == {**row, "Age": 250}
    assert [v["column"] for v in msgspec.json.decode(line.violations)] == ["Age"]
    assert count_rows(project) == (0, 1)


def test_a_batch_is_answered_in_order_with_its_refused_rows_in_place(
    client: httpx.Client, project: Project, row: Row
) -> None:
    rows = [row, {**row, "Age": 250}, {**row, "Glucose": 90}]

    answers = client.post("/v1/predict", json={"rows": rows}).json()["predictions"]

    alone = [client.post("/v1/predict", json=one).json() for one in (rows[0], rows[2])]
    assert [answers[0]["probability"], answers[2]["probability"]] == [one["probability"] for one in alone]
    assert answers[1]["rejected"][0]["column"] == "Age"
    assert count_rows(project) == (4, 1)


def test_a_batch_of_thousands_gets_the_answers_of_single_rows(client: httpx.Client, project: Project, row: Row) -> None:
    rows = [{**row, "Glucose": 50 + place % 300} for place in range(3_000)]

    answers = client.post("/v1/predict", json={"rows": rows}).json()["predictions"]

    alone = client.post("/v1/predict", json=rows[123]).json()
    assert answers[123]["probability"] == alone["probability"]
    assert len({answer["id"] for answer in answers}) == 3_000
    assert count_rows(project) == (3_001, 0)


def test_an_empty_batch_is_answered_with_nothing(client: httpx.Client) -> None:
    assert client.post("/v1/predict", json={"rows": []}).json() == {"predictions": []}


@pytest.mark.parametrize("body", ["[]", "3", "null", '"row"', '{"rows":{}}', '{"rows":[1]}', '{"rows":[],"more":1}'])
def test_a_body_of_another_form_is_refused(client: httpx.Client, project: Project, body: str) -> None:
    assert_is_problem(client.post("/v1/predict", content=body), 400, "request-invalid")
    assert count_rows(project) == (0, 0)


NO_JSON = (
    *(b"", b" ", b"{", b"NaN", b'{"Age":NaN}', b'{"Age":1e999}', b'{"Age":Infinity}', b"\xff\xfe", b'{"\\ud800":1}'),
    *(b"[" * 200_000, b'{"a":' * 100_000, b"9" * 10_000, b'\xef\xbb\xbf{"Age":1}', b'{"Age":1}{}', b"\x00"),
)


@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:12]))
def test_a_body_that_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    assert_is_problem(client.post("/v1/predict", content=body), 400, "request-invalid")


@pytest.mark.parametrize("depth", [100, 500, 800, *range(900, 1_000, 7), 2_000])
def test_a_value_nested_to_any_depth_is_refused(client: httpx.Client, row: Row, depth: int) -> None:
    body = msgspec.json.encode(row)[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"

    answers = [client.post("/v1/predict", content=content) for content in (body, b'{"rows":[' + body + b"]}")]

    assert {answer.status_code for answer in answers} <= {200, 400, 422}
    assert answers[0].status_code != 200


def test_two_megabytes_are_refused_before_they_are_read(client: httpx.Client) -> None:
    assert_is_problem(client.post("/v1/predict", content=b" " * 2_000_000), 413, "request-too-large")


def test_a_body_without_a_length_is_cut_off_at_the_limit(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 50_000

    assert_is_problem(client.post("/v1/predict", content=endless()), 413, "request-too-large")


def test_more_rows_than_the_limit_are_refused(client: httpx.Client, project: Project) -> None:
    body = b'{"rows":[' + b",".join([b"{}"] * 10_001) + b"]}"

    problem = assert_is_problem(client.post("/v1/predict", content=body), 413, "request-too-large")

    assert problem["detail"] == "there are 10001 rows"
    assert count_rows(project) == (0, 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_that_no_float_holds_is_refused(client: httpx.Client, row: Row, sign: int) -> None:
    problem = assert_is_problem(client.post("/v1/predict", json={**row, "Age": sign * 10**400}), 422, "row-rejected")

    assert problem["rejected"][0]["rule"] == "finite"


def test_a_long_value_is_not_sent_back_whole(client: httpx.Client, row: Row) -> None:
    answer = client.post("/v1/predict", json={**row, "Age": "x" * 500_000, "y" * 300_000: 1})

    assert_is_problem(answer, 422, "row-rejected")
    assert len(answer.content) < 3_000


def test_many_unknown_fields_are_answered_at_once(client: httpx.Client, row: Row) -> None:
    answer = client.post("/v1/predict", json={**row, **{f"field {place}": place for place in range(30_000)}})

    problem = assert_is_problem(answer, 422, "row-rejected")
    assert len(problem["rejected"]) == 20
    assert answer.elapsed.total_seconds() < 5


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
def test_the_content_type_is_not_looked_at(client: httpx.Client, row: Row, kind: str) -> None:
    body = msgspec.json.encode(row)

    assert client.post("/v1/predict", content=body, headers={"content-type": kind}).status_code == 200


def test_the_last_of_two_equal_fields_counts(client: httpx.Client, row: Row) -> None:
    body = msgspec.json.encode({**row, "Age": 250})[:-1] + b',"Age":50}'

    assert client.post("/v1/predict", content=body).status_code == 200


def break_graph(server: Server) -> None:
    """Let the release that answers answer NaN to every row: no check at load lets such a one pass."""
    live = server.worker.require_live()
    model = onnx.load_from_string(open_release(find_release(live.digest, server.worker.project.blobs)).graph)
    (offset,) = (one for one in model.graph.initializer if one.name == "calibration_offset")
    offset.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(offset), np.nan), offset.name))
    server.worker.follower.live = replace(live, graph=Graph(model.SerializeToString(), live.schema))


def test_a_row_that_the_model_has_no_number_for_is_refused_and_kept(
    client: httpx.Client, server: Server, project: Project, row: Row
) -> None:
    break_graph(server)

    alone = client.post("/v1/predict", json=row)
    batch = client.post("/v1/predict", json={"rows": [row] * 10}).json()["predictions"]

    problem = assert_is_problem(alone, 422, "row-rejected")
    assert [violation["rule"] for violation in problem["rejected"]] == ["answer"]
    assert batch == [{"rejected": problem["rejected"]}] * 10
    assert count_rows(project) == (0, 11)
