"""The Open Inference Protocol, spoken by Triton's own client over HTTP: health, metadata and answers."""

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select
from tritonclient.http import InferenceServerClient, InferRequestedOutput, InferResult

from homeostat.project import Project
from homeostat.store.tables import predictions, rejections
from homeostat.web.server import Server
from tests.web.infer_requests import INFER, Row, to_inputs, to_json, to_table

MODEL_ROUTE = "/v2/models/{name}/infer"


def ask_predict(client: httpx.Client, rows: list[Row]) -> list[Row]:
    answers: list[Row] = client.post("/v1/predict", json={"rows": rows}).json()["predictions"]
    return answers


def count_rows(project: Project) -> tuple[int, int]:
    with project.database.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) for table in (predictions, rejections)]
    return counts[0] or 0, counts[1] or 0


def test_the_server_is_live_and_ready(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()


def test_while_it_drains_the_server_is_live_and_neither_it_nor_its_model_is_ready(
    triton: InferenceServerClient, server: Server
) -> None:
    server.worker.drain()

    assert triton.is_server_live()
    assert not triton.is_server_ready()
    assert not triton.is_model_ready("pima")


def test_the_server_names_the_extension_that_it_has(triton: InferenceServerClient) -> None:
    metadata = triton.get_server_metadata()

    assert (metadata["name"], metadata["extensions"]) == ("homeostat", ["binary_tensor_data"])


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/pima/ready"])
def test_the_answer_to_a_question_of_health_has_no_body(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.content) == (200, b"")


def test_the_model_is_described_with_a_tensor_for_each_feature(
    triton: InferenceServerClient, server: Server, row: Row
) -> None:
    metadata = triton.get_model_metadata("pima")

    assert metadata["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in row]
    assert [(t["name"], t["datatype"]) for t in metadata["outputs"]] == [
        ("probability", "FP32"),
        ("label", "INT64"),
        ("id", "BYTES"),
    ]
    assert metadata["versions"] == [server.worker.require_live().digest]


def test_a_version_is_the_digest_of_the_release_or_its_beginning(
    triton: InferenceServerClient, server: Server, rows: list[Row]
) -> None:
    digest = server.worker.require_live().digest
    versions = [digest, digest[:12], digest[:11], digest[1:], "1"]

    assert [triton.is_model_ready("pima", version) for version in versions] == [True, True, False, False, False]
    assert triton.infer("pima", to_inputs(to_table(rows)), digest[:12]).get_response()["model_version"] == digest


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_tensors_get_the_answers_of_predict_bit_for_bit(
    triton: InferenceServerClient,
    client: httpx.Client,
    rows: list[Row],
    *,
    dtype: str,
    binary: bool,
    shape: tuple[int, ...],
) -> None:
    table = {name: values.reshape(shape) for name, values in to_table(rows, dtype).items()}

    result = triton.infer("pima", to_inputs(table, binary=binary))

    expected = ask_predict(client, rows)
    assert result.as_numpy("probability").tolist() == [answer["probability"] for answer in expected]
    assert result.as_numpy("label").tolist() == [answer["label"] for answer in expected]


def test_columns_may_have_any_order_and_any_type_of_number(
    triton: InferenceServerClient, client: httpx.Client, rows: list[Row]
) -> None:
    table = to_table(rows)
    types = dict(zip(table, ["int8", "uint16", "int32", "uint32", "int64", "float32", "float64", "uint8"], strict=True))
    mixed = {name: table[name].astype(types[name]) for name in list(table)[::-1]}

    result = triton.infer("pima", to_inputs(mixed))

    assert result.as_numpy("probability").tolist() == [one["probability"] for one in ask_predict(client, rows)]


@pytest.mark.parametrize("binary", [True, False])
def test_one_tensor_may_hold_all_features_in_the_order_of_the_schema(
    triton: InferenceServerClient, client: httpx.Client, rows: list[Row], *, binary: bool
) -> None:
    matrix = np.array([list(one.values()) for one in rows], dtype=np.float32)

    result = triton.infer("pima", to_inputs({"input-0": matrix}, binary=binary))

    assert result.as_numpy("probability").tolist() == [one["probability"] for one in ask_predict(client, rows)]


def test_data_in_json_may_be_nested_as_the_shape_is(client: httpx.Client, rows: list[Row]) -> None:
    matrix = np.array([list(one.values()) for one in rows], dtype=np.float64)

    answer = client.post(INFER, json=to_json({"x": matrix})).json()

    assert answer["outputs"][0]["data"] == [one["probability"] for one in ask_predict(client, rows)]


@pytest.mark.parametrize("binary", [True, False])
def test_nan_is_not_measured_as_null_is(
    triton: InferenceServerClient, client: httpx.Client, row: Row, *, binary: bool
) -> None:
    expected = ask_predict(client, [{**row, "Insulin": None}])

    result = triton.infer("pima", to_inputs(to_table([{**row, "Insulin": np.nan}]), binary=binary))

    assert result.as_numpy("probability").tolist() == [expected[0]["probability"]]
    body = to_json(to_table([row]))
    body["inputs"][4]["data"] = [None]
    assert client.post(INFER, json=body).json()["outputs"][0]["data"] == [expected[0]["probability"]]


def test_a_row_is_kept_as_the_decimal_numbers_that_float32_came_from(
    triton: InferenceServerClient, project: Project, row: Row
) -> None:
    triton.infer("pima", to_inputs(to_table([row], "float32")))

    with project.database.read() as connection:
        kept = connection.execute(select(predictions)).one()
    assert msgspec.json.decode(kept.row) == row


def test_the_ids_of_answers_can_be_labelled(
    triton: InferenceServerClient, client: httpx.Client, rows: list[Row]
) -> None:
    ids = [one.decode() for one in triton.infer("pima", to_inputs(to_table(rows))).as_numpy("id").tolist()]

    answers = [client.post("/v1/labels", json={"id": one, "label": 1}).json()["status"] for one in ids]

    assert answers == ["recorded"] * 3


def test_the_outputs_that_are_asked_for_are_given_each_in_its_form(
    triton: InferenceServerClient, rows: list[Row]
) -> None:
    wanted = [InferRequestedOutput("label", binary_data=False), InferRequestedOutput("probability", binary_data=True)]

    result = triton.infer("pima", to_inputs(to_table(rows)), outputs=wanted, request_id="42")

    label, probability = result.get_response()["outputs"]
    assert (result.get_response()["id"], label["name"], label["data"]) == ("42", "label", [1, 0, 0])
    assert (probability["parameters"], "data" in probability) == ({"binary_data_size": 12}, False)
    assert result.as_numpy("id") is None


def test_optional_members_may_be_null(client: httpx.Client, row: Row) -> None:
    body = to_json(to_table([row]), id=None, outputs=None, parameters=None)
    body["inputs"][0]["parameters"] = None

    answer = client.post(INFER, json=body)

    assert (answer.status_code, "id" in answer.json()) == (200, False)


def test_the_described_example_is_answered(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"][MODEL_ROUTE]["post"]["requestBody"]["content"]

    answer = client.post(INFER, json=described["application/json"]["example"])

    assert (answer.status_code, answer.json()["id"]) == (200, "42")


def test_no_rows_are_answered_with_no_elements(triton: InferenceServerClient, rows: list[Row]) -> None:
    result = triton.infer("pima", to_inputs({name: np.empty(0) for name in rows[0]}))

    assert [result.as_numpy(name).shape for name in ("probability", "label", "id")] == [(0,)] * 3


def test_an_idempotency_key_gets_the_first_answer_again_with_its_bytes(
    triton: InferenceServerClient, project: Project, rows: list[Row]
) -> None:
    def ask() -> InferResult:
        return triton.infer("pima", to_inputs(to_table(rows)), headers={"Idempotency-Key": "k"})

    assert ask().as_numpy("id").tolist() == ask().as_numpy("id").tolist()
    assert count_rows(project) == (3, 0)


def test_requests_are_counted_under_their_route_and_rows_with_the_others(
    client: httpx.Client, triton: InferenceServerClient, rows: list[Row]
) -> None:
    triton.infer("pima", to_inputs(to_table(rows)))
    client.post(INFER, json=to_json(to_table([{**rows[0], "Age": 250}])))

    families = text_string_to_metric_families(client.get("/metrics").text)
    found = [(s.name, s.labels, s.value) for f in families for s in f.samples]
    assert ("homeostat_http_requests_total", {"route": MODEL_ROUTE, "status": "200"}, 1) in found
    assert ("homeostat_http_requests_total", {"route": MODEL_ROUTE, "status": "400"}, 1) in found
    assert ("homeostat_rejected_rows_total", {}, 1) in found
    assert sum(value for name, _, value in found if name == "homeostat_predictions_total") == 3


def test_a_thousand_rows_get_the_answers_of_predict(
    triton: InferenceServerClient, client: httpx.Client, row: Row
) -> None:
    rows = [{**row, "Glucose": 50 + place % 300, "Insulin": None if place % 3 else 90} for place in range(1_000)]
    table = to_table([{**one, "Insulin": np.nan if one["Insulin"] is None else 90} for one in rows], "float32")

    result = triton.infer("pima", to_inputs(table))

    assert result.as_numpy("probability").tolist() == [one["probability"] for one in ask_predict(client, rows)]
