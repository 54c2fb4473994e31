"""A release as an MLflow model of the onnx flavour, which MLflow's own tools load and serve.

Not here: the version that is registered (`training.mirroring`). MLflow feeds a graph one array a column, so the graph
of the release stands behind an input for each feature; its answers are the same. The files are written here because
`mlflow.onnx` needs pandas, which training does not: <https://mlflow.org/docs/latest/ml/model/>.
"""

import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from homeostat.data.columns import take_rows, unstack_rows
from homeostat.records import Feature, Json, Release, Schema
from homeostat.training import text_columns
from homeostat.training.scoring import CATEGORICAL, NUMERIC, PROBABILITY

GRAPH, ONNX = "model.onnx", "mlflow.onnx"
# What the names inside the release's graph begin with, so that none is that of a feature.
INSIDE = "release:"
CODE, TEXT_LOADER = "code", "homeostat_text_columns"
N_EXAMPLE_ROWS = 5
NEEDED = ("numpy", "onnx", "onnxruntime")


def write_model(release: Release, folder: Path, *, run_id: str, created_at: datetime) -> None:
    """Write a release as an MLflow model into an empty folder."""
    found = compile_columns(release)
    onnx.save_model(found, str(folder / GRAPH))
    example = example_of(release)
    documents = {
        "MLmodel": describe_model(release, found, run_id=run_id, created_at=created_at),
        "input_example.json": example,
        "serving_input_example.json": {"dataframe_split": example},
        # JSON is YAML too (https://yaml.org/spec/1.2.2/#12-yaml-history).
        "python_env.yaml": {"python": python_version(), "dependencies": ["-r requirements.txt"]},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if release.schema.categorical:
        (folder / CODE).mkdir()
        shutil.copyfile(text_columns.__file__, folder / CODE / f"{TEXT_LOADER}.py")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements()), encoding="utf-8")


def compile_columns(release: Release) -> ModelProto:
    """Return the release's graph behind one input per feature: a float, NaN for missing, or a text, "" for missing."""
    whole = compose.add_prefix(onnx.load_from_string(release.graph), INSIDE)
    schema = release.schema
    nodes: list[NodeProto] = []
    constants = [numpy_helper.from_array(np.array([-1, 1]), "(column)")]
    if schema.numeric:
        nodes += stack([f.name for f in schema.numeric], NUMERIC)
    if schema.categorical:
        nodes += stack([f.name for f in schema.categorical], CATEGORICAL)
    name = output_name(schema)
    nodes += [*whole.graph.node, helper.make_node("Identity", [f"{INSIDE}{PROBABILITY}"], [name])]
    # MLflow hands the values of a frame of one column over as they are, in two dimensions.
    shape = [None] if len(schema.features) > 1 else [None, 1]
    inputs = [helper.make_tensor_value_info(f.name, tensor_type(f), shape) for f in schema.features]
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])
    graph = helper.make_graph(nodes, "homeostat", inputs, [output], [*whole.graph.initializer, *constants])
    model = helper.make_model(
        graph, opset_imports=whole.opset_import, producer_name=whole.producer_name, ir_version=whole.ir_version
    )
    onnx.checker.check_model(model)
    return model


def stack(names: Sequence[str], name: str) -> Iterator[NodeProto]:
    """Yield the nodes that put columns side by side as an input of the release's graph."""
    for one in names:
        yield helper.make_node("Reshape", [one, "(column)"], [f"(column) {one}"])
    yield helper.make_node("Concat", [f"(column) {one}" for one in names], [f"{INSIDE}{name}"], axis=1)


def tensor_type(feature: Feature) -> int:
    """Return the ONNX type of a feature."""
    return int(TensorProto.FLOAT if feature.kind == "numeric" else TensorProto.STRING)


def output_name(schema: Schema) -> str:
    """Return the name of the output: `probability`, longer if a feature is called so."""
    name, taken = PROBABILITY, {feature.name for feature in schema.features}
    while name in taken:
        name += "_"
    return name


def describe_model(release: Release, model: ModelProto, *, run_id: str, created_at: datetime) -> Json:
    """Return the content of the file MLmodel: flavours, signature, where it comes from."""
    types = {"numeric": "double", "categorical": "string"}
    inputs = [{"type": types[f.kind], "name": f.name, "required": True} for f in release.schema.features]
    outputs = [{"type": "float", "name": output_name(release.schema), "required": True}]
    environment = {"virtualenv": "python_env.yaml"}
    # One thread, as everywhere: the bits are then the same for any batch size (training.scoring).
    session = {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "execution_mode": "sequential"}
    loader = {"loader_module": TEXT_LOADER, "code": CODE} if release.schema.categorical else {"loader_module": ONNX}
    serving = {**loader, "data": GRAPH, "env": environment, "python_version": python_version()}
    native = {"onnx_version": version("onnx"), "data": GRAPH, "providers": ["CPUExecutionProvider"]}
    return {
        "artifact_path": "model",
        "flavors": {"python_function": serving, "onnx": native | {"onnx_session_options": session}},
        "metadata": {"homeostat.release": release.digest, "homeostat.snapshot": release.lineage["snapshot"]},
        "mlflow_version": version("mlflow-skinny"),
        "model_size_bytes": model.ByteSize(),
        "run_id": run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "utc_time_created": f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}",
    }


def example_of(release: Release) -> Json:
    """Return a few rows in the form that pandas calls split; a missing value is null."""
    rows = take_rows(release.golden.columns, np.arange(min(N_EXAMPLE_ROWS, len(release.golden.expected))))
    names = [feature.name for feature in release.schema.features]
    return {"columns": names, "data": [[row[name] for name in names] for row in unstack_rows(rows)]}


def requirements() -> list[str]:
    """Return what serves the model, in the form that pip reads: the versions that have made it."""
    # MLflow reads frames with pandas, whose version changes nothing here and which training does not need.
    return [f"mlflow=={version('mlflow-skinny')}", *(f"{name}=={version(name)}" for name in NEEDED), "pandas"]


def python_version() -> str:
    """Return the version of this interpreter."""
    return platform.python_version()
