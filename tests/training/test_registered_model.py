"""The registered model is a real one: MLflow's own server answers with it as Homeostat does."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from homeostat.data.columns import stack_rows, unstack_rows
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.project import Project, open_project
from homeostat.records import Golden, Json, Release, Row
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.mirroring import mirror_production
from homeostat.training.models import FAMILIES
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.registered_model import compile_columns, write_model
from homeostat.training.scoring import Graph, open_session
from homeostat.training.tracking import open_client
from homeostat.training.tracking_runs import Attempt, record_run
from homeostat.validation.schema import freeze_schema
from tests.retraining.clinic import NOW, draw_patients, put_in_production, write_project

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
LOADER = Path(__file__).parent / "load_with_mlflow.py"
# Nothing measured, a marker, a category that training has not met, the text that pandas may make of no text.
AWKWARD: list[Row] = [
    {"age": None, "dose": None, "city": None},
    {"age": -1.0, "dose": 3.0, "city": "A"},
    {"age": 40, "dose": 20, "city": "Z"},
    {"age": 40.5, "dose": None, "city": "nan"},
]


class Served:
    """MLflow's server of models, answering with the alias `production` of the clinic."""

    def __init__(self, url: str, release: Release) -> None:
        self.url, self.release = url, release

    def ask(self, body: str, content_type: str = "application/json") -> list[float]:
        answer = httpx.post(f"{self.url}/invocations", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 200, answer.text
        return [prediction["probability"] for prediction in answer.json()["predictions"]]

    def ours(self, rows: list[Row]) -> list[float]:
        columns = stack_rows(rows, self.release.schema)
        return [float(p) for p in Graph(self.release.graph, self.release.schema).score(columns)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], *, at_most_s: float = 120) -> None:
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with open_project(write_project(tmp_path_factory.mktemp("served") / "project")) as project:
        yield project


@pytest.fixture(scope="module")
def release(project: Project) -> Release:
    """The clinic's release, tracked and registered as `clinic`."""
    folder = find_release(put_in_production(project).release, project.blobs)
    client, release = open_client(project.tracking_url), open_release(folder)
    run_id = record_run(client, Attempt("clinic", project.folder / "a", 1, "hand", "a test", NOW), release, folder)
    mirror_production(client, project="clinic", release=release, run_id=run_id)
    return release


