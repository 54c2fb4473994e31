"""A release opens only if every byte is the one that was packed, and answers only as it did then."""

import hashlib
import io
import json
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from homeostat.data.columns import unstack_rows
from homeostat.deployment.artifacts import (
    GRAPH,
    KIND,
    LINEAGE,
    MANIFEST,
    PROVENANCE,
    REQUIRED,
    SCHEMA,
    check_golden,
    find_release,
    open_release,
    pack_release,
    read_verified,
    release_digest,
)
from homeostat.errors import ArtifactCorrupt, GoldenMismatch, HomeostatError, ReleaseMissing
from homeostat.project import Project
from homeostat.records import Release
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import Graph
from tests.deployment.small_release import pack
from tests.training.generated import linear_table

FILES = (*REQUIRED, PROVENANCE, "model.txt", MANIFEST)
Publish = Callable[[Mapping[str, bytes]], str]
every_file = pytest.mark.parametrize("name", FILES)
hostile = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed release: read it, never change it."""
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    return find_release(pack(blobs), blobs)


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    """A copy of the release that a test may damage."""
    return Path(shutil.copytree(packed, tmp_path / packed.name))


def assert_refused(folder: Path) -> None:
    with pytest.raises(ArtifactCorrupt) as refused:
        open_release(folder)
    assert refused.value.problem.startswith(f"release {folder.name[:12]}: ")


# --- a whole release ----------------------------------------------------------------------------------------------


def test_a_release_comes_back_as_it_was_packed(packed: Path) -> None:
    release = open_release(packed)

    schema, columns, _ = linear_table(200, n_features=2, noise=1.0, seed=0)
    assert (release.digest, release.schema) == (packed.name, schema)
    assert (release.metrics, release.lineage) == ({"auc": 0.8}, {"family": "lightgbm"})
    assert release.profile.n_rows == len(columns["x0"])


def test_a_release_that_was_packed_without_out_of_fold_rows_has_none(packed: Path) -> None:
    assert open_release(packed).out_of_fold is None


def test_the_golden_answers_are_those_of_the_packed_graph(packed: Path) -> None:
    release = open_release(packed)

    given_ = Graph(release.graph, release.schema).score(release.golden.columns)

    assert given_.tobytes() == release.golden.expected.tobytes()
    assert check_golden(release, Graph(release.graph, release.schema)) == 0


def test_the_golden_rows_come_back_with_their_missing_values(packed: Path) -> None:
    rows = unstack_rows(open_release(packed).golden.columns)

    assert {"x0": None, "x1": rows[0]["x1"]} in rows


def test_the_features_stay_in_schema_order(packed: Path) -> None:
    release = open_release(packed)

    assert list(release.golden.columns) == list(release.profile.features) == ["x0", "x1"]


def test_packing_the_same_again_gives_the_same_release(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)

    assert pack(blobs) == pack(blobs)
    assert len(list((tmp_path / KIND).iterdir())) == 1


def test_the_digest_leaves_out_times_and_run_ids(tmp_path: Path) -> None:
    digests = {pack(FolderBlobs(tmp_path / at), provenance={"created_at": at, "cycle": at}) for at in ("1", "2")}

    assert len(digests) == 1


def test_anything_else_that_differs_gives_another_digest(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)

    assert len({pack(blobs), pack(blobs, metrics={"auc": 0.7}), pack(blobs, seed=1)}) == 3


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1))
def test_a_digest_does_not_depend_on_the_order_of_the_files(digests: dict[str, str]) -> None:
    turned = {name: digests[name] for name in sorted(digests, reverse=True)}

    assert release_digest(turned) == release_digest(digests)


def test_a_release_that_is_not_in_the_store_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ReleaseMissing, match="there is no release aaaaaaaaaaaa in the store"):
        find_release("a" * 64, FolderBlobs(tmp_path))


def test_a_graph_that_answers_no_number_is_never_packed(tmp_path: Path, packed: Path) -> None:
    release = open_release(packed)
    loaded = onnx.load_from_string(release.graph)
    replace_constant(loaded, "calibration_offset", lambda value: value * np.float32(np.nan))

    with pytest.raises(ValueError, match="JSON"):
        pack_release(
            graph=loaded.SerializeToString(),
            schema=release.schema,
            profile=release.profile,
            golden_inputs=release.golden.columns,
            metrics={},
            lineage={},
            extra={},
            provenance={},
            blobs=FolderBlobs(tmp_path),
        )
    assert not list(tmp_path.iterdir())


# --- a damaged release --------------------------------------------------------------------------------------------


@every_file
@hostile
@given(data=st.data())
def test_one_flipped_bit_is_refused(packed: Path, folder: Path, name: str, data: st.DataObject) -> None:
    whole = (packed / name).read_bytes()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    (folder / name).write_bytes(damaged)

    assert_refused(folder)


@every_file
@hostile
@given(data=st.data())
def test_a_truncated_file_is_refused(packed: Path, folder: Path, name: str, data: st.DataObject) -> None:
    whole = (packed / name).read_bytes()

    (folder / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])

    assert_refused(folder)


@every_file
def test_a_file_that_grew_is_refused(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"\n")

    assert_refused(folder)


@every_file
def test_a_dropped_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()

    assert_refused(folder)


@every_file
def test_a_symlink_is_refused_even_to_the_same_bytes(packed: Path, folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(packed / name)

    assert_refused(folder)


@every_file
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_plain_file_is_refused(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)

    assert_refused(folder)


@pytest.mark.parametrize("added", ["more.json", ".hidden", "model.onnx~", "sub"])
def test_an_added_file_is_refused(folder: Path, added: str) -> None:
    (folder / added).mkdir() if added == "sub" else (folder / added).write_bytes(b"{}")

    assert_refused(folder)


@pytest.mark.parametrize("pair", [(GRAPH, "model.txt"), ("metrics.json", "lineage.json"), (MANIFEST, PROVENANCE)])
def test_two_swapped_files_are_refused(folder: Path, pair: tuple[str, str]) -> None:
    first, second = (folder / name for name in pair)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])

    assert_refused(folder)


@pytest.mark.parametrize("name", sorted({*FILES} - {SCHEMA, LINEAGE}))  # those are equal
def test_a_file_of_another_release_is_refused(folder: Path, name: str, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "other")
    other = find_release(pack(blobs, metrics={"auc": 0.7}, provenance={"created_at": "later"}, seed=1), blobs)

    shutil.copy(other / name, folder / name)

    assert_refused(folder)


def test_a_whole_release_under_another_name_is_refused(folder: Path) -> None:
    assert_refused(folder.rename(folder.with_name("a" * 64)))


def test_a_manifest_made_to_fit_changed_files_is_refused(folder: Path) -> None:
    graph = (folder / GRAPH).read_bytes() + b"\0"
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][GRAPH] = {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
    (folder / GRAPH).write_bytes(graph)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))

    assert_refused(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": {}}', b'{"files": 3}', b"[" * 100_000, b"\xff"])
def test_a_manifest_of_any_form_is_refused_in_three_parts(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)

    assert_refused(folder)


def test_garbage_is_refused_by_its_digest_and_not_by_a_parser(folder: Path) -> None:
    for name in REQUIRED:
        (folder / name).write_bytes(b"\x80\x04cposix\nsystem\n")

    with pytest.raises(ArtifactCorrupt, match="differ from their digest"):
        open_release(folder)


def test_a_refusal_has_three_parts(folder: Path) -> None:
    (folder / GRAPH).unlink()

    with pytest.raises(HomeostatError) as refused:
        read_verified(folder)

    assert refused.value.problem == f"release {folder.name[:12]}: file 'model.onnx' is missing"
    assert refused.value.expected == "exactly the files that were packed, byte for byte"
    assert "backup" in refused.value.action


# --- no pickle ----------------------------------------------------------------------------------------------------


def is_pickle(content: bytes) -> bool:
    try:
        list(pickletools.genops(io.BytesIO(content)))
    except (ValueError, IndexError, UnicodeDecodeError):
        return False
    return True


def test_no_file_of_a_release_is_a_pickle(project: Project) -> None:
    digest = next((project.blobs.root / KIND).iterdir()).name

    found = {name for name, content in read_verified(find_release(digest, project.blobs)).items() if is_pickle(content)}

    assert found == set()
    assert is_pickle(pickle.dumps([1]))


OPEN_UNDER_A_HOOK = """
import os, sys
from pathlib import Path
sys.addaudithook(lambda event, _: os._exit(3) if event == "pickle.find_class" else None)
from homeostat.deployment.artifacts import check_golden, open_release
from homeostat.training.scoring import Graph
release = open_release(Path(sys.argv[1]))
check_golden(release, Graph(release.graph, release.schema))
if sys.argv[2:]:
    import collections, pickle
    pickle.loads(pickle.dumps(collections.OrderedDict()))
