"""Whatever the bytes, the foreign protocols answer with a refusal in their own form or a result, and go on."""

from typing import Any

import httpx
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INFER = "/v2/models/pima/infer"
NAMES = (
    "Pregnancies",
    "Glucose",
    "BloodPressure",
    "SkinThickness",
    "Insulin",
    "BMI",
    "DiabetesPedigreeFunction",
    "Age",
)
# One server answers all examples: none of them changes what the next one is answered.
one_server = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([2**63, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
shapes = st.lists(st.integers(-1, 3) | st.sampled_from([2**40, 2**64]), max_size=3) | junk
DATATYPES = st.sampled_from(["FP64", "FP32", "INT8", "UINT64", "BYTES", "BOOL", "FP16", ""])
some_parameters = st.dictionaries(st.sampled_from(["binary_data_size", "binary_data", "x"]), junk, max_size=2)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Return a request that is nearly one."""
    tensors: list[dict[str, Any]] = []
    n_rows = draw(st.integers(0, 3))
    for name in NAMES:
        data = draw(st.lists(st.integers(-1, 9) | st.floats(width=32) | junk, min_size=n_rows, max_size=n_rows))
        tensors.append({"name": name, "shape": [n_rows], "datatype": draw(DATATYPES), "data": data})
    for member, values in (("shape", shapes), ("data", junk), ("parameters", some_parameters), ("name", junk)):
        if draw(st.integers(0, 3)) == 0:
            tensors[draw(st.integers(0, 7))][member] = draw(values)
    more = draw(st.fixed_dictionaries({}, optional={"outputs": junk, "id": junk, "parameters": some_parameters}))
    return {"inputs": tensors, **more}


@one_server
@given(document=requests() | junk, tail=st.binary(max_size=40), offset=st.integers(-3, 3))
def test_no_request_makes_the_service_fail(client: httpx.Client, document: Any, tail: bytes, offset: int) -> None:
    body = encode(document)
    headers = {"Inference-Header-Content-Length": str(len(body) + offset)} if tail else {}

    answer = client.post(INFER, content=body + tail, headers=headers)

    assert answer.status_code < 500
    assert answer.status_code == 200 or list(answer.json()) == ["error"]


@one_server
@given(body=st.binary(max_size=300), length=st.text("0123456789-x", max_size=4))
def test_no_bytes_make_the_service_fail(client: httpx.Client, body: bytes, length: str) -> None:
    answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})

    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def encode(document: Any) -> bytes:  # Any: whatever JSON holds
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:  # a lone surrogate: only its escape is JSON
        return repr(document).encode("ascii", "backslashreplace")


cells = junk | st.integers(0, 50)
row_lists = st.lists(st.lists(cells, min_size=8, max_size=8) | junk, max_size=3)
records = st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, cells)) | junk, max_size=3)
columns = st.fixed_dictionaries(dict.fromkeys(NAMES, st.lists(cells, min_size=1, max_size=2))) | st.fixed_dictionaries(
    dict.fromkeys(NAMES, cells)
)
headers = st.permutations(NAMES) | st.lists(st.sampled_from(NAMES) | junk, max_size=9)
splits = st.fixed_dictionaries({"data": row_lists | junk}, optional={"columns": headers | junk, "index": junk})
tables = st.fixed_dictionaries(
    {},
    optional={
        "dataframe_split": splits | junk,
        "dataframe_records": records | junk,
        "instances": row_lists | records | columns | junk,
        "inputs": row_lists | records | columns | junk,
        "params": junk,
    },
)
lines = st.lists(
    st.lists(st.text(max_size=4) | st.sampled_from(["1", "NaN", "", '"', "1e999"]), max_size=9), max_size=4
)
media_types = st.sampled_from(["application/json", "text/csv", "text/plain", "application/json; charset=latin-1", ""])


def assert_is_an_answer_of_mlflow(answer: httpx.Response) -> None:
    assert answer.status_code < 500
    if answer.status_code == 415:
        assert answer.headers["content-type"].startswith("text/plain")
    elif answer.status_code != 200:
        assert set(answer.json()) == {"error_code", "message"}


@one_server
@given(document=tables | junk)
def test_no_table_makes_the_service_fail(client: httpx.Client, document: Any) -> None:
    headers = {"Content-Type": "application/json"}

    assert_is_an_answer_of_mlflow(client.post("/invocations", content=encode(document), headers=headers))


@one_server
@given(table=lines)
def test_no_csv_makes_the_service_fail(client: httpx.Client, table: list[list[str]]) -> None:
    text = "\n".join([",".join(NAMES), *(",".join(line) for line in table)])

    answer = client.post(
        "/invocations", content=text.encode("utf-8", "surrogatepass"), headers={"Content-Type": "text/csv"}
    )

    assert_is_an_answer_of_mlflow(answer)


@one_server
@given(body=st.binary(max_size=300), media_type=media_types)
def test_no_bytes_of_any_media_type_make_the_service_fail(client: httpx.Client, body: bytes, media_type: str) -> None:
    answer = client.post("/invocations", content=body, headers={"Content-Type": media_type})

    assert_is_an_answer_of_mlflow(answer)
