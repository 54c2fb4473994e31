"""Batch scores are the service's answers: the same rules, the same graph, the same bits."""

import numpy as np
import pytest

from homeostat.data.columns import stack_rows, texts
from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.batch import score_table
from homeostat.errors import ColumnMissing
from homeostat.records import Release
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import Graph
from homeostat.validation.checks import check_row
from tests.deployment.small_release import pack


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    return open_release(find_release(pack(blobs), blobs))


def test_a_table_gets_the_answers_of_its_single_rows(release: Release) -> None:
    cells = {name: np.array([0.5, np.nan, -9.75, 3.0]) for name in ("x0", "x1")}
    graph = Graph(release.graph, release.schema)

    found = score_table(release, cells).probability

    rows = [check_row({"x0": value, "x1": value}, release.schema).row for value in (0.5, None, -9.75, 3.0)]
    assert found.tolist() == [float(graph.score(stack_rows([row], release.schema))[0]) for row in rows]


def test_the_golden_rows_get_the_answers_that_were_packed(release: Release) -> None:
    found = score_table(release, release.golden.columns).probability

    assert found.astype(np.float32).tobytes() == release.golden.expected.tobytes()
    assert check_golden(release, Graph(release.graph, release.schema)) == 0


def test_a_rejected_row_has_no_score_and_its_reason(release: Release) -> None:
    found = score_table(release, {"x0": np.array([0.5, 99.0, 0.5]), "x1": np.array([0.5, 0.5, 0.5])})

    assert np.isnan(found.probability).tolist() == [False, True, False]
    assert [(v.row, v.column, v.rule) for v in found.violations] == [(1, "x0", "range")]


def test_the_scores_of_the_other_rows_do_not_change(release: Release) -> None:
    alone = score_table(release, {"x0": np.array([0.5, 0.25]), "x1": np.array([0.5, 0.75])})

    mixed = score_table(release, {"x0": np.array([0.5, 99.0, 0.25]), "x1": np.array([0.5, 0.5, 0.75])})

    assert mixed.probability[[0, 2]].tolist() == alone.probability.tolist()


def test_a_table_that_is_rejected_throughout_has_no_scores(release: Release) -> None:
    found = score_table(release, {"x0": texts(["a", "b"]), "x1": np.array([0.5, 0.5])})

    assert np.isnan(found.probability).all()
    assert len(found.violations) == 2


def test_a_missing_column_is_named(release: Release) -> None:
    with pytest.raises(ColumnMissing, match="there is no column 'x1'"):
        score_table(release, {"x0": np.array([0.5])})


def test_columns_that_the_release_does_not_know_are_left_out(release: Release) -> None:
    cells = {name: np.array([0.5]) for name in ("x0", "x1")}

    found = score_table(release, {"note": texts(["-"]), **cells})

    assert found.probability.tolist() == score_table(release, cells).probability.tolist()
