"""`homeostat reproduce` trains a release again in a process of its own and ends by what comes out."""

import json
import shutil
from pathlib import Path

from homeostat.data import snapshots
from homeostat.deployment.registry import list_releases
from homeostat.project import open_project
from tests.cli.commands import homeostat, parts
from tests.conftest import make_project


def digest_of(folder: Path) -> str:
    with open_project(folder) as project, project.database.read() as connection:
        return list_releases(connection)[0].digest


def test_a_trained_release_comes_out_the_same(trained_template: Path) -> None:
    done = homeostat("reproduce", "1", "--project", trained_template)

    assert done.returncode == 0
    assert done.stdout == (
        f"Release {digest_of(trained_template)[:12]} was made again: identical, every byte but its times.\n"
    )


def test_so_it_does_when_the_search_is_repeated(trained_template: Path) -> None:
    done = homeostat("reproduce", "1", "--search", "--json", "--project", trained_template)

    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert (report["verdict"], report["search_found_the_same"]) == ("identical", True)
    assert report["release"] == report["again"] == digest_of(trained_template)


def test_a_release_whose_rows_are_gone_is_refused_in_three_parts(trained_project: Path) -> None:
    with open_project(trained_project) as project:
        shutil.rmtree(project.blobs.root / snapshots.KIND)

    done = homeostat("reproduce", "1", "--project", trained_project)

    problem, expected, action = parts(done)
    assert done.returncode == 1
    assert f"which release {digest_of(trained_project)[:12]} was trained on, is not in the store" in problem
    assert expected == "the rows that it is named by"
    assert action.startswith("restore the blobs from a backup")


def test_a_name_that_no_release_has_is_refused(pima_path: Path, tmp_path: Path) -> None:
    done = homeostat("reproduce", "7", "--project", make_project(tmp_path, pima_path))

    assert done.returncode == 1
    assert parts(done)[0] == "no releases are called '7'"
