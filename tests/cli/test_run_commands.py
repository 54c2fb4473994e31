"""`homeostat runs` through the real command."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from homeostat.project import open_project
from homeostat.store.tables import cycles
from tests.cli.commands import Done, homeostat, parts

# Importing the command and MLflow takes seconds where the machine is shared.
PAGES_S = 100


def runs(project: Path, *arguments: str) -> Done:
    return homeostat("runs", "--project", project, *arguments)


def test_runs_are_compared_also_after_a_cycle_that_mlflow_did_not_record(trained_project: Path) -> None:
    with open_project(trained_project) as project, project.database.write() as connection:
        connection.execute(update(cycles).values(record=json.dumps({"track": {"problem": "the store was away"}})))

    done = runs(trained_project, "--json")

    assert done.returncode == 0, done.stderr
    assert [run["outcome"] for run in json.loads(done.stdout)] == [None]


def test_a_run_compared_with_itself_differs_in_nothing(trained_template: Path) -> None:
    (run,) = json.loads(runs(trained_template, "--json").stdout)

    done = runs(trained_template, "--compare", run["run_id"][:8], run["tags"]["homeostat.release"][:8])

    assert done.stdout == "They differ in nothing that is tracked.\n"


def test_a_name_that_no_run_has_is_refused(trained_template: Path) -> None:
    problem, _, action = parts(runs(trained_template, "--compare", "nobody", "nobody"))

    assert (problem, action) == ("0 runs are called 'nobody'", "see `homeostat runs`")


# --- MLflow's pages ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(trained_template: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command that shows MLflow's pages, and the address that it prints."""
    command = [sys.executable, "-m", "homeostat", "runs", "--ui", "--port", "0", "--project", str(trained_template)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline()
    process.terminate()
    process.wait()
    process.stdout.close()


def test_mlflows_pages_show_our_experiment_until_ctrl_c(pages: tuple[subprocess.Popen[str], str]) -> None:
    process, said = pages
    address, _, experiment = said.removeprefix("MLflow's pages: ").strip().partition("/#/experiments/")

    page = httpx.get(address)
    found = httpx.post(f"{address}/api/2.0/mlflow/runs/search", json={"experiment_ids": [experiment]})
    stranger = httpx.get(address, headers={"Host": "evil.example"})
    process.send_signal(signal.SIGINT)

    assert "<title>MLflow" in page.text
    assert "cycle 1: hand" in {run["info"]["run_name"][:13] for run in found.json()["runs"]}
    assert stranger.status_code == 403
    assert process.wait(PAGES_S) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_a_port_that_is_taken_is_told(trained_template: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problem, _, action = parts(runs(trained_template, "--ui", "--port", str(port)))

    assert problem.startswith(f"port {port} is taken: Address already in use")
    assert action == "give another with --port, or --port 0 for any"


def test_where_the_runs_are_on_a_server_its_address_is_all_that_is_needed(
    trained_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_STORE__TRACKING", "https://me:secret@mlflow.example/team")

    assert runs(trained_template, "--ui").stdout == "MLflow's pages: https://mlflow.example/team\n"


def test_a_server_that_does_not_answer_is_told_without_its_login(
    trained_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEOSTAT_STORE__TRACKING", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    problem, expected, _ = parts(runs(trained_template))

    assert problem.startswith("MLflow cannot be asked: ")
    assert "secret" not in problem
    assert expected == "a store that answers at http://127.0.0.1:1"


def test_without_the_extra_the_command_says_which_one_it_is(trained_template: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "known = m.version\n"
        "def version(name):\n"
        "    if name == 'mlflow':\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return known(name)\n"
        "m.version = version\n"
    )
    command = [sys.executable, "-m", "homeostat", "runs", "--ui", "--project", str(trained_template)]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)

    assert parts(done)[1:] == (
        "the extra mlflow-ui",
        "pip install 'homeostat[mlflow-ui]'; `homeostat runs` lists the runs without it",
    )
