"""What the Open Inference Protocol refuses, over HTTP: in its one form of error, and keeping the impossible alone."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from sqlalchemy import func, select
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from homeostat.project import Project
from homeostat.store.tables import predictions, rejections
from tests.web.infer_requests import INFER, Row, to_inputs, to_json, to_table


def count_rows(project: Project) -> tuple[int, int]:
    with project.database.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) for table in (predictions, rejections)]
    return counts[0] or 0, counts[1] or 0


def assert_is_refusal(answer: httpx.Response, status: int, *words: str) -> None:
    """Assert the one form of error that the protocol has."""
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert all(word in answer.json()["error"] for word in words)


def test_an_impossible_row_refuses_the_whole_by_row_column_value_and_rule(
    triton: InferenceServerClient, project: Project, rows: list[Row]
) -> None:
    rows[1]["Age"] = 250

    with pytest.raises(InferenceServerException) as refusal:
        triton.infer("pima", to_inputs(to_table(rows)))

    assert refusal.value.status() == "400"
    assert all(word in refusal.value.message() for word in ("row 1", "Age", "250", "'range'", "0 to 150"))
    assert count_rows(project) == (0, 1)


def test_the_impossible_rows_alone_are_kept_with_their_reasons(
    client: httpx.Client, project: Project, rows: list[Row]
) -> None:
    rows[1]["Age"], rows[2]["BMI"] = 250, float("inf")

    client.post(INFER, content=msgspec.json.encode(to_json(to_table(rows[:2]))))

    with project.database.read() as connection:
        line = connection.execute(select(rejections)).one()
    assert msgspec.json.decode(line.row) == rows[1]
    assert [(v["column"], v["rule"]) for v in msgspec.json.decode(line.violations)] == [("Age", "range")]


def test_infinity_in_a_tensor_is_refused_by_its_name(triton: InferenceServerClient, rows: list[Row]) -> None:
    rows[2]["BMI"] = np.inf

    with pytest.raises(InferenceServerException, match=r"row 2 .*BMI is inf.*finite"):
        triton.infer("pima", to_inputs(to_table(rows)))


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/v2/models/other/infer", "'other'"),
        ("/v2/models/pima/versions/1/infer", "'1'"),
        ("/v2/models/%7Bname%7D/infer", "{name}"),
        (f"/v2/models/pima/versions/{'0' * 64}/infer", "0" * 64),
    ],
)
def test_another_model_or_version_is_missing(client: httpx.Client, rows: list[Row], path: str, word: str) -> None:
    body = to_json(to_table(rows))

    assert_is_refusal(client.post(path, json=body), 404, word)
    assert_is_refusal(client.get(path.removesuffix("/infer")), 404, word)
    assert client.get(path.removesuffix("infer") + "ready").status_code == 404


Change = Callable[[dict[str, Any]], object]
NO_REQUEST: list[tuple[Change, str]] = [
    (lambda body: body.pop("inputs"), "inputs"),
    (lambda body: body["inputs"].pop(), "no column 'Age'"),
    (lambda body: body["inputs"].append(body["inputs"][0]), "twice"),
    (lambda body: body["inputs"].append({**body["inputs"][0], "name": "Ages"}), "Ages"),
    (lambda body: body["inputs"][0].update(shape=[2]), "3 elements"),
    (lambda body: body["inputs"][0].update(shape=[3, 2]), "[3, 2]"),
    (lambda body: body["inputs"][0].update(shape=[-3]), "[-3]"),
    (lambda body: body["inputs"][0].update(shape=[]), "[]"),
    (lambda body: body["inputs"][0].update(shape=[3, 1, 1]), "[3, 1, 1]"),
    (lambda body: body["inputs"][0].update(shape=[1], data=[1]), "[1]"),
    (lambda body: body["inputs"][0].update(datatype="BYTES"), "BYTES"),
    (lambda body: body["inputs"][0].update(datatype="FP16"), "FP16"),
    (lambda body: body["inputs"][0].update(data=None), "no data"),
    (lambda body: body["inputs"][0].update(parameters={"binary_data_size": 24}), "0 bytes follow"),
    (lambda body: body["inputs"][0].update(parameters={"binary_data_size": True}), "binary_data_size"),
    (lambda body: body["inputs"][0].update(parameters={"binary_data_size": -1}), "binary_data_size"),
    (lambda body: body["inputs"][0].update(parameters={"shared_memory_region": "x"}), "shared memory"),
    (lambda body: body.update(outputs=[{"name": "odds"}]), "odds"),
    (lambda body: body.update(outputs=[{"name": "id"}, {"name": "id"}]), "at most once"),
    (lambda body: body.update(id=7), "id"),
]


@pytest.mark.parametrize(("change", "word"), NO_REQUEST, ids=[word for _, word in NO_REQUEST])
def test_a_request_of_another_form_is_refused_and_nothing_is_kept(
    client: httpx.Client, project: Project, rows: list[Row], change: Change, word: str
) -> None:
    body = to_json(to_table(rows))
    change(body)

    assert_is_refusal(client.post(INFER, json=body), 400, word)
    assert count_rows(project) == (0, 0)


@pytest.mark.parametrize("length", ["", "x", "-1", "99999999999999999999999", "1e3", "3"])
def test_a_header_length_that_is_none_is_refused(client: httpx.Client, rows: list[Row], length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}

    assert_is_refusal(client.post(INFER, json=to_json(to_table(rows)), headers=headers), 400)


def test_a_compressed_body_is_refused_as_such(triton: InferenceServerClient, rows: list[Row]) -> None:
    with pytest.raises(InferenceServerException, match="gzip") as refusal:
        triton.infer("pima", to_inputs(to_table(rows)), request_compression_algorithm="gzip")

    assert refusal.value.status() == "415"


def test_more_rows_or_bytes_than_the_limits_are_refused(client: httpx.Client, row: Row) -> None:
    table = {name: np.zeros(10_001, dtype=np.int8) for name in row}

    assert_is_refusal(client.post(INFER, json=to_json(table)), 413, "10001 rows")
    assert_is_refusal(client.post(INFER, content=b" " * 2_000_000), 413, "bytes")


def test_a_shape_is_not_believed_before_its_data_are_there(client: httpx.Client, row: Row) -> None:
    body = to_json(to_table([row]))
    body["inputs"][0]["shape"] = [2**62]

    assert_is_refusal(client.post(INFER, json=body), 413, str(2**62))


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 1_000, 2_000, 100_000])
def test_data_nested_to_any_depth_are_refused(client: httpx.Client, rows: list[Row], depth: int) -> None:
    body = to_json(to_table(rows))
    body["inputs"][0]["data"] = ["deep"]
    content = msgspec.json.encode(body).replace(b'"deep"', b"1,2," + b"[" * depth + b"]" * depth)

    assert_is_refusal(client.post(INFER, content=content), 400)
