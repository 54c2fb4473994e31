"""Which table the demonstration runs on: the genuine one if it can be had, and loudly which.

Not here: what is done with it (`simulation.demo`). The Pima table is not part of Homeostat: its licence is unclear.
"""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from homeostat.errors import SourceUnreadable
from homeostat.simulation.cohort import PUBLISHED, synthetic_table

VARIABLE = "HOMEOSTAT_PIMA"
TARGET = "Outcome"
OPENML_ID = 37
OPENML_TIMEOUT_S = 5.0
SYNTHETIC_ROWS = 768


@dataclass(frozen=True, slots=True)
class DemoTable:
    """The table as a CSV file in the scratch project, and where it came from in words."""

    path: Path
    origin: str
    genuine: bool


def fetch_table(folder: Path, given: Path | None, *, seed: int) -> DemoTable:
    """Put the table into `folder`: the given file, else the variable's, else OpenML's, else a synthetic one.

    Raises
    ------
    SourceUnreadable
        The given file, or the one that the variable names, does not exist.
    """
    path = folder / "patients.csv"
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            raise SourceUnreadable(
                problem=f"there is no file {named}",
                expected="the Pima table as CSV",
                action=f"correct --data or {VARIABLE}",
            )
        shutil.copyfile(named, path)
        return DemoTable(path, f"the table in {named.name}", genuine=True)
    try:
        fetch_openml_table().write_csv(path)
    except (OSError, ValueError) as error:
        columns, labels = synthetic_table(SYNTHETIC_ROWS, seed=seed)
        pl.DataFrame({**columns, TARGET: labels}).write_csv(path)
        origin = f"a SYNTHETIC table: no --data, no {VARIABLE}, and OpenML did not answer ({type(error).__name__})"
        return DemoTable(path, origin, genuine=False)
    return DemoTable(path, f"the genuine Pima table from OpenML (data id {OPENML_ID})", genuine=True)


def fetch_openml_table() -> pl.DataFrame:
    """Return the Pima table from OpenML under its usual column names; OSError or ValueError if it cannot be had."""
    from sklearn.datasets import fetch_openml  # noqa: PLC0415  only this road needs it

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(OPENML_TIMEOUT_S)
    try:
        found = fetch_openml(data_id=OPENML_ID, as_frame=False, parser="liac-arff", n_retries=0)
    finally:
        socket.setdefaulttimeout(before)
    columns = dict(zip(PUBLISHED, np.asarray(found.data, dtype=np.float64).T, strict=True))
    return pl.DataFrame({**columns, TARGET: (found.target == "tested_positive").astype(np.int8)})
