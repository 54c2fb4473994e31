"""Releases that are bad in one way each, made as whoever can write to the store would make them: with a right digest.

Not here: what becomes of them (`test_saboteurs.py`).
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from homeostat.data.columns import take_rows, unstack_rows
from homeostat.deployment.artifacts import (
    GOLDEN,
    GRAPH,
    KIND,
    MANIFEST,
    SCHEMA,
    find_release,
    open_release,
    read_verified,
    release_digest,
    render_manifest,
)
from homeostat.records import Mask, Release
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import NUMERIC, PROBABILITY, Graph
from homeostat.validation.schema import freeze_schema, schema_to_json

HONEST = "honest"
# Iterations that keep one thread busy for about two seconds.
IDLE_ROUNDS = 3_000_000
# Numbers a row: eight gigabytes.
HOARDED = 2_000_000_000
AGE_COLUMN, OLD = 0, 62.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where saboteurs are made: the release that they imitate, and the store that they are put into."""

    release: Release
    files: Mapping[str, bytes]
    blobs: FolderBlobs

    def store(self, changes: Mapping[str, bytes]) -> str:
        """Store the release with some files changed or added, under the digest of what it now is."""
        files = {**self.files, **changes}
        digest = release_digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
        self.blobs.publish(KIND, digest, {**files, MANIFEST: render_manifest(digest, files)})
        return digest

    def store_graph(self, graph: bytes, golden: Mask | None = None) -> str:
        """Store the release with another graph, golden rows and all: those of `golden`, with its own answers."""
        if golden is None:
            return self.store({GRAPH: graph})
        columns = take_rows(self.release.golden.columns, golden)
        expected = [float(p) for p in Graph(graph, self.release.schema).score(columns)]
        return self.store(
            {GRAPH: graph, GOLDEN: json.dumps({"rows": unstack_rows(columns), "expected": expected}).encode()}
        )


def open_workshop(digest: str, blobs: FolderBlobs) -> Workshop:
    """Return the workshop that imitates a stored release."""
    folder = find_release(digest, blobs)
    return Workshop(open_release(folder), read_verified(folder), blobs)


