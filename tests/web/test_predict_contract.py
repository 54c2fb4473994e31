"""POST /v1/predict answers as the rules and the graph say, and in the described form, whatever is sent."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import httpx
import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from homeostat.data.columns import stack_rows
from homeostat.project import Project
from homeostat.records import CheckedRow
from homeostat.store.tables import predictions, rejections
from homeostat.validation.checks import check_row
from homeostat.web.answers import violation_to_json
from homeostat.web.server import Server

Row: TypeAlias = dict[str, Any]
# Ranges of the Pima table: half of what is drawn from them is possible.
COLUMNS: Mapping[str, st.SearchStrategy[Any]] = {
    "Pregnancies": st.integers(0, 40),
    "Glucose": st.integers(20, 400) | st.just(0),
    "BloodPressure": st.floats(10, 300),
    "SkinThickness": st.integers(3, 200) | st.none(),
    "Insulin": st.floats(7, 2000) | st.just(0),
    "BMI": st.floats(9, 150),
    "DiabetesPedigreeFunction": st.floats(0, 5),
    "Age": st.integers(0, 150),
}
EDGES = st.sampled_from([-0.0, 0.0, -1, 150.00000000000003, 3.5e38, 1e308, 5e-324, 2**63, 2**64, 10**309, -(10**400)])
PLAIN = st.none() | st.booleans() | EDGES | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
CELLS = PLAIN | st.text(max_size=8) | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), PLAIN)
possible = st.fixed_dictionaries(dict(COLUMNS))
near = st.builds(
    lambda row, changes, absent: {key: cell for key, cell in {**row, **changes}.items() if key not in absent},
    possible,
    st.dictionaries(st.sampled_from([*COLUMNS, "Agee", "rows", ""]), CELLS, max_size=2),
    st.sets(st.sampled_from(list(COLUMNS)), max_size=1),
)
hostile = st.dictionaries(st.sampled_from(list(COLUMNS)) | st.text(max_size=10), CELLS, max_size=12)
rows = possible | near | hostile
# A row with the unknown field `rows` is taken for a batch.
single_rows = rows.filter(lambda row: "rows" not in row)
one_server = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Contract:
    """The rules, the graph and the description of one running service."""

    def __init__(self, client: httpx.Client, server: Server, project: Project) -> None:
        self.client = client
        self.project = project
        self.live = server.worker.require_live()
        document = client.get("/openapi.json").json()
        self._operation = document["paths"]["/v1/predict"]["post"]
        self._components = document["components"]

    def judge(self, row: Row) -> CheckedRow:
        return check_row(row, self.live.schema)

    def score(self, checked: Sequence[CheckedRow]) -> list[float]:
        cells = [one.row for one in checked]
        return list(map(float, self.live.graph.score(stack_rows(cells, self.live.schema)))) if cells else []

    def post(self, body: Any) -> httpx.Response:
        """Send a body; the answer is of the form that is described for its status."""
        answer = self.client.post("/v1/predict", content=json.dumps(body))
        described = self._operation["responses"][str(answer.status_code)]["content"][answer.headers["content-type"]]
        assert self.is_of_form(described["schema"], answer.json())
        return answer

    def admits(self, body: Any) -> bool:
        """Return whether the description of the request admits a body."""
        return self.is_of_form(self._operation["requestBody"]["content"]["application/json"]["schema"], body)

    def is_of_form(self, schema: Mapping[str, Any], value: Any) -> bool:
        return bool(jsonschema_rs.is_valid({**schema, "components": self._components}, value))

    def count_lines(self) -> tuple[int, int]:
        with self.project.database.read() as connection:
            counts = [connection.scalar(select(func.count()).select_from(table)) for table in (predictions, rejections)]
        return counts[0] or 0, counts[1] or 0

    def last_lines(self, n_predicted: int, n_rejected: int) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the newest lines of the log, oldest first."""
        with self.project.database.read() as connection:
            predicted = connection.execute(select(predictions).order_by(predictions.c.seq.desc()).limit(n_predicted))
            rejected = connection.execute(select(rejections).order_by(rejections.c.seq.desc()).limit(n_rejected))
            return predicted.all()[::-1], rejected.all()[::-1]


@pytest.fixture
def contract(client: httpx.Client, server: Server, project: Project) -> Contract:
    return Contract(client, server, project)


def assert_is_answered(answer: Mapping[str, Any], probability: float, contract: Contract) -> None:
    target = contract.live.schema.target
    assert answer["probability"] == probability
    assert answer["label"] == (target.positive if probability >= 0.5 else target.negative)
    assert answer["release"] == contract.live.digest


@settings(one_server, max_examples=250)
@given(row=single_rows)
def test_a_row_is_answered_as_the_graph_or_refused_as_the_rules_say(contract: Contract, row: Row) -> None:
    checked = contract.judge(row)

    answer = contract.post(row)

    if checked.violations:
        assert answer.status_code == 422
        assert answer.json()["rejected"] == [violation_to_json(one) for one in checked.violations]
    else:
        assert answer.status_code == 200
        assert_is_answered(answer.json(), contract.score([checked])[0], contract)


@settings(one_server, max_examples=150)
@given(batch=st.lists(rows, max_size=8))
def test_a_batch_is_answered_row_by_row_as_alone(contract: Contract, batch: list[Row]) -> None:
    checked = [contract.judge(row) for row in batch]

    answers = contract.post({"rows": batch}).json()["predictions"]

    probabilities = iter(contract.score([one for one in checked if not one.violations]))
    assert len(answers) == len(batch)
    for answer, one in zip(answers, checked, strict=True):
        if one.violations:
            assert answer == {"rejected": [violation_to_json(violation) for violation in one.violations]}
        else:
            assert_is_answered(answer, next(probabilities), contract)


@settings(one_server, max_examples=100)
@given(batch=st.lists(rows, min_size=1, max_size=5))
def test_the_log_holds_exactly_what_was_answered(contract: Contract, batch: list[Row]) -> None:
    before = contract.count_lines()

    answers = contract.post({"rows": batch}).json()["predictions"]

    accepted = [answer for answer in answers if "id" in answer]
    refused = [answer["rejected"] for answer in answers if "id" not in answer]
    after = contract.count_lines()
    assert (after[0] - before[0], after[1] - before[1]) == (len(accepted), len(refused))
    predicted, rejected = contract.last_lines(len(accepted), len(refused))
    assert [(line.id, line.probability) for line in predicted] == [(one["id"], one["probability"]) for one in accepted]
    assert [msgspec.json.decode(line.violations) for line in rejected] == refused
    sent = [row for row, answer in zip(batch, answers, strict=True) if "id" not in answer]
    assert [msgspec.json.decode(line.row) for line in rejected] == sent


@settings(one_server, max_examples=400)
@given(row=single_rows)
def test_the_description_admits_a_row_exactly_if_the_rules_do(contract: Contract, row: Row) -> None:
    assert contract.admits(row) is not bool(contract.judge(row).violations)