@pytest.fixture(scope="module")
def served(project: Project, release: Release) -> Iterator[Served]:
    """`mlflow models serve`, as its documentation has it."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/clinic@production", "--env-manager", "local"]
    environment = {"MLFLOW_TRACKING_URI": project.tracking_url, "MLFLOW_DISABLE_TELEMETRY": "true"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)],
        env=os.environ | environment | {"PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process)
        yield Served(f"http://127.0.0.1:{port}", release)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_mlflow_serves_the_alias_production_with_our_probabilities(served: Served) -> None:
    rows = [*draw_patients(100, seed=5)[0], *AWKWARD]
    names = list(rows[0])
    frame = {"columns": names, "data": [[row[name] for name in names] for row in rows]}

    found = served.ask(json.dumps({"dataframe_split": frame}))

    assert found == pytest.approx(served.ours(rows), abs=1e-6)


@pytest.mark.parametrize("row", AWKWARD)
def test_a_single_row_needs_no_neighbour_to_tell_the_types_of_its_cells(served: Served, row: Row) -> None:
    assert served.ask(json.dumps({"dataframe_records": [row]})) == pytest.approx(served.ours([row]), abs=1e-6)


def test_columns_come_in_any_order_and_in_the_other_forms_that_mlflow_reads(served: Served) -> None:
    row: Row = {"city": "B", "dose": 21.5, "age": 61.0}

    as_csv = served.ask("city,dose,age\nB,21.5,61\n", "text/csv")
    as_lists = served.ask(json.dumps({"inputs": {name: [cell] for name, cell in row.items()}}))

    assert as_csv == as_lists == pytest.approx(served.ours([row]), abs=1e-6)


def test_a_column_that_is_missing_is_told_by_name(served: Served) -> None:
    answer = httpx.post(f"{served.url}/invocations", json={"dataframe_records": [{"age": 50, "city": "A"}]})

    assert (answer.status_code, "dose" in answer.text) == (400, True)


# --- without a server -----------------------------------------------------------------------------------------------


def fit_one_column(whole: Release, name: str) -> Release:
    """Return a release that knows one feature of another alone."""
    rows, outcomes = draw_patients(100, seed=1)
    schema = freeze_schema([f for f in whole.schema.features if f.name == name], whole.schema.target)
    columns = stack_rows([{name: row[name]} for row in rows], schema)
    labels = np.array([outcome == "yes" for outcome in outcomes], dtype=np.int8)
    steps = fit_preprocessor(columns, schema)
    design = design_matrix(steps, columns, schema)
    model = FAMILIES["logistic"].fit(design, labels, parameters={"C": 1.0}, seed=0, weights=None)
    graph = compile_release(steps, model, Calibration(1.0, 0.0), schema)
    return replace(whole, schema=schema, graph=graph, golden=Golden(columns, Graph(graph, schema).score(columns)))


@dataclass(frozen=True)
class Loaded:
    """What a user of MLflow sees of a model and gets for a frame, beside the release and the frame."""

    release: Release
    frame: Json
    seen: Json


@pytest.fixture(scope="module")
def loaded(project: Project, release: Release, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The registered model, and two of one column each, by one process: MLflow takes seconds to import."""
    folder = tmp_path_factory.mktemp("models")
    releases = {"clinic": release} | {name: fit_one_column(release, name) for name in ("dose", "city")}
    frames: Json = {
        "clinic": {"age": [50.0, None], "dose": [20.5, 3.0], "city": ["A", None]},
        "dose": {"dose": [3.0, None]},
        "city": {"city": ["B", None]},
    }
    for name, one in releases.items():
        (folder / name).mkdir()
        write_model(one, folder / name, run_id="a", created_at=NOW)
    uris = {name: str(folder / name) for name in releases} | {"clinic": "models:/clinic@production"}
    asked = json.dumps([[uris[name], frames[name]] for name in releases])
    environment = os.environ | {"MLFLOW_TRACKING_URI": project.tracking_url, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-W", "ignore", str(LOADER), asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = zip(releases, json.loads(done.stdout), strict=True)
    return {name: Loaded(releases[name], frames[name], seen) for name, seen in answers}


def test_the_registered_version_is_of_the_onnx_flavour_with_a_signature_and_an_example(
    loaded: dict[str, Loaded],
) -> None:
    seen, release = loaded["clinic"].seen, loaded["clinic"].release

    assert seen["flavors"] == ["onnx", "python_function"]
    assert seen["signature"] == [["age", "double"], ["dose", "double"], ["city", "string"]]
    assert seen["release"] == release.digest
    assert seen["example"] == pytest.approx(release.golden.expected[:5].tolist(), abs=1e-6)


@pytest.mark.parametrize("name", ["clinic", "dose", "city"])
def test_a_frame_of_pandas_gets_our_probabilities(loaded: dict[str, Loaded], name: str) -> None:
    one = loaded[name]
    rows: list[Row] = [dict(zip(one.frame, cells, strict=True)) for cells in zip(*one.frame.values(), strict=True)]

    ours = Graph(one.release.graph, one.release.schema).score(stack_rows(rows, one.release.schema))

    assert one.seen["found"] == pytest.approx(ours.tolist(), abs=1e-6)


@pytest.mark.usefixtures("release")
def test_the_model_needs_nothing_of_ours_to_be_served(project: Project, tmp_path: Path) -> None:
    client = open_client(project.tracking_url)
    run_id = client.get_model_version_by_alias("clinic", "production").run_id
    folder = Path(client.download_artifacts(str(run_id), "model", str(tmp_path)))

    needed = (folder / "requirements.txt").read_text().split()
    code = ast.parse((folder / "code" / "homeostat_text_columns.py").read_text())
    imported = {ast.unparse(node) for node in ast.walk(code) if isinstance(node, ast.Import | ast.ImportFrom)}
    assert {line.partition("==")[0] for line in needed} == {"mlflow", "numpy", "onnx", "onnxruntime", "pandas"}
    assert imported == {"from typing import Any", "import mlflow.onnx"}


def test_a_graph_behind_one_input_per_column_gives_the_same_bits(release: Release) -> None:
    rows = unstack_rows(release.golden.columns)
    columns: dict[str, NDArray[np.generic]] = {
        "age": np.array([row["age"] for row in rows], dtype=np.float32),
        "dose": np.array([row["dose"] for row in rows], dtype=np.float32),
        "city": np.array([row["city"] or "" for row in rows], dtype=object),
    }

    (found,) = open_session(compile_columns(release).SerializeToString()).run(["probability"], columns)

    assert np.array_equal(found.reshape(-1), release.golden.expected)
