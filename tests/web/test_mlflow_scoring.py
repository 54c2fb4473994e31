"""MLflow's scoring protocol: the bodies and media types that its documentation shows, and its errors."""

import json
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from homeostat.project import Project
from homeostat.store.tables import predictions, rejections
from homeostat.web.server import Server

Row = dict[str, Any]
JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}


def bodies_of(rows: list[Row]) -> dict[str, Any]:
    """Return the rows in every form that MLflow's documentation shows."""
    names, cells = list(rows[0]), [list(row.values()) for row in rows]
    backwards = [row[::-1] for row in cells]
    columns = {name: [row[name] for row in rows] for name in names}
    return {
        "split": {"dataframe_split": {"columns": names, "index": [7, 8, 9], "data": cells}},
        "split-in-another-order": {"dataframe_split": {"columns": names[::-1], "data": backwards}},
        "records": {"dataframe_records": rows},
        "instances-of-lists": {"instances": cells},
        "instances-of-objects": {"instances": rows},
        "inputs-of-columns": {"inputs": columns},
        "inputs-of-lists": {"inputs": cells},
        "inputs-with-params": {"inputs": cells, "params": {"max_answer_len": 10}},
    }


FORMS = list(bodies_of([{}]))


def to_csv(rows: list[Row]) -> str:
    lines = [",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *lines]) + "\n"


def ask_predict(client: httpx.Client, rows: list[Row]) -> list[float]:
    answers = client.post("/v1/predict", json={"rows": rows}).json()["predictions"]
    return [answer["probability"] for answer in answers]


def probabilities(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [record["probability"] for record in answer.json()["predictions"]]


def count_rows(project: Project) -> tuple[int, int]:
    with project.database.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) for table in (predictions, rejections)]
    return counts[0] or 0, counts[1] or 0


