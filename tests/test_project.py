"""A project is what its folder says: opened with one schema, one database, one place for blobs."""

from pathlib import Path

import pytest

from homeostat.errors import ProjectMissing, SettingsInvalid
from homeostat.project import open_project, read_settings, schema_of
from homeostat.records import Feature, Target
from homeostat.store.events import latest_event

TOML = """
[project]
name = "clinic"
data = ["a.csv"]
target = "Outcome"
target_values = ["no", "yes"]
[features.Glucose]
unit = "mg/dL"
range = [20, 600]
missing = [0, "n/a"]
[features."City of birth"]
kind = "categorical"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "homeostat.toml").write_text(TOML)
    return tmp_path


def test_the_schema_is_what_the_settings_declare_in_their_order(folder: Path) -> None:
    schema = schema_of(read_settings(folder, {}))

    assert schema.features == (
        Feature("Glucose", "numeric", "mg/dL", 20.0, 600.0, (0.0, "n/a")),
        Feature("City of birth", "categorical"),
    )
    assert schema.target == Target("Outcome", "no", "yes")


def test_opening_creates_the_database_and_nothing_else(folder: Path) -> None:
    with open_project(folder) as project, project.database.read() as connection:
        assert latest_event(connection, "promoted") is None

    assert sorted(path.name for path in folder.iterdir()) == [".homeostat", "homeostat.toml"]
    made = {path.name.split("-")[0] for path in (folder / ".homeostat").iterdir()}
    assert made == {"homeostat.db", "homeostat.db.lock", "homeostat.db.queue"}


def test_places_begin_at_the_project_folder_wherever_the_command_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    with open_project(folder) as project:
        assert project.database.engine.url.database == str(folder / ".homeostat" / "homeostat.db")
        assert project.blobs.root == folder / ".homeostat" / "blobs"
        assert project.tracking_url == f"sqlite:///{folder / '.homeostat' / 'tracking.db'}"


def test_a_project_is_opened_from_a_relative_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)

    with open_project(Path(folder.name)) as project:
        assert project.folder == folder


def test_the_environment_of_the_process_overrides_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_STORE__BLOBS", "elsewhere")

    with open_project(folder) as project:
        assert project.blobs.root == folder / "elsewhere"


def test_a_folder_without_settings_is_no_project_and_stays_untouched(tmp_path: Path) -> None:
    with pytest.raises(ProjectMissing) as refused, open_project(tmp_path):
        pass

    assert refused.value.problem == f"there is no homeostat.toml in {tmp_path}"
    assert refused.value.action == "run `homeostat init DATA --target COLUMN` there, or pass --project DIR"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"[project\n", b'name = "\xff"\n'])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "homeostat.toml").write_bytes(content)

    with pytest.raises(SettingsInvalid) as refused:
        read_settings(tmp_path, {})
    assert refused.value.problem.startswith(f"{tmp_path / 'homeostat.toml'} is not TOML: ")


def test_a_schema_that_cannot_be_obeyed_creates_no_database(folder: Path) -> None:
    (folder / "homeostat.toml").write_text(TOML.replace("[20, 600]", "[600, 20]"))

    with pytest.raises(SettingsInvalid, match="the smaller end first"), open_project(folder):
        pass
    assert not (folder / ".homeostat").exists()
