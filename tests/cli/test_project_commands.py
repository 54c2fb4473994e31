"""`homeostat init`, `check` and `status`, and `train` on bad files: the real commands."""

import gzip
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import func, select

from homeostat.cli.init import propose_project
from homeostat.deployment.registry import require_production, resolve_release
from homeostat.project import open_project, read_settings, schema_of
from homeostat.store.tables import cycles, metadata, promotions, releases
from homeostat.validation.schema import freeze_schema
from tests.cli.commands import LINES, Done, homeostat, make_project, parts, table

# --- init ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pima_project(pima_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A project made from the genuine table, and what the command said of it. Read it, never change it."""
    folder = tmp_path_factory.mktemp("pima") / "project"
    done = homeostat("init", pima_path, "--target", "Outcome", "--project", folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return folder, json.loads(done.stdout)


def test_init_finds_the_five_columns_in_which_zero_means_not_measured(pima_project: tuple[Path, Any]) -> None:
    _, said = pima_project

    marked = {column["column"] for column in said["columns"] if column["missing"] == [0]}
    assert marked == {"Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"}
    assert [column["missing"] for column in said["columns"] if column["column"] not in marked] == [[], [], []]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("Glucose", "0 stands in 5 rows and the other values start at 44: looks like a missing marker"),
        ("BloodPressure", "0 stands in 35 rows and the other values start at 24: looks like a missing marker"),
        ("SkinThickness", "0 stands in 227 rows and the other values start at 7: looks like a missing marker"),
        ("Insulin", "0 stands in 374 rows and the other values start at 14: looks like a missing marker"),
        ("BMI", "0 stands in 11 rows and the other values start at 18.2: looks like a missing marker"),
        ("Pregnancies", "0 stands in 111 rows and the other values start at 1: looks like a real value"),
    ],
)
def test_init_says_why_a_zero_is_a_marker_or_not_in_the_output_and_in_the_file(
    pima_project: tuple[Path, Any], column: str, reason: str
) -> None:
    folder, said = pima_project

    assert reason in next(guess["reasons"] for guess in said["columns"] if guess["column"] == column)
    assert f"# {reason}\n" in (folder / "homeostat.toml").read_text().split(f"[features.{column}]")[0]


def test_what_init_wrote_parses_back_to_the_schema_it_guessed(pima_project: tuple[Path, Any], pima_path: Path) -> None:
    folder, _ = pima_project
    proposal = propose_project(pima_path, "Outcome")
    guessed = freeze_schema([guess.feature for guess in proposal.guesses if guess.feature], proposal.target)

    assert schema_of(read_settings(folder, {})) == guessed


def test_init_and_check_write_one_file_and_every_row_it_was_guessed_from_is_accepted(
    pima_project: tuple[Path, Any],
) -> None:
    folder, _ = pima_project
    checked = homeostat("check", "--project", folder, "--json")

    assert (checked.returncode, json.loads(checked.stdout)[0]["accepted"]) == (0, 768)
    assert [path.name for path in folder.iterdir()] == ["homeostat.toml"]


def init(data: Path, *options: str | Path) -> Done:
    return homeostat("init", data, "--target", "outcome", *options)


def test_init_survives_names_and_values_that_mean_something_in_toml_or_on_the_console(tmp_path: Path) -> None:
    folder = tmp_path / "my first [red]project"
    folder.mkdir()
    header = "age [years],\"a 'quoted', name\",city.of[/]birth,öutcome\\"
    (folder / "d.csv").write_bytes(table(*(f"{n},{n % 7},[/{n % 3}],{n % 2}" for n in range(40)), header=header))

    (folder / "homeostat.toml").write_text("an older one")

    done = homeostat("init", folder / "d.csv", "--target", "öutcome\\", "--project", folder, "--force")

    assert (done.returncode, done.stderr) == (0, "")
    settings = read_settings(folder, {})
    assert list(settings.features) == ["age [years]", "a 'quoted', name", "city.of[/]birth"]
    assert settings.project.name == "my-first-red-project"
    assert (settings.project.target, settings.project.data) == ("öutcome\\", ("d.csv",))
    assert all(name in done.stdout for name in settings.features)


def test_init_never_replaces_settings_unless_it_is_forced(tmp_path: Path, data: Path) -> None:
    (tmp_path / "homeostat.toml").write_text("mine")
    done = init(data, "--project", tmp_path)

    assert (done.returncode, parts(done)[2]) == (1, "pass --force to replace it")
    assert (tmp_path / "homeostat.toml").read_text() == "mine"


