"""A snapshot is its logical content: named by it, verified against it, and every row on its side for good."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from homeostat.data.columns import stack_rows, texts, unstack_rows
from homeostat.data.snapshots import (
    FILE,
    PRODUCTION,
    create_snapshot,
    digest_content,
    join_labelled,
    load_snapshot,
    row_contents,
)
from homeostat.errors import ArtifactCorrupt, HomeostatError, ReleaseMissing
from homeostat.project import open_project
from homeostat.records import Columns, Feature, LabelledRows, Schema, Snapshot, Target
from homeostat.retraining.training_data import take_snapshot
from homeostat.store.blobs import FolderBlobs

SCHEMA = Schema((Feature("age", "numeric"), Feature("city", "categorical")), Target("outcome", 0, 1), digest="5c" * 32)
SHARES = {"anchor_share": 0.2, "recent_share": 0.4}

# One labelled row: id, side, origin, label, age, city.
Line = tuple[str, str, str, int, float | None, str | None]
names = st.text("abc0123", min_size=1, max_size=4)
lines: st.SearchStrategy[Line] = st.tuples(
    names,
    st.sampled_from(["training", "anchor", "recent"]),
    st.sampled_from([FILE, PRODUCTION]),
    st.sampled_from([0, 1]),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.sampled_from(["", " ", "a", "a ", "-", "1:a", "|"]) | st.text(),
)
tables = st.lists(lines, min_size=1, max_size=8)
few = settings(max_examples=50, deadline=None)


def labelled(table: list[Line]) -> LabelledRows:
    ids, sides, origins, labels, ages, cities = zip(*table, strict=True)
    columns = stack_rows([{"age": age, "city": city} for age, city in zip(ages, cities, strict=True)], SCHEMA)
    return LabelledRows(
        texts(ids),
        columns,
        np.array(labels, dtype=np.int8),
        texts(sides),
        texts(origins),
        np.zeros(len(ids), dtype=np.int64),
    )


def digest_of(table: list[Line]) -> str:
    rows = labelled(table)
    return digest_content(rows, rows.columns, SCHEMA)


def store(table: list[Line], folder: Path, lineage: dict[str, object] | None = None) -> Snapshot:
    rows = labelled(table)
    return create_snapshot(rows, rows.columns, schema=SCHEMA, lineage=lineage or {}, blobs=FolderBlobs(folder))


def as_lines(rows: LabelledRows) -> list[Line]:
    heads = zip(rows.ids, rows.sides, rows.origins, rows.labels.tolist(), strict=True)
    return [(*head, row["age"], row["city"]) for head, row in zip(heads, unstack_rows(rows.columns), strict=True)]  # type: ignore[misc]


# --- the digest ---------------------------------------------------------------------------------------------------


@few
@given(table=tables, data=st.data())
def test_the_order_of_the_rows_does_not_change_the_digest(table: list[Line], data: st.DataObject) -> None:
    assert digest_of(data.draw(st.permutations(table))) == digest_of(table)


@few
@given(table=tables, other=lines, data=st.data())
def test_a_row_that_is_changed_in_any_cell_changes_the_digest(
    table: list[Line], other: Line, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(table) - 1))
    cell = data.draw(st.integers(0, 5))
    assume(other[cell] != table[row][cell])
    changed = list(table)
    changed[row] = (*table[row][:cell], other[cell], *table[row][cell + 1 :])  # type: ignore[assignment]

    assert digest_of(changed) != digest_of(table)


@few
@given(table=tables, extra=lines)
def test_a_row_more_or_less_changes_the_digest_even_if_it_is_a_duplicate(table: list[Line], extra: Line) -> None:
    assert digest_of([*table, extra]) != digest_of(table)
    assert digest_of([*table, table[0]]) != digest_of(table)


def test_the_schema_and_the_baseline_belong_to_the_content() -> None:
    rows = labelled([("a", "training", FILE, 1, 50.0, "Bonn")])
    other = Schema(SCHEMA.features, SCHEMA.target, digest="00" * 32)
    baselines: list[Columns] = [rows.columns, stack_rows([], SCHEMA)]

    assert len({digest_content(rows, baseline, schema) for baseline in baselines for schema in (SCHEMA, other)}) == 4


def test_the_content_of_a_row_is_its_cells_in_the_order_of_the_columns() -> None:
    number = np.array([1.5, np.nan])
    text = texts(["Köln", None])
    one, none = np.array(1.5, dtype="<f8").tobytes(), np.array(np.nan, dtype="<f8").tobytes()

    contents = row_contents({"a": number, "b": number, "c": text, "d": number, "e": text, "f": text})

    assert contents == [
        b"|".join([one, one, "4:Köln".encode(), one, "4:Köln".encode(), "4:Köln".encode()]),
        b"|".join([none, none, b"-", none, b"-", b"-"]),
    ]


def test_zeros_of_both_signs_are_one_number_and_so_are_all_nans() -> None:
    other_nan = np.array([0x7FF8_0000_0000_0001], dtype=np.uint64).view(np.float64)[0]

    contents = row_contents({"age": np.array([0.0, -0.0, np.nan, other_nan])})

    assert contents[0] == contents[1]
    assert contents[2] == contents[3]


texts_alike = st.lists(st.tuples(*[st.none() | st.text("-|:01", max_size=4)] * 2), min_size=2, max_size=6)


@given(cells=texts_alike)
def test_two_rows_have_the_same_bytes_exactly_if_every_cell_is_equal(
    cells: list[tuple[str | None, str | None]],
) -> None:
    contents = row_contents({"a": texts([a for a, _ in cells]), "b": texts([b for _, b in cells])})

    assert [[a == b for a in contents] for b in contents] == [[a == b for a in cells] for b in cells]


# --- storing and loading ------------------------------------------------------------------------------------------


@few
@given(table=tables)
def test_what_was_stored_is_loaded_cell_by_cell(table: list[Line], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("blobs")
    stored = store(table, folder)

    loaded = load_snapshot(stored.digest, schema=SCHEMA, blobs=FolderBlobs(folder))

    assert as_lines(loaded.rows) == table
    assert unstack_rows(loaded.baseline) == unstack_rows(stored.baseline)
    assert loaded.lineage == stored.lineage


TABLE: list[Line] = [
    ("a", "training", FILE, 1, 50.0, "Bonn"),
    ("b", "anchor", FILE, 0, None, None),
    ("c", "recent", PRODUCTION, 1, 31.5, "Köln"),
]


def test_the_same_content_is_stored_once_and_stays_as_it_was_first(tmp_path: Path) -> None:
    first = store(TABLE, tmp_path, {"sources": ["a.csv"]})
    again = store(TABLE[::-1], tmp_path, {"sources": ["b.csv"]})

    assert again.digest == first.digest
    assert load_snapshot(first.digest, schema=SCHEMA, blobs=FolderBlobs(tmp_path)).lineage["sources"] == ["a.csv"]


def test_the_bytes_of_the_parquet_file_do_not_matter(tmp_path: Path) -> None:
    stored = store(TABLE, tmp_path)
    path = tmp_path / "snapshots" / stored.digest / "rows.parquet"
    before = path.read_bytes()
    pl.read_parquet(path).reverse().write_parquet(path, compression="uncompressed")

    loaded = load_snapshot(stored.digest, schema=SCHEMA, blobs=FolderBlobs(tmp_path))

    assert path.read_bytes() != before
    assert as_lines(loaded.rows) == TABLE[::-1]


def change(column: str, value: object) -> Callable[[Path], object]:
    """Return an edit of the first stored row."""

    def edit(folder: Path) -> None:
        table = pl.read_parquet(folder / "rows.parquet")
        cells = [value, *table[column].to_list()[1:]]
        table.with_columns(pl.Series(column, cells, dtype=table.schema[column])).write_parquet(folder / "rows.parquet")

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        change(".id", "z"),
        change(".side", "anchor"),
        change(".origin", PRODUCTION),
        change(".label", 0),
        change("age", 51.0),
        change("city", "Bonn "),
        lambda folder: (folder / "rows.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "rows.parquet").unlink(),
        lambda folder: (folder / "lineage.json").write_bytes(b"{"),
        lambda folder: shutil.copy(folder / "baseline.parquet", folder / "rows.parquet"),
        lambda folder: pl.read_parquet(folder / "baseline.parquet").head(1).write_parquet(folder / "baseline.parquet"),
    ],
)
def test_a_snapshot_that_was_changed_on_disk_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    stored = store(TABLE, tmp_path)
    damage(tmp_path / "snapshots" / stored.digest)

    with pytest.raises(ArtifactCorrupt) as refused:
        load_snapshot(stored.digest, schema=SCHEMA, blobs=FolderBlobs(tmp_path))
    assert stored.digest[:12] in refused.value.problem


def test_a_snapshot_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ReleaseMissing) as refused:
        load_snapshot("f" * 64, schema=SCHEMA, blobs=FolderBlobs(tmp_path))

    assert "ffffffffffff" in refused.value.problem


# --- joining ------------------------------------------------------------------------------------------------------


def test_a_prediction_in_two_parts_is_taken_once_and_duplicates_of_a_file_stay() -> None:
    of_file: Line = ("a", "training", FILE, 1, 50.0, "Bonn")
    predicted: Line = ("p", "recent", PRODUCTION, 0, 31.5, None)

    joined = join_labelled([labelled([of_file, of_file, predicted]), labelled([predicted, of_file])], SCHEMA)

    assert as_lines(joined) == [of_file, of_file, predicted, of_file]


# --- from a project -----------------------------------------------------------------------------------------------

SETTINGS = """
[project]
name = "clinic"
data = ["old.csv", "new.csv"]
target = "outcome"
[features.age]
range = [0, 120]
[features.city]
kind = "categorical"
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    (tmp_path / "homeostat.toml").write_text(SETTINGS)
    old = "".join(f"{20 + number / 2},Bonn,{number % 2}\n" for number in range(160))
    (tmp_path / "old.csv").write_text("age,city,outcome\n" + old + "250,Bonn,1\n")
    (tmp_path / "new.csv").write_text("outcome,city,age\n1,Köln,33\n0,,\n")
    return tmp_path