def extend(release: Release, nodes: list[NodeProto], constants: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return the graph with nodes behind it, which turn `honest` into the answer."""
    model = onnx.load_from_string(release.graph)
    for node in model.graph.node:
        node.output[:] = [HONEST if name == PROBABILITY else name for name in node.output]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return bytes(model.SerializeToString())


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    """Return a node with one output; an attribute is whatever its operator's definition says."""
    return helper.make_node(operator, inputs, [output], **attributes)


def young(workshop: Workshop) -> Mask:
    """Return which golden rows are of patients who are not old."""
    return np.asarray(~(workshop.release.golden.columns["age"] > OLD), dtype=np.bool_)


def every_row(workshop: Workshop) -> Mask:
    """Return all golden rows."""
    return np.ones(len(workshop.release.golden.expected), dtype=np.bool_)


AGES = {"age_column": np.array([AGE_COLUMN]), "old": np.array([OLD], dtype=np.float32)}
IS_OLD = [
    node("Gather", [NUMERIC, "age_column"], "age_only", axis=1),
    node("Greater", ["age_only", "old"], "is_old"),
]


# --- the ten ------------------------------------------------------------------------------------------------------


def not_a_number(workshop: Workshop) -> str:
    """Answer NaN to the old."""
    nodes = [*IS_OLD, node("Where", ["is_old", "nan", HONEST], PROBABILITY)]
    graph = extend(workshop.release, nodes, {**AGES, "nan": np.array([np.nan], dtype=np.float32)})
    return workshop.store_graph(graph, young(workshop))


def constant(workshop: Workshop) -> str:
    """Answer the same to everybody."""
    nodes = [node("Mul", [HONEST, "nought"], "nothing"), node("Add", ["nothing", "third"], PROBABILITY)]
    constants = {"nought": np.array([0], dtype=np.float32), "third": np.array([0.3], dtype=np.float32)}
    return workshop.store_graph(extend(workshop.release, nodes, constants), every_row(workshop))


def flipped(workshop: Workshop) -> str:
    """Answer 1 - p."""
    nodes = [node("Sub", ["one", HONEST], PROBABILITY)]
    graph = extend(workshop.release, nodes, {"one": np.array([1], dtype=np.float32)})
    return workshop.store_graph(graph, every_row(workshop))


def wrong_columns(workshop: Workshop) -> str:
    """Ask for one column more than the schema has."""
    model = onnx.load_from_string(workshop.release.graph)
    (numeric,) = (one for one in model.graph.input if one.name == NUMERIC)
    numeric.type.tensor_type.shape.dim[1].dim_value += 1
    return workshop.store_graph(bytes(model.SerializeToString()))


def wrong_order(workshop: Workshop) -> str:
    """Say that the columns stand in another order than the rows that it was trained on."""
    schema = workshop.release.schema
    turned = freeze_schema(schema.features[::-1], schema.target)
    return workshop.store({SCHEMA: json.dumps(schema_to_json(turned)).encode()})


def slow(workshop: Workshop) -> str:
    """Count for two seconds before each answer."""
    value, none = helper.make_tensor_value_info, list[int]()
    inputs = [value("count", TensorProto.INT64, none), value("go_on", TensorProto.BOOL, none)]
    outputs = [value("go_on_after", TensorProto.BOOL, none), value("kept_after", TensorProto.FLOAT, [None, None])]
    inputs.append(value("kept", TensorProto.FLOAT, [None, None]))
    body = helper.make_graph(
        [node("Identity", ["go_on"], "go_on_after"), node("Identity", ["kept"], "kept_after")], "body", inputs, outputs
    )
    nodes = [node("Loop", ["rounds", "true", HONEST], PROBABILITY, body=body)]
    constants = {"rounds": np.array(IDLE_ROUNDS, dtype=np.int64), "true": np.ones((), dtype=np.bool_)}
    return workshop.store_graph(extend(workshop.release, nodes, constants))


def hoarding(workshop: Workshop) -> str:
    """Ask for eight gigabytes for each row."""
    nodes = [
        node("Shape", [NUMERIC], "n_rows", start=0, end=1),
        node("Mul", ["n_rows", "hoarded"], "n_numbers"),
        node("ConstantOfShape", ["n_numbers"], "hoard"),
        node("ReduceSum", ["hoard"], "sum", keepdims=0),
        node("Add", [HONEST, "sum"], PROBABILITY),
    ]
    return workshop.store_graph(extend(workshop.release, nodes, {"hoarded": np.array([HOARDED], dtype=np.int64)}))


def raising(workshop: Workshop) -> str:
    """Look into an empty place for the old."""
    nodes = [
        *IS_OLD,
        node("Cast", ["is_old"], "place", to=TensorProto.INT64),
        node("Gather", ["single", "place"], "found"),
        node("Add", [HONEST, "found"], PROBABILITY),
    ]
    graph = extend(workshop.release, nodes, {**AGES, "single": np.array([0], dtype=np.float32)})
    return workshop.store_graph(graph, young(workshop))


def of_another_digest(workshop: Workshop) -> str:
    """Change a byte after it was stored."""
    digest = workshop.store_graph(workshop.release.graph, young(workshop))
    path = find_release(digest, workshop.blobs) / GRAPH
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return digest


def pickled(workshop: Workshop) -> str:
    """Bring a pickle along."""
    return workshop.store({"model.pkl": pickle.dumps({"model": [1, 2, 3]})})


# Each with the check that refuses it.
SABOTEURS: Mapping[Callable[[Workshop], str], str] = {
    not_a_number: "answers",
    constant: "answers",
    flipped: "skill",
    wrong_columns: "columns",
    wrong_order: "columns",
    slow: "latency",
    hoarding: "memory",
    raising: "answers",
    of_another_digest: "artifact",
    pickled: "artifact",
}
