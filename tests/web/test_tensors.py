"""Tensors as bytes and as JSON: what a number, a category and a text become, and how a release with texts answers."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from homeostat.deployment.serving import LiveRelease
from homeostat.errors import RequestInvalid
from homeostat.web.answers import Answer
from homeostat.web.endpoint import Sent
from homeostat.web.mlflow_scoring import judge_invocations
from homeostat.web.open_inference import describe_model, judge_infer
from homeostat.web.predict import judge_predict
from homeostat.web.tensors import RequestInput, join_texts, read_matrix, split_texts, to_decimals
from tests.web.mixed_release import open_mixed_release

float32s = st.lists(st.floats(width=32, allow_subnormal=True), max_size=20)
decimals = st.builds(
    lambda digits, power: float(f"{digits}e{power}"), st.integers(-999_999, 999_999), st.integers(-9, 9)
)
WARDS: list[Any] = ["north", "1", 1, " south ", "", None, "new"]


@pytest.fixture(scope="module")
def live() -> LiveRelease:
    return open_mixed_release()


def send(body: bytes, *, json_bytes: int | None = None, content_type: bytes = b"application/json") -> Sent:
    headers = {b"content-type": content_type}
    if json_bytes is not None:
        headers[b"inference-header-content-length"] = b"%d" % json_bytes
    return Sent(body, headers, {"name": "m"}, 10_000, 0)


def infer(tensors: Sequence[tuple[str, str, list[Any]]], live: LiveRelease, **more: Any) -> dict[str, Any]:
    """Return the answer to tensors in JSON."""
    inputs = [{"name": n, "datatype": t, "shape": [len(data)], "data": data} for n, t, data in tensors]
    reply = judge_infer(send(msgspec.json.encode({"inputs": inputs, **more})), live, model="m")
    answer: dict[str, Any] = msgspec.json.decode(reply.answer.content)
    return answer


def ask_predict(rows: list[dict[str, Any]], live: LiveRelease) -> list[tuple[float, Any]]:
    results = judge_predict(send(msgspec.json.encode({"rows": rows})), live).judged.results
    return [(one.probability, one.label) for one in results if isinstance(one, Answer)]


@given(numbers=st.lists(decimals, max_size=20))
def test_a_decimal_of_six_digits_comes_through_float32_unchanged(numbers: list[float]) -> None:
    assert to_decimals(np.array(numbers, dtype=np.float32)).tolist() == numbers


@given(values=float32s)
def test_a_restored_decimal_is_the_same_float32(values: list[float]) -> None:
    narrow: NDArray[np.float32] = np.array(values, dtype=np.float32)

    assert np.array_equal(to_decimals(narrow).astype(np.float32), narrow, equal_nan=True)


@given(values=st.lists(st.text(max_size=9), max_size=9))
def test_texts_come_back_from_their_bytes(values: list[str]) -> None:
    tensor = RequestInput("x", [len(values)], "BYTES")

    assert split_texts(tensor, join_texts(values)) == values


@pytest.mark.parametrize("content", [b"\x01", b"\x02\x00\x00\x00a", b"\x01\x00\x00\x00\xff", b"\xff\xff\xff\xffa"])
def test_bytes_that_are_no_texts_are_refused(content: bytes) -> None:
    with pytest.raises(RequestInvalid, match="'ward'"):
        split_texts(RequestInput("ward", [1], "BYTES"), content)


@pytest.mark.parametrize(("datatype", "content"), [("FP64", b"1234567"), ("INT16", b"12345"), ("FP32", b"12345678")])
def test_bytes_that_do_not_fill_the_shape_are_refused(datatype: str, content: bytes) -> None:
    with pytest.raises(RequestInvalid, match="'age'"):
        read_matrix(RequestInput("age", [3], datatype), content, width=1)


def test_categories_and_their_labels_are_the_ones_of_predict(live: LiveRelease) -> None:
    ages = [10.0, 60.0, None, 66.6, 0.3, -9.9, 12]

    answer = infer([("ward", "BYTES", WARDS), ("age", "FP64", ages)], live)

    expected = ask_predict([{"age": age, "ward": ward} for age, ward in zip(ages, WARDS, strict=True)], live)
    probability, label, _ = answer["outputs"]
    assert list(zip(probability["data"], label["data"], strict=True)) == expected
    assert (label["datatype"], {*label["data"]}) == ("BYTES", {"no", "yes"})


def test_whole_numbers_are_categories_as_their_text_is(live: LiveRelease) -> None:
    whole = infer([("ward", "INT64", [1, 1]), ("age", "FP64", [10, 60])], live)

    texts = infer([("ward", "BYTES", ["1", "1"]), ("age", "FP64", [10, 60])], live)
    assert whole["outputs"][0]["data"] == texts["outputs"][0]["data"]


def test_categories_and_labels_travel_as_bytes(live: LiveRelease) -> None:
    ages, wards = np.array([10, 60], dtype="<f4").tobytes(), join_texts(["north", "größe"])
    inputs = [
        {"name": "age", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": len(ages)}},
        {"name": "ward", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(wards)}},
    ]
    outputs = [{"name": "label", "parameters": {"binary_data": True}}]
    head = msgspec.json.encode({"inputs": inputs, "outputs": outputs})

    answer = judge_infer(send(head + ages + wards, json_bytes=len(head)), live, model="m").answer

    expected = ask_predict([{"age": 10, "ward": "north"}, {"age": 60, "ward": "größe"}], live)
    tail = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert split_texts(RequestInput("label", [2], "BYTES"), tail) == [label for _, label in expected]


@pytest.mark.parametrize("age", [66.6, 0.3, -9.9])
def test_the_ends_of_a_range_and_a_marker_are_themselves_in_float32(live: LiveRelease, age: float) -> None:
    narrow = float(np.float32(age))

    answer = infer([("ward", "BYTES", ["1"]), ("age", "FP32", [narrow])], live)

    assert narrow != age
    assert answer["outputs"][0]["data"] == [ask_predict([{"age": age, "ward": "1"}], live)[0][0]]


@pytest.mark.parametrize(("datatype", "name"), [("FP64", "ward"), ("BYTES", "age")])
def test_a_datatype_that_a_feature_cannot_have_is_refused(live: LiveRelease, datatype: str, name: str) -> None:
    datatypes = {"ward": "BYTES", "age": "FP64", name: datatype}

    with pytest.raises(RequestInvalid, match=f"'{name}'.*{datatype}"):
        infer([(n, t, [None]) for n, t in datatypes.items()], live)


def test_one_tensor_holds_all_features_only_if_all_are_numbers(live: LiveRelease) -> None:
    body = msgspec.json.encode({"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]})

    with pytest.raises(RequestInvalid, match="no column 'age'"):
        judge_infer(send(body), live, model="m")


def test_the_metadata_name_texts_as_bytes(live: LiveRelease) -> None:
    metadata = describe_model("m", live)

    assert [tensor["datatype"] for tensor in metadata["inputs"]] == ["FP64", "BYTES"]
    assert [tensor["datatype"] for tensor in metadata["outputs"]] == ["FP32", "BYTES", "BYTES"]


def test_a_table_of_texts_gets_the_answers_of_predict_from_mlflow_csv(live: LiveRelease) -> None:
    table = 'ward,age\nnorth,10\n" south ",n/a\n1,\nNaN,66.6\n"a,b",-9.9\n'

    results = judge_invocations(send(table.encode(), content_type=b"text/csv"), live).judged.results

    wards, ages = ["north", "south", "1", None, "a,b"], [10, None, None, 66.6, -9.9]
    expected = ask_predict([{"age": age, "ward": ward} for age, ward in zip(ages, wards, strict=True)], live)
    assert [(one.probability, one.label) for one in results if isinstance(one, Answer)] == expected


@pytest.mark.parametrize("cell", ["ten", "1_0", "inf", "1e999", "n/A"])
def test_text_that_is_no_number_is_refused_by_what_it_says(live: LiveRelease, cell: str) -> None:
    reply = judge_invocations(send(f"ward,age\n1,{cell}\n".encode(), content_type=b"text/csv"), live)

    assert (reply.answer.status, len(reply.judged.rejected), reply.judged.predicted) == (400, 1, ())
    assert b"row 0 is impossible: age is" in reply.answer.content