def snapshot_of(folder: Path) -> Snapshot:
    with open_project(folder) as project:
        return take_snapshot(project, champion=None, reload_files=True, change_point=None)


def test_the_lineage_names_files_rows_digests_and_the_schema(clinic: Path) -> None:
    lineage = snapshot_of(clinic).lineage

    assert [(s["name"], s["rows"], s["accepted"], s["rejected"]) for s in lineage["sources"]] == [
        ("old.csv", 161, 160, 1),
        ("new.csv", 2, 2, 0),
    ]
    assert all(len(source["sha256"]) == 64 for source in lineage["sources"])
    with open_project(clinic) as project:
        assert lineage["schema"] == project.schema.digest
    assert (sum(lineage["rows"].values()), lineage["positives"], lineage["baseline_rows"]) == (162, 81, 162)


def test_names_order_and_form_of_the_files_do_not_change_the_snapshot(clinic: Path) -> None:
    before = snapshot_of(clinic)
    lines = (clinic / "old.csv").read_text().splitlines()
    (clinic / "renamed.csv").write_text("\r\n".join([lines[0], *reversed(lines[1:])]))
    pl.read_csv(clinic / "new.csv").write_parquet(clinic / "new.parquet")
    settings = SETTINGS.replace('"old.csv", "new.csv"', '"new.parquet", "renamed.csv"')
    (clinic / "homeostat.toml").write_text(settings)

    assert snapshot_of(clinic).digest == before.digest


def test_a_label_that_is_no_outcome_names_its_row_and_stores_nothing(clinic: Path) -> None:
    (clinic / "new.csv").write_text("age,city,outcome\n33,Bonn,1\n34,Bonn,2\n")

    with pytest.raises(HomeostatError) as refused:
        snapshot_of(clinic)

    assert "row 2 has outcome = '2'" in refused.value.problem
    assert not (clinic / ".homeostat" / "blobs").exists()


def test_the_lineage_is_stored_as_json_beside_the_rows(clinic: Path) -> None:
    snapshot = snapshot_of(clinic)

    path = clinic / ".homeostat" / "blobs" / "snapshots" / snapshot.digest / "lineage.json"
    assert json.loads(path.read_bytes()) == snapshot.lineage