# --- bad files ----------------------------------------------------------------------------------------------------

BAD: Mapping[str, tuple[bytes | None, str]] = {
    "empty": (b"", "the file is empty"),
    "header only": (table(), "there is a header but no row"),
    "one row": (table(LINES[0]), "the table has 1 row"),
    "one class": (table(*(line[:-1] + "1" for line in LINES)), "target 'outcome' has 1 different value: 1 (40 rows)"),
    "three classes": (
        table("33,Bonn,2", *LINES),
        "target 'outcome' has 3 different values: 0 (20 rows), 1 (20 rows), 2 (1 row)",
    ),
    "no target": (table(*LINES, header="age,city,Outcom"), "there is no column 'outcome' (found: age, city, Outcom)"),
    "no inputs": (table(*(",," + line[-1] for line in LINES)), "no column beside the target varies"),
    "an amount": (table(*(f"{line[:-1]}{n}.5" for n, line in enumerate(LINES))), "target 'outcome' is an amount"),
    "duplicate header": (table(*LINES, header="age,age,outcome"), "column 'age' stands twice in the header"),
    "a short row": (table(*LINES[:6], "33", *LINES[6:]), "row 7 has 1 of 3 cells"),
    "a long row": (table(*LINES[:6], "33,Bonn,1,1", *LINES[6:]), "row 7 has 4 of 3 cells"),
    "no names": (table(*LINES, header="33,7,1"), "there is no column 'outcome' (found: 33, 7, 1)"),
    "a picture": (bytes.fromhex("89504e470d0a1a0a0000000d49484452"), "there is no column 'outcome'"),
    "cut off": (gzip.compress(table(*LINES))[:60], "data.csv"),
    "not there": (None, "there is no such file"),
}


@pytest.fixture(scope="module")
def bad_inits(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Done, Path]]:
    """`init` on each bad file in a folder of its own, several at a time."""

    def run(name: str) -> tuple[Done, Path]:
        content, _ = BAD[name]
        folder = tmp_path_factory.getbasetemp() / "bad" / name.replace(" ", "-")
        folder.mkdir(parents=True)
        if content is not None:
            (folder / "data.csv").write_bytes(content)
        return init(folder / "data.csv", "--project", folder / "project"), folder

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(BAD, pool.map(run, BAD), strict=True))


@pytest.mark.parametrize("name", BAD)
def test_init_refuses_a_bad_file_in_three_parts_and_writes_nothing(
    bad_inits: Mapping[str, tuple[Done, Path]], name: str
) -> None:
    done, folder = bad_inits[name]

    assert done.returncode == 1
    assert BAD[name][1] in parts(done)[0]
    assert {path.name for path in folder.rglob("*")} <= {"data.csv"}


def count_rows(folder: Path) -> dict[str, int]:
    with open_project(folder) as opened, opened.database.read() as connection:
        return {t.name: connection.scalar(select(func.count()).select_from(t)) or 0 for t in metadata.sorted_tables}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (table(*LINES[:6], "33,Bonn,2", *LINES[6:]), "data.csv: row 7 has outcome = '2'"),
        (table(*(f"999,{line.partition(',')[2]}" for line in LINES)), "every row was rejected"),
    ],
)
def test_train_refuses_data_that_went_bad_and_stores_no_snapshot_and_no_release(
    project: Path, data: Path, content: bytes, problem: str
) -> None:
    data.write_bytes(content)
    done = homeostat("train", "--project", project)

    assert (done.returncode, parts(done)[0]) == (1, problem)
    assert not (project / ".homeostat" / "blobs").exists()
    rows = count_rows(project)
    assert {name for name in rows if rows[name]} == {
        *("schema_versions", "cycles", "events", "event_head", "leases"),
        "watch_states",  # that MLflow was told of the failure
    }


def test_train_refuses_one_class_to_learn_from_and_closes_its_cycle(project: Path, data: Path) -> None:
    data.write_bytes(table(*(line[:-1] + "1" for line in LINES)))
    done = homeostat("train", "--project", project, "--json")

    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, done.stdout, error["code"]) == (1, "", "data-insufficient")
    assert set(error) == {"code", "problem", "expected", "action"}
    with open_project(project) as opened, opened.database.read() as connection:
        assert connection.execute(select(cycles.c.step, cycles.c.outcome)).all() == [(None, "failed")]
        assert connection.execute(select(releases)).all() == connection.execute(select(promotions)).all() == []