def assert_is_refusal(answer: httpx.Response, status: int, *words: str) -> None:
    """Assert the form of an MlflowException."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert all(word in answer.json()["message"] for word in words), answer.json()


@pytest.mark.parametrize("form", FORMS)
def test_every_documented_form_gets_the_answers_of_predict_bit_for_bit(
    client: httpx.Client, rows: list[Row], form: str
) -> None:
    answer = client.post("/invocations", json=bodies_of(rows)[form])

    assert probabilities(answer) == ask_predict(client, rows)


def test_a_record_is_what_predict_answers(client: httpx.Client, server: Server, rows: list[Row]) -> None:
    record = client.post("/invocations", json={"inputs": rows}).json()["predictions"][0]

    assert list(record) == ["id", "probability", "label", "release"]
    assert (record["label"], record["release"]) == (1, server.worker.require_live().digest)
    assert client.post("/v1/labels", json={"id": record["id"], "label": 1}).json()["status"] == "recorded"


def test_columns_of_one_value_each_are_one_row(client: httpx.Client, row: Row) -> None:
    assert probabilities(client.post("/invocations", json={"inputs": row})) == ask_predict(client, [row])


@pytest.mark.parametrize("media_type", ["text/csv", "application/csv", "text/csv; charset=utf-8", "TEXT/CSV"])
def test_csv_with_a_header_gets_the_answers_of_predict(client: httpx.Client, rows: list[Row], media_type: str) -> None:
    answer = client.post("/invocations", content=to_csv(rows), headers={"Content-Type": media_type})

    assert probabilities(answer) == ask_predict(client, rows)


@pytest.mark.parametrize("cell", ["", "NaN", "nan", " "])
def test_an_empty_cell_and_nan_are_not_measured(client: httpx.Client, row: Row, cell: str) -> None:
    answer = client.post("/invocations", content=to_csv([{**row, "BMI": cell}]), headers=CSV)

    assert probabilities(answer) == ask_predict(client, [{**row, "BMI": None}])


def test_the_index_that_pandas_writes_is_no_column(client: httpx.Client, rows: list[Row]) -> None:
    with_index = [{"": place, **row} for place, row in enumerate(rows)]

    answer = client.post("/invocations", content="\ufeff" + to_csv(with_index), headers=CSV)

    assert probabilities(answer) == ask_predict(client, rows)


@pytest.mark.parametrize("form", FORMS)
def test_a_bare_nan_is_not_measured_as_null_is(client: httpx.Client, row: Row, form: str) -> None:
    expected = ask_predict(client, [{**row, "BMI": None}])

    for missing in (None, float("nan")):
        content = json.dumps(bodies_of([{**row, "BMI": missing}])[form])
        assert probabilities(client.post("/invocations", content=content, headers=JSON)) == expected


def test_nan_inside_a_text_stays_text(client: httpx.Client, row: Row) -> None:
    content = json.dumps({"inputs": [{**row, "BMI": float("nan"), 'a "NaN\\': 1}]})

    assert_is_refusal(client.post("/invocations", content=content, headers=JSON), 400, 'a "NaN\\')


@pytest.mark.parametrize("form", [*FORMS, "csv"])
def test_an_impossible_row_refuses_the_whole_by_row_column_value_and_rule(
    client: httpx.Client, project: Project, rows: list[Row], form: str
) -> None:
    rows[1]["Age"] = 250
    if form == "csv":
        answer = client.post("/invocations", content=to_csv(rows), headers=CSV)
    else:
        answer = client.post("/invocations", json=bodies_of(rows)[form])

    assert_is_refusal(answer, 400, "row 1 ", "Age is 250", "'range'", "0 to 150")
    assert count_rows(project) == (0, 1)


def test_the_impossible_row_is_kept_with_its_reasons(client: httpx.Client, project: Project, rows: list[Row]) -> None:
    rows[1] |= {"Age": 250, "BMI": None}

    client.post("/invocations", json={"dataframe_records": rows})

    with project.database.read() as connection:
        line = connection.execute(select(rejections)).one()
    assert msgspec.json.decode(line.row) == rows[1]
    assert [v["column"] for v in msgspec.json.decode(line.violations)] == ["Age"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ([], "an array"),
        (3, "a number"),
        ({}, "0 of these forms"),
        ({"messages": []}, "0 of these forms"),
        ({"inputs": [], "instances": []}, "2 of these forms"),
        ({"inputs": 3}, "a number"),
        ({"inputs": [1, 2]}, "row 0"),
        ({"inputs": [[1, 2]]}, "array of 8"),
        ({"inputs": {"Age": [1]}}, "no column 'Pregnancies'"),
        ({"instances": [{"Age": 1}, 3]}, "objects"),
        ({"dataframe_records": {"Age": [1]}}, "objects"),
        ({"dataframe_split": [[1]]}, "columns, index and data"),
        ({"dataframe_split": {"columns": ["Age"]}}, "columns, index and data"),
        ({"dataframe_split": {"data": [], "dtype": "f8"}}, "columns, index and data"),
        ({"dataframe_split": {"columns": [1], "data": [[1]]}}, "not all text"),
        ({"dataframe_split": {"columns": ["Ages"], "data": [[1]]}}, "no column"),
    ],
)
def test_a_body_of_another_form_is_refused(client: httpx.Client, project: Project, body: Any, word: str) -> None:
    assert_is_refusal(client.post("/invocations", json=body), 400, word)
    assert count_rows(project) == (0, 0)


def test_columns_that_are_repeated_unknown_or_of_other_lengths_are_refused(client: httpx.Client, row: Row) -> None:
    names, cells = list(row), list(row.values())
    twice = {"dataframe_split": {"columns": [*names, "Age"], "data": [[*cells, 3]]}}
    unknown = {"dataframe_split": {"columns": [*names, "Ages"], "data": [[*cells, 3]]}}
    ragged = {"inputs": {**{name: [cell] for name, cell in row.items()}, "Age": [50, 51]}}

    assert_is_refusal(client.post("/invocations", json=twice), 400, "Age is there twice")
    assert_is_refusal(client.post("/invocations", json=unknown), 400, "Ages")
    assert_is_refusal(client.post("/invocations", json=ragged), 400, "one length")


@pytest.mark.parametrize("body", ["", "\n", "1,2,3,4", "Age,Age\n1,2", '"', "\x00"])
def test_csv_that_is_no_table_of_the_schema_is_refused(client: httpx.Client, body: str) -> None:
    assert_is_refusal(client.post("/invocations", content=body, headers=CSV), 400)


def test_csv_with_a_short_line_or_in_another_encoding_is_refused(client: httpx.Client, rows: list[Row]) -> None:
    table = to_csv(rows)

    assert_is_refusal(client.post("/invocations", content=table + "1,2\n", headers=CSV), 400, "row 3")
    assert_is_refusal(client.post("/invocations", content=table.encode("utf-16"), headers=CSV), 400, "cannot be read")


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "", "application/vnd.apache.parquet", "application/json; charset=latin-1", "text/csv; header=x"],
)
def test_another_content_type_is_refused_in_plain_text(client: httpx.Client, row: Row, media_type: str) -> None:
    answer = client.post("/invocations", content=json.dumps({"inputs": row}), headers={"Content-Type": media_type})

    assert (answer.status_code, answer.headers["content-type"]) == (415, "text/plain; charset=utf-8")
    assert "application/json or text/csv" in answer.text


@pytest.mark.parametrize("media_type", ["application/json", "application/json;", "application/json; charset=UTF-8"])
def test_the_documented_spellings_of_json_are_read(client: httpx.Client, row: Row, media_type: str) -> None:
    answer = client.post("/invocations", content=json.dumps({"inputs": row}), headers={"Content-Type": media_type})

    assert answer.status_code == 200


def test_a_body_without_a_content_type_is_refused_as_curl_sends_it(client: httpx.Client, row: Row) -> None:
    assert client.post("/invocations", content=json.dumps({"inputs": row})).status_code == 415
    assert client.post("/invocations", data={"inputs": "[]"}).status_code == 415


@pytest.mark.parametrize("form", [*FORMS, "csv"])
def test_more_rows_than_the_limit_are_refused(client: httpx.Client, row: Row, form: str) -> None:
    rows: list[Row] = [dict.fromkeys(row, 1)] * 10_001
    if form == "csv":
        answer = client.post("/invocations", content=to_csv(rows), headers=CSV)
    else:
        answer = client.post("/invocations", content=msgspec.json.encode(bodies_of(rows)[form]), headers=JSON)

    assert_is_refusal(answer, 413)


def test_an_idempotency_key_gets_the_first_answer_again(client: httpx.Client, project: Project, row: Row) -> None:
    answers = [client.post("/invocations", json={"inputs": row}, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert answers[0].content == answers[1].content
    assert count_rows(project) == (1, 0)


def test_requests_are_counted_under_their_route(client: httpx.Client, row: Row) -> None:
    client.post("/invocations", json={"inputs": row})
    client.post("/invocations", json={"inputs": {**row, "Age": 250}})

    families = text_string_to_metric_families(client.get("/metrics").text)
    found = [(s.name, s.labels, s.value) for f in families for s in f.samples]
    for status in ("200", "400"):
        assert ("homeostat_http_requests_total", {"route": "/invocations", "status": status}, 1) in found
    assert ("homeostat_http_errors_total", {"code": "row-rejected"}, 1) in found


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_ping_says_whether_requests_should_be_sent_here(client: httpx.Client, server: Server, path: str) -> None:
    answer = client.get(path)
    server.worker.drain()

    assert (answer.status_code, answer.content) == (200, b"\n")
    assert client.get(path).status_code == 503


def test_the_version_is_text(client: httpx.Client) -> None:
    assert client.get("/version").text == client.get("/v2").json()["version"]


def test_the_described_examples_are_answered(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]["/invocations"]["post"]["requestBody"]["content"]
    table, lines = described["application/json"]["example"], described["text/csv"]["example"]

    answers = [client.post("/invocations", json=table), client.post("/invocations", content=lines, headers=CSV)]

    assert probabilities(answers[0]) == probabilities(answers[1])


def test_thousands_of_rows_get_the_answers_of_predict(client: httpx.Client, row: Row) -> None:
    rows = [{**row, "Glucose": 50 + place % 300, "BMI": None if place % 7 == 0 else 30.5} for place in range(3_000)]
    expected = np.array(ask_predict(client, rows))

    for form in ("split", "inputs-of-columns"):
        found = probabilities(client.post("/invocations", json=bodies_of(rows)[form]))
        assert np.array_equal(found, expected)
