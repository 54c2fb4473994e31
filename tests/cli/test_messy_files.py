"""Files as people have them: `init`, `check`, `train` and `predict` on each, and a request answers as the file does."""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from homeostat.data.columns import stack_rows
from homeostat.data.csv_files import CsvSource
from homeostat.data.detection import detect_dialect
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.batch import score_table
from homeostat.deployment.registry import require_production
from homeostat.project import open_project, read_settings
from homeostat.records import Dialect
from homeostat.retraining.labelled_tables import load_files
from homeostat.validation.checks import check_row
from tests.cli.commands import Done, homeostat
from tests.conftest import train_project

DRAW = np.random.default_rng(0)
N_ROWS = 240
SHORT = """
[training]
family = "logistic"
trials = 1
repeats = 1
folds = 2
[store]
tracking = "none"
"""


def pick(*choices: str) -> str:
    return choices[DRAW.integers(len(choices))]


def german(amount: float) -> str:
    return f"{amount:_.2f}".replace(".", ",").replace("_", ".")


def bank_rows() -> list[list[str]]:
    """A spreadsheet: ids, dates, decimal commas, line breaks in notes, an empty column, a copy of the target."""
    rows = [
        ["Kunden-Nr", "Eröffnet", "Alter", "Saldo", "Beruf", "Kredit", "Notiz", "leer", "Quelle", "später", "Storno"]
    ]
    for place in range(N_ROWS):
        leaves = pick("ja", "nein", "nein")
        age = "k.A." if place % 50 == 7 else f"{DRAW.integers(18, 80)}"
        balance = german(DRAW.normal(4000 if leaves == "ja" else 1000, 1500))
        job, note = pick("Ärztin", "Lehrer; in", "?"), pick("", 'rief an: "später"\nnoch einmal')
        known = [f"{100_000 + place}", f"{place % 28 + 1:02}.03.2024", age, balance, job, pick("ja", "nein"), note]
        rows.append([*known, "", "CRM", leaves, "" if place % 40 == 39 else leaves])
    return rows


def survey_rows() -> list[list[str]]:
    """An export of a survey: row numbers, moments, TRUE and 0 for booleans, NA, postal codes, an outcome of 1 and 2."""
    rows = [["", "answered at", "smokes", "owns car", "dose", "region", "zip", "group"]]
    for place in range(N_ROWS):
        group = pick("1", "2")
        dose = "NA" if place % 30 == 5 else f"{DRAW.normal(float(group), 0.8):.3f}"
        answered = f"2024-02-{place % 28 + 1:02}T08:00:00Z"
        flags = [pick("TRUE", "FALSE", "N/A"), pick("0", "1")]
        rows.append([f"{place + 1}", answered, *flags, dose, pick("nord", "süd"), pick("01067", "89073"), group])
    return rows


@dataclass(frozen=True)
class Messy:
    """A messy file, what `init` must make of it, and a row of it as a program would send it."""

    name: str
    target: str
    dialect: Dialect
    rows: list[list[str]]
    features: list[str]
    n_unlabelled: int
    asked: dict[str, object]


FILES = [
    Messy(
        name="bank.csv",
        target="Storno",
        dialect=Dialect(";", ",", ".", "cp1252"),
        rows=bank_rows(),
        features=["Alter", "Saldo", "Beruf", "Kredit", "Notiz", "später"],
        n_unlabelled=6,
        asked={"Alter": "k.A.", "Saldo": -1234.5, "Beruf": "?", "Kredit": True, "Notiz": "", "später": False},
    ),
    Messy(
        name="survey.tsv.gz",
        target="group",
        dialect=Dialect("\t", encoding="utf-16"),
        rows=survey_rows(),
        features=["smokes", "owns car", "dose", "region", "zip"],
        n_unlabelled=0,
        asked={"smokes": True, "owns car": False, "dose": "NA", "region": "süd", "zip": "01067"},
    ),
]
# The same rows as the files have them.
WRITTEN = {
    "bank.csv": {"Alter": "k.A.", "Saldo": "-1.234,50", "Beruf": "?", "Kredit": "ja", "Notiz": "", "später": "nein"},
    "survey.tsv.gz": {"smokes": "TRUE", "owns car": "0", "dose": "NA", "region": "süd", "zip": "01067"},
}


