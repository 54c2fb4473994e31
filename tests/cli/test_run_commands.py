"""`homeostat runs` through the real command."""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import update

from homeostat.project import open_project
from homeostat.store.tables import cycles


def test_runs_are_compared_also_after_a_cycle_that_mlflow_did_not_record(trained_project: Path) -> None:
    with open_project(trained_project) as project, project.database.write() as connection:
        connection.execute(update(cycles).values(record=json.dumps({"track": {"problem": "the store was away"}})))

    command = [sys.executable, "-m", "homeostat", "runs", "--json", "--project", str(trained_project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert [run["outcome"] for run in json.loads(done.stdout)] == [None]
