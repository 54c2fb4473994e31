"""Who competes in the serving benchmark: how each program is started, and what it is sent.

Not here: the load (`bench.load`), or what is measured (`bench.serving`). All of them answer with the same graph.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bench.environments import install
from bench.processes import Running, free_port, start
from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.deployment.artifacts import GRAPH, find_release
from homeostat.deployment.registry import require_production
from homeostat.loop import begin_by_hand, tick
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.validation.checks import check_row

TARGET = "Outcome"
# A search that is short: the graph is the same for all contestants.
SHORT_TRAINING = "\n[training]\ntrials = 3\nrepeats = 1\n"
N_ROWS = 1_000
# Below the scratch folder: where the running contestant keeps what is its own.
RUNNING = "running"
LEVELS = ("power-safe", "process-safe", "relaxed")
HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-peers"
REQUIREMENTS = HERE / "requirements-peers.txt"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that serves the graph.

    `command` takes the port and a scratch folder, which holds a fresh copy of `template` if there is one. `one` and
    `many` are the paths for a row and for 1,000 rows; `body_one` and `body_many` are files.
    """

    name: str
    command: Callable[[int, Path], list[str]]
    environment: Mapping[str, str]
    one: str
    many: str
    body_one: Path
    body_many: Path
    template: Path | None = None

    @contextmanager
    def run(self, scratch: Path) -> Iterator[Running]:
        """Start it in a fresh folder below `scratch`, and stop it and remove the folder when the block ends."""
        folder, port = scratch / RUNNING, free_port()
        if self.template is None:
            folder.mkdir()
        else:
            shutil.copytree(self.template, folder)
        try:
            probe = (self.one, self.body_one.read_bytes())
            log = scratch / f"{self.name}.log"
            with start(self.command(port, folder), port, environment=self.environment, probe=probe, log=log) as running:
                yield running
        finally:
            shutil.rmtree(folder)


# --- what they serve and what they are sent -----------------------------------------------------------------------


def train_project(folder: Path, data: Path) -> None:
    """Make a project with one release in production."""
    proposal = propose_project(data, TARGET)
    text = render_settings("bench", str(data), proposal) + SHORT_TRAINING
    write_project(folder / "homeostat.toml", text)
    with open_project(folder) as project:
        begin_by_hand(project, reason="bench")
        outcomes = [advance.outcome for advance in tick(project)]
    if outcomes[-1] != "promoted":
        sys.exit(f"The training of the scratch project ended with {outcomes[-1]!r}.")


def find_production(folder: Path) -> Path:
    """Return the folder of the release in production."""
    with open_project(folder) as project, project.database.read() as connection:
        return find_release(require_production(connection).release, project.blobs)


def write_bodies(folder: Path, data: Path, scratch: Path) -> None:
    """Write what is sent, as files: one row and 1,000 accepted rows of the table, in our form and in MLflow's."""
    with open_project(folder) as project:
        cells = pl.read_csv(data).drop(TARGET).to_dicts()
        accepted = [row for row in cells if not check_row(row, project.schema).violations]
    rows = list(itertools.islice(itertools.cycle(accepted), N_ROWS))
    bodies = {
        "row": rows[0],
        "rows": {"rows": rows},
        "mlflow-row": as_split(rows[:1]),
        "mlflow-rows": as_split(rows),
    }
    for name, body in bodies.items():
        (scratch / f"{name}.json").write_text(json.dumps(body), encoding="utf-8")


def as_split(rows: list[Json]) -> Json:
    """Return rows in the shortest of MLflow's forms."""
    return {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}}


# --- who ----------------------------------------------------------------------------------------------------------


def enter_ours(template: Path, scratch: Path, level: str, *, workers: int = 1) -> Contestant:
    """Return `homeostat serve` in one durability level."""
    environment = {"HOMEOSTAT_SERVING__DURABILITY": level}
    if workers > 1:
        environment["HOMEOSTAT_SERVING__WORKERS"] = str(workers)

    def command(port: int, folder: Path) -> list[str]:
        return [sys.executable, "-m", "homeostat", "serve", "--project", str(folder), "--port", str(port)]

    bodies = (scratch / "row.json", scratch / "rows.json")
    return Contestant(f"ours, {level}", command, environment, "/v1/predict", "/v1/predict", *bodies, template)


def enter_by_hand(name: str, module: str, release: Path, scratch: Path) -> Contestant:
    """Return one of the programs of `bench/peers`, under uvicorn as we run it."""

    def command(port: int, _: Path) -> list[str]:
        uvicorn = [sys.executable, "-m", "uvicorn", f"{module}:app", "--app-dir", str(HERE / "peers")]
        return [*uvicorn, "--port", str(port), "--no-access-log", "--log-level", "warning", "--lifespan", "off"]

    environment = {"BENCH_RELEASE": str(release)}
    return Contestant(name, command, environment, "/predict", "/batch", scratch / "row.json", scratch / "rows.json")


def enter_mlflow(release: Path, scratch: Path) -> Contestant:
    """Return `mlflow models serve` with its own defaults, one worker, in an environment of its own."""
    install(REQUIREMENTS, ENVIRONMENT)
    model, binaries = scratch / "mlflow-model", ENVIRONMENT / "bin"
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",  # it starts uvicorn by its name
        "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db",
    }
    save = [str(binaries / "python"), str(HERE / "peers" / "save_mlflow.py"), str(release / GRAPH), str(model)]
    subprocess.run(save, check=True, capture_output=True, env={**os.environ, **environment}, cwd=scratch)

    def command(port: int, _: Path) -> list[str]:
        served = ["-m", str(model), "--env-manager", "local", "--workers", "1", "--port", str(port)]
        return [str(binaries / "mlflow"), "models", "serve", *served]

    bodies = (scratch / "mlflow-row.json", scratch / "mlflow-rows.json")
    return Contestant("mlflow", command, environment, "/invocations", "/invocations", *bodies)