"""


@pytest.mark.parametrize(("and_unpickle", "code"), [([], 0), (["yes"], 3)])
def test_opening_and_scoring_unpickles_nothing(packed: Path, and_unpickle: list[str], code: int) -> None:
    command = [sys.executable, "-c", OPEN_UNDER_A_HOOK, str(packed), *and_unpickle]

    assert subprocess.run(command, check=False).returncode == code


# --- golden rows --------------------------------------------------------------------------------------------------


def replace_constant(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (constant,) = (one for one in model.graph.initializer if one.name == name)
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant)).astype(np.float32), name))


def nudge_thresholds(model: onnx.ModelProto) -> None:
    """Move every threshold by one float32 step."""
    (ensemble,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    (values,) = (attribute for attribute in ensemble.attribute if attribute.name == "nodes_values")
    moved = [float(np.nextafter(np.float32(value), np.float32(np.inf))) for value in values.floats]
    values.ClearField("floats")
    values.floats.extend(moved)


MUTATIONS: Mapping[str, Callable[[onnx.ModelProto], None]] = {
    "another fill": lambda model: replace_constant(model, "fills", lambda value: value + 1),
    "every threshold one step higher": nudge_thresholds,
    "a slope 0.01 % steeper": lambda model: replace_constant(model, "calibration_slope", lambda value: value * 1.0001),
    "no number": lambda model: replace_constant(model, "calibration_offset", lambda value: value * np.nan),
}


def mutated(release: Release, name: str) -> bytes:
    loaded = onnx.load_from_string(release.graph)
    MUTATIONS[name](loaded)
    return bytes(loaded.SerializeToString())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_graph_that_was_altered_fails_its_golden_rows(packed: Path, mutation: str) -> None:
    release = open_release(packed)

    with pytest.raises(GoldenMismatch, match="golden rows differently"):
        check_golden(release, Graph(mutated(release, mutation), release.schema))


def test_an_altered_graph_under_its_own_right_digest_still_fails_its_golden_rows(
    project: Project, publish_changed: Publish
) -> None:
    (first,) = (project.blobs.root / KIND).iterdir()
    digest = publish_changed({GRAPH: mutated(open_release(first), "another fill")})

    release = open_release(find_release(digest, project.blobs))

    with pytest.raises(GoldenMismatch):
        check_golden(release, Graph(release.graph, release.schema))
