"""Homeostat from Python: few names, light to import; any kind of table; what the commands do; an example that runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import homeostat
from homeostat import HomeostatError, Project, StateError, Table, create_project, open_project
from homeostat.errors import ColumnMissing, ProjectMissing, ReleaseMissing, SettingsInvalid, SourceUnreadable
from homeostat.monitoring.predictions import count_log
from homeostat.project import open_project as opened
from homeostat.results import Check, as_html
from tests.retraining.clinic import draw_patients, put_in_production, register_another, write_project

EXAMPLE = Path(__file__).parents[1] / "examples" / "notebook.py"
HEAVY = {"polars", "sqlalchemy", "numpy", "pydantic", "lightgbm", "sklearn", "mlflow", "rich", "click"}


@pytest.fixture(scope="module")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with one release in production and another that only exists: read it, never change it."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project")
    with opened(folder) as project:
        put_in_production(project)
        register_another(project, penalty=0.5)
    return folder


@pytest.fixture
def clinic(two_releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy that a test may change, without MLflow, which takes seconds."""
    monkeypatch.setenv("HOMEOSTAT_STORE__TRACKING", "none")
    return open_project(shutil.copytree(two_releases, tmp_path / "clinic"))


def patients(n_rows: int = 60, *, older: float = 0.0) -> pl.DataFrame:
    rows, outcomes = draw_patients(n_rows, seed=5, older=older)
    return pl.DataFrame([*rows]).with_columns(outcome=pl.Series(outcomes))


# --- names --------------------------------------------------------------------------------------------------------


def test_there_are_at_most_fifteen_names_and_each_is_there_and_documented() -> None:
    assert len(homeostat.__all__) <= 15
    assert all(name in dir(homeostat) for name in homeostat.__all__)
    assert all(getattr(homeostat, name).__doc__ for name in homeostat.__all__)


def test_each_method_of_a_project_is_documented() -> None:
    methods = [name for name in vars(Project) if not name.startswith("_") and name != "folder"]

    assert [name for name in methods if len(str(getattr(Project, name).__doc__)) < 20] == []


def test_importing_the_package_loads_none_of_the_libraries() -> None:
    code = "import sys, homeostat; dir(homeostat); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not HEAVY & set(done.stdout.split())


def test_a_name_that_is_none_is_told_as_any_module_tells_it() -> None:
    with pytest.raises(AttributeError, match="module 'homeostat' has no attribute 'opne_project'"):
        homeostat.opne_project  # noqa: B018  the access is what is tried


# --- a project ----------------------------------------------------------------------------------------------------


def test_opening_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectMissing):
        open_project(tmp_path)


def test_a_project_is_created_once_and_knows_its_columns(tmp_path: Path) -> None:
    patients().write_csv(tmp_path / "data.csv")

    project = create_project(tmp_path / "clinic", tmp_path / "data.csv", target="outcome")

    assert (project.features, project.target) == (("age", "dose", "city"), "outcome")
    with pytest.raises(SettingsInvalid, match="force=True"):
        create_project(tmp_path / "clinic", tmp_path / "data.csv", target="outcome")


# --- tables -------------------------------------------------------------------------------------------------------


def every_kind(frame: pl.DataFrame, folder: Path) -> dict[str, Table]:
    """Return the same table in each form that may be handed over."""
    frame.write_csv(folder / "rows.csv")
    frame.write_parquet(folder / "rows.parquet")
    columns = frame.to_dict(as_series=False)
    return {
        "polars": frame,
        "pandas": pd.DataFrame(columns),
        "pyarrow": frame.to_arrow(),
        "a dictionary": columns,
        "a CSV file": folder / "rows.csv",
        "a Parquet file": str(folder / "rows.parquet"),
    }


def test_every_kind_of_table_gets_the_same_answers(clinic: Project, tmp_path: Path) -> None:
    frame = patients().with_columns(age=pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise("age"))

    tables = every_kind(frame, tmp_path)
    answered = {name: clinic.predict(table)["predicted_probability"].to_list() for name, table in tables.items()}

    assert all(len(answers) == frame.height and None not in answers for answers in answered.values())
    assert all(answers == answered["polars"] for answers in answered.values())


@pytest.mark.parametrize("table", [{"age": [1], "dose": [1, 2]}, {}, 5])
def test_what_is_no_table_is_refused_in_three_parts(clinic: Project, table: Table) -> None:
    with pytest.raises(SourceUnreadable):
        clinic.predict(table)


