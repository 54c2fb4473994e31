"""Looking at a challenger before anything of it runs: the names and forms of its files, and what its graph refers to.

Not here: whether the bytes are those of its digest (`deployment.artifacts`). It parses what may be hostile: only the
judging process, which has limits, calls it (`retraining.comparison`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from homeostat.deployment.artifacts import (
    EFFECTS,
    GRAPH,
    HELD_OUT,
    MANIFEST,
    NATIVE,
    OUT_OF_FOLD,
    PREPROCESSING,
    PROVENANCE,
    REQUIRED,
)
from homeostat.errors import ArtifactCorrupt
from homeostat.records import Release, Schema
from homeostat.training.scoring import CATEGORICAL, NUMERIC, PROBABILITY, open_session

KNOWN = frozenset(
    {*REQUIRED, PROVENANCE, MANIFEST, OUT_OF_FOLD, HELD_OUT, NATIVE, "search.json", PREPROCESSING, EFFECTS}
)
# Operators of the standard and of its machine-learning part: any other domain is code that this program does not know.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
NUMBER_TYPE, TEXT_TYPE = "tensor(float)", "tensor(string)"


def require_known_files(folder: Path) -> None:
    """Raise ArtifactCorrupt unless every file has a name that a release may hold."""
    for entry in sorted(folder.iterdir()):
        if entry.name not in KNOWN:
            raise distrust(folder.name, f"file {entry.name!r} is none of a release's", "what a training packs")


def require_forms(folder: Path) -> None:
    """Raise ArtifactCorrupt unless every file beside the graph has the form that its name says."""
    for entry in sorted(folder.iterdir()):
        if entry.name != GRAPH and not is_in_form(entry):
            raise distrust(folder.name, f"file {entry.name!r} is not the text that it should be", "JSON, or text")


def is_in_form(path: Path) -> bool:
    """Return whether a file is what its ending says: JSON, or text."""
    try:
        text = path.read_bytes().decode()
        if path.suffix == ".json":
            json.loads(text)
    except (OSError, ValueError, RecursionError):
        return False
    return "\0" not in text


def require_own_graph(release: Release) -> None:
    """Raise ArtifactCorrupt unless the graph is ONNX that refers to nothing outside itself."""
    try:
        model = onnx.load_from_string(release.graph)
    except DecodeError as error:
        raise distrust(release.digest, f"{GRAPH!r} cannot be read as ONNX ({error})", "a graph") from error
    outside = next((t.name for t in find_tensors(model) if t.data_location == TensorProto.EXTERNAL), None)
    if outside is not None:
        raise distrust(release.digest, f"constant {outside!r} is kept in another file", "constants in the graph")
    foreign = next((op.domain for op in model.opset_import if op.domain not in DOMAINS), None)
    if foreign is not None:
        raise distrust(release.digest, f"the graph uses operators of {foreign!r}", "operators of the ONNX standard")


def find_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every constant of a model, those of inner graphs and of functions too."""
    pending: list[GraphProto] = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    attributes: list[AttributeProto] = [attribute for node in nodes for attribute in node.attribute]
    while pending or attributes:
        if attributes:
            attribute = attributes.pop()
            yield from [attribute.t, *attribute.tensors]
            pending += [attribute.g, *attribute.graphs]
            continue
        graph = pending.pop()
        yield from graph.initializer
        attributes += [attribute for node in graph.node for attribute in node.attribute]


def find_input_problem(graph: bytes, schema: Schema) -> str | None:
    """Return how the inputs and output of a graph differ from a schema's, in words, None if they do not."""
    session = open_session(graph)
    expected: dict[str, tuple[str, object]] = {}
    if schema.numeric:
        expected[NUMERIC] = (NUMBER_TYPE, len(schema.numeric))
    if schema.categorical:
        expected[CATEGORICAL] = (TEXT_TYPE, len(schema.categorical))
    found = {one.name: (one.type, one.shape[-1] if one.shape else None) for one in session.get_inputs()}
    if found != expected:
        return f"the graph takes {describe_inputs(found)}, the schema has {describe_inputs(expected)}"
    outputs = [(one.name, one.type) for one in session.get_outputs()]
    return None if outputs == [(PROBABILITY, NUMBER_TYPE)] else f"the graph gives {outputs}, expected one probability"


def describe_inputs(inputs: Mapping[str, tuple[str, object]]) -> str:
    """Return a graph's inputs in words."""
    return " and ".join(f"{width} {name} columns ({kind})" for name, (kind, width) in inputs.items()) or "no columns"


def distrust(digest: str, problem: str, expected: str) -> ArtifactCorrupt:
    """Return the three-part error for a release that is not opened."""
    return ArtifactCorrupt(
        problem=f"release {digest[:12]}: {problem}",
        expected=expected,
        action="find out who stored it; production is as it was",
    )