# --- check --------------------------------------------------------------------------------------------------------

FAULTY = table("33,Bonn,1", "999,Bonn,1", "much,Ulm,0", ",,1", "inf,[/b],1", "34,Bonn,2", *LINES)
VIOLATIONS = [
    (2, "age", 999.0, "range", "0 to 100, null if not measured"),
    (3, "age", "much", "number", "0 to 100, null if not measured"),
    (5, "age", "inf", "finite", "a finite number that float32 can hold"),
    (6, "outcome", "2", "target", "0 or 1"),
]


def test_check_tells_programs_every_violation_in_json_that_any_program_can_read(project: Path, data: Path) -> None:
    data.write_bytes(FAULTY)
    done = homeostat("check", "--project", project, "--json")
    (result,) = json.loads(done.stdout, parse_constant=pytest.fail)

    assert (done.returncode, result["source"]) == (1, "data.csv")
    assert (result["rows"], result["accepted"], result["rejected"]) == (46, 42, 4)
    assert [(v["row"], v["column"], v["value"], v["rule"], v["expected"]) for v in result["violations"]] == VIOLATIONS


def test_check_lists_row_column_value_and_rule_for_a_person(project: Path, data: Path) -> None:
    data.write_bytes(FAULTY)
    done = homeostat("check", "--project", project)

    assert (done.returncode, done.stderr) == (1, "")
    assert "data.csv: 46 rows, 42 accepted, 4 rejected" in done.stdout
    lines = [line.split()[:4] for line in done.stdout.splitlines()]
    assert [str(cell) for cell in VIOLATIONS[0][:4]] in lines
    assert ["6", "outcome", "2", "target"] in lines


def test_check_shows_a_person_the_beginning_of_many_violations_and_counts_the_rest(project: Path) -> None:
    many = project / "many.csv"
    many.write_bytes(table(*("999,[/b],1" for _ in range(50))))
    shown = homeostat("check", many, "--project", project)

    assert sum("999.0" in line for line in shown.stdout.splitlines()) == 20
    assert "... and 30 more (--json lists all). Most frequent: age range: 50" in shown.stdout


def test_check_accepts_boolean_outcomes_of_the_parquet_file_that_init_read(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pl.DataFrame({"age": range(40), "outcome": [n % 2 == 0 for n in range(40)]}).write_parquet(path)
    done = homeostat("check", "--project", make_project(path), "--json")

    assert (done.returncode, json.loads(done.stdout)[0]["accepted"]) == (0, 40)


def test_check_of_a_file_without_outcomes_looks_at_the_features_alone(project: Path) -> None:
    new = project / "new.csv"
    new.write_bytes(table("33,Bonn", "999,Bonn", header="age,city"))
    done = homeostat("check", new, "--project", project, "--json")

    assert [v["row"] for v in json.loads(done.stdout)[0]["violations"]] == [2]


def test_check_of_a_file_without_a_feature_is_refused_and_the_nearest_column_named(project: Path) -> None:
    new = project / "new.csv"
    new.write_bytes(table("33,Bonn", header="Age,city"))

    problem, _, action = parts(homeostat("check", new, "--project", project))
    assert (problem, action) == ("there is no column 'age' (found: Age, city)", "rename 'Age' to 'age'")


# --- status -------------------------------------------------------------------------------------------------------


def test_status_of_a_new_project_says_that_nothing_is_there_yet(project: Path) -> None:
    said = json.loads(homeostat("status", "--project", project, "--json").stdout)

    assert (said["project"], said["release"], said["drift_score"], said["labels"]) == ("clinic", None, None, 0)
    assert (said["since"], said["cycle"], said["decision"]) == (None, None, None)


def test_status_names_the_release_in_production_since_when_and_how_good(trained_project: Path) -> None:
    shown = homeostat("status", "--project", trained_project).stdout
    with open_project(trained_project) as opened, opened.database.read() as connection:
        promotion = require_production(connection)
        auc = resolve_release(connection, "1").metrics["anchor"]["auc"]

    assert f"release 1 ({promotion.release[:12]})" in shown
    assert promotion.decided_at.isoformat() in shown
    assert f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in shown


def test_a_command_outside_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    problem, _, action = parts(homeostat("status", "--project", tmp_path))

    assert problem == f"there is no homeostat.toml in {tmp_path}"
    assert action == "run `homeostat init DATA --target COLUMN` there, or pass --project DIR"
    assert list(tmp_path.iterdir()) == []