# --- the loop -----------------------------------------------------------------------------------------------------


def test_check_counts_impossible_values_and_outcomes_that_are_none(clinic: Project) -> None:
    found = clinic.check(
        {"age": [300, 50, 60], "dose": [1, 2, 3], "city": ["A", "B", "C"], "outcome": ["yes", "no", "?"]}
    )

    assert (found.rows, found.accepted, found.rejected) == (3, 1, 2)
    assert found.violations.select("row", "column", "rule").rows() == [(1, "age", "range"), (3, "outcome", "target")]


def test_predict_says_of_a_rejected_row_why_and_keeps_nothing(clinic: Project) -> None:
    scored = clinic.predict({"age": [300, 50], "dose": [1, 2], "city": ["A", "B"]})

    assert scored["rejected_because"][0].startswith("age = 300.0: range")
    assert scored["predicted_probability"].is_null().to_list() == [True, False]
    with opened(clinic.folder) as project, project.database.read() as connection:
        assert count_log(connection).predictions == 0


def test_predict_names_the_nearest_column(clinic: Project) -> None:
    with pytest.raises(ColumnMissing, match="rename 'Age' to 'age'"):
        clinic.predict({"Age": [50], "dose": [1], "city": ["A"]})


def test_answers_are_watched_and_outcomes_find_them(clinic: Project) -> None:
    assert clinic.drift() is None
    rows = patients(120, older=15)
    answers = clinic.answer(rows)
    clinic.tick()
    drift = clinic.drift()
    told = pl.DataFrame({"id": [*answers["id"], "nobody"], "label": [*rows["outcome"], "yes"]})
    labelled = clinic.label(told)

    assert drift is not None
    assert drift.fired
    assert set(drift.features.filter("drifted")["feature"]) == {"age", "dose"}
    assert labelled["status"].value_counts().sort("status").rows() == [("recorded", 120), ("unknown", 1)]
    assert clinic.performance()["waiting"]["n_labelled"] == 120


def test_a_row_that_the_service_would_refuse_gets_no_id(clinic: Project) -> None:
    answers = clinic.answer({"age": [300, 50], "dose": [1, None], "city": ["A", "B"]})

    assert answers["id"].is_null().to_list() == [True, False]
    assert answers["rejected_because"][0].startswith("age = 300")


def test_a_release_without_a_model_to_explain_says_so(clinic: Project) -> None:
    with pytest.raises(HomeostatError) as refused:
        clinic.explain(patients(2), release="nothing")

    assert refused.value.code == "release-missing"


def test_why_a_row_is_answered_so_is_a_table_of_its_features(clinic: Project) -> None:
    told = clinic.explain({"age": [60, 300], "dose": [30, 1], "city": ["A", "B"]})

    assert told["row"].to_list() == [1, 1, 1]
    assert set(told["feature"]) == {"age", "dose", "city"}
    assert told["contribution"].abs().is_sorted(descending=True)


def test_releases_and_history_are_tables(clinic: Project) -> None:
    assert clinic.releases().select("number", "production").rows() == [(1, True), (2, False)]
    assert clinic.releases().filter(pl.col("auc").is_between("auc_low", "auc_high")).height == 2
    assert clinic.history().select("epoch", "how", "until").rows() == [(1, "promoted", None)]


def test_what_is_asked_by_hand_passes_the_same_checks(clinic: Project) -> None:
    with pytest.raises(StateError, match="in production already"):
        clinic.promote(1, reason="once more")
    with pytest.raises(ReleaseMissing, match="the newest are 2"):
        clinic.promote("zz", reason="no such one")

    settled = clinic.promote(2, reason="a test")

    assert settled.outcome in {"promoted", "rejected"}
    assert len(settled.steps) > 1


def test_every_refusal_is_one_kind_of_error(clinic: Project) -> None:
    with pytest.raises(HomeostatError) as refused:
        clinic.label({"id": ["x"]})

    assert refused.value.problem.startswith("there is no column 'label'")
    assert refused.value.action


def test_what_a_notebook_shows_is_escaped() -> None:
    check = Check(1, 0, 1, pl.DataFrame({"column": ["<script>"]}))

    shown = check._repr_html_() + as_html("<b>", "<i>")

    assert "<script>" not in shown
    assert "&lt;i&gt;" in shown


def test_the_example_for_notebooks_runs() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False, timeout=200)

    assert (done.returncode, done.stderr) == (0, "")
    assert "is in production" in done.stdout