def write_table(path: Path, rows: list[list[str]], dialect: Dialect) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=dialect.separator).writerows(rows)
    content = text.getvalue().encode(dialect.encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture(scope="module", params=FILES, ids=[messy.name for messy in FILES])
def messy(request: pytest.FixtureRequest) -> Messy:
    """One of the files."""
    found: Messy = request.param
    return found


@pytest.fixture(scope="module")
def project(messy: Messy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that `homeostat init` makes of the file, with its first release."""
    folder = tmp_path_factory.mktemp("messy")
    write_table(folder / messy.name, messy.rows, messy.dialect)
    done = homeostat("init", folder / messy.name, "--target", messy.target, "--project", folder)
    assert (done.returncode, done.stderr) == (0, "")
    settings = folder / "homeostat.toml"
    settings.write_text(settings.read_text() + SHORT)
    return train_project(folder)


def test_init_writes_how_the_file_is_read_and_the_columns_that_can_be_learned_from(messy: Messy, project: Path) -> None:
    settings = read_settings(project, {})
    written = settings.project

    assert Dialect(written.separator, written.decimal, written.thousands, written.encoding) == messy.dialect
    assert list(settings.features) == messy.features


def test_check_accepts_every_row_that_the_settings_were_guessed_from(messy: Messy, project: Path) -> None:
    done = homeostat("check", "--project", project, "--json")
    (result,) = json.loads(done.stdout)

    assert (done.returncode, result["accepted"], result["violations"]) == (0, N_ROWS, [])
    assert result["unlabelled"] == messy.n_unlabelled


def test_rows_without_an_outcome_are_left_out_of_training_and_counted(messy: Messy, project: Path) -> None:
    with open_project(project) as opened:
        (loaded,) = load_files(opened)

    assert len(loaded.rows.labels) == N_ROWS - messy.n_unlabelled
    assert (loaded.lineage["rejected"], loaded.lineage.get("unlabelled", 0)) == (0, messy.n_unlabelled)


def predict(project: Path, data: Path) -> tuple[Done, list[dict[str, str]]]:
    """Run the real command; return what it wrote, row by row."""
    output = data.parent / "scores.csv"
    done = homeostat("predict", data, "-o", output, "--project", project)
    dialect = detect_dialect(output).dialect
    return done, CsvSource(output, dialect).read().to_dicts()


def test_predict_answers_every_row_and_writes_the_file_as_the_other_is(messy: Messy, project: Path) -> None:
    done, answers = predict(project, project / messy.name)

    assert (done.returncode, len(answers)) == (0, N_ROWS)
    assert [answer["rejected_because"] for answer in answers] == [None] * N_ROWS
    assert list(answers[0])[:-3] == messy.rows[0]
    assert "," in answers[0]["predicted_probability"] if messy.dialect.decimal == "," else True


def score_request(project: Path, row: dict[str, object]) -> float:
    """Return the probability that a request of this row gets."""
    with open_project(project) as opened, opened.database.read() as connection:
        release = open_release(find_release(require_production(connection).release, opened.blobs))
    checked = check_row(row, release.schema)
    assert checked.violations == ()
    return float(score_table(release, stack_rows([checked.row], release.schema)).probability[0])


@pytest.mark.parametrize("dialect", [None, Dialect()], ids=["as the project's", "as a program writes"])
def test_a_request_is_answered_as_the_same_row_of_a_file(
    messy: Messy, project: Path, tmp_path: Path, dialect: Dialect | None
) -> None:
    written = WRITTEN[messy.name]
    if dialect is not None and "Saldo" in written:
        written = {**written, "Saldo": "-1234.5"}
    write_table(tmp_path / "new.csv", [list(written), list(written.values())], dialect or messy.dialect)
    done, (answer,) = predict(project, tmp_path / "new.csv")

    assert done.returncode == 0
    found = float(answer["predicted_probability"].replace(",", "."))
    assert found == pytest.approx(score_request(project, messy.asked))
