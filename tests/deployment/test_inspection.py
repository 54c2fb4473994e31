"""Before anything of a release runs, its files and its graph are looked at for what no training packs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from homeostat.deployment.artifacts import GRAPH, find_release, open_release
from homeostat.deployment.inspection import find_input_problem, require_forms, require_known_files, require_own_graph
from homeostat.errors import ArtifactCorrupt
from homeostat.records import Feature, Release
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import PROBABILITY
from homeostat.validation.schema import freeze_schema
from tests.deployment.saboteurs import Workshop, open_workshop
from tests.deployment.small_release import pack


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    blobs = FolderBlobs(tmp_path)
    return open_workshop(pack(blobs), blobs)


def folder_of(workshop: Workshop, changes: dict[str, bytes]) -> Path:
    return find_release(workshop.store(changes), workshop.blobs)


def with_graph(workshop: Workshop, model: onnx.ModelProto) -> Release:
    return open_release(folder_of(workshop, {GRAPH: model.SerializeToString()}))


def test_what_a_training_packs_passes(workshop: Workshop) -> None:
    folder = folder_of(workshop, {})

    require_known_files(folder)
    require_forms(folder)
    require_own_graph(workshop.release)
    assert find_input_problem(workshop.release.graph, workshop.release.schema) is None


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "setup.py", "model.onnx.data"])
def test_a_file_of_another_name_is_refused_by_name(workshop: Workshop, name: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=name):
        require_known_files(folder_of(workshop, {name: b"x"}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.txt", b"\x80\x04]\x94."),
        ("model.txt", b"text\0"),
        ("search.json", b"not json"),
        ("search.json", b"[" * 200_000),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(workshop: Workshop, name: str, content: bytes) -> None:
    with pytest.raises(ArtifactCorrupt, match=f"{name}' is not the text"):
        require_forms(folder_of(workshop, {name: content}))


def test_bytes_that_are_no_graph_are_refused(workshop: Workshop) -> None:
    with pytest.raises(ArtifactCorrupt, match="cannot be read as ONNX"):
        require_own_graph(open_release(folder_of(workshop, {GRAPH: b"\xff" * 50})))


def test_a_constant_in_another_file_is_refused_wherever_it_hides(workshop: Workshop) -> None:
    outside = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "outside")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../keys")
    for place in ("initializer", "attribute"):
        model = onnx.load_from_string(workshop.release.graph)
        if place == "initializer":
            model.graph.initializer.append(outside)
        else:
            model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside))

        with pytest.raises(ArtifactCorrupt, match="'outside' is kept in another file"):
            require_own_graph(with_graph(workshop, model))


def test_operators_of_a_strange_domain_are_refused(workshop: Workshop) -> None:
    model = onnx.load_from_string(workshop.release.graph)
    model.opset_import.append(helper.make_opsetid("com.stranger", 1))

    with pytest.raises(ArtifactCorrupt, match=r"operators of 'com\.stranger'"):
        require_own_graph(with_graph(workshop, model))


def test_a_graph_with_other_inputs_is_told(workshop: Workshop) -> None:
    schema = workshop.release.schema
    wider = freeze_schema([*schema.features, Feature("city", "categorical")], schema.target)

    problem = str(find_input_problem(workshop.release.graph, wider))

    assert problem.startswith("the graph takes 2 numeric columns (tensor(float)), the schema has 2 numeric columns")
    assert problem.endswith("and 1 categorical columns (tensor(string))")


def test_a_graph_with_another_output_is_told(workshop: Workshop) -> None:
    model = onnx.load_from_string(workshop.release.graph)
    model.graph.output.append(helper.make_tensor_value_info("log_odds", TensorProto.FLOAT, [None, None]))

    assert PROBABILITY in str(find_input_problem(model.SerializeToString(), workshop.release.schema))
