"""The image as a strict installation runs it: its own user, a read-only root, no capabilities, one writable folder."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from homeostat.deployment.artifacts import GOLDEN, KIND
from tests.conftest import make_project
from tests.container.conftest import Image, Running, Start

TRAINS = ["alembic", "lightgbm", "matplotlib", "mlflow", "onnx", "optuna", "pandas", "polars", "scipy", "sklearn"]
BUILDS = ["cc", "gcc", "g++", "ld", "make", "pip", "pip3", "hatchling", "git"]


@pytest.fixture
def running(start: Start, trained_project: Path) -> Running:
    running = start(trained_project)
    running.wait_until_ready()
    return running


def test_the_golden_rows_are_answered_over_http_as_they_were_when_the_release_was_packed(
    running: Running, trained_project: Path
) -> None:
    digest = httpx.get(f"{running.url}/readyz?verbose").json()["serving"]["release"]
    golden = json.loads((trained_project / ".homeostat/blobs" / KIND / digest / GOLDEN).read_text())
    answer = httpx.post(f"{running.url}/v1/predict", json={"rows": golden["rows"]})

    assert [prediction["probability"] for prediction in answer.json()["predictions"]] == golden["expected"]


def test_the_first_process_is_the_service_without_privileges(running: Running) -> None:
    command = running.execute("cat", "/proc/1/cmdline").stdout.split("\0")
    status = running.execute("cat", "/proc/1/status").stdout

    assert command[1:] == ["/opt/homeostat/bin/homeostat", "serve", "--project", "/data", ""]
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "CapEff:\t0000000000000000" in status


def test_only_the_project_folder_can_be_written(running: Running) -> None:
    refused = running.execute("touch", "/file", "/tmp/file", "/opt/homeostat/file", "/run/file", "/var/tmp/file")  # noqa: S108  not ours
    accepted = running.execute("touch", "/data/file")

    assert (refused.stderr.count("Read-only file system"), accepted.returncode) == (5, 0)


def test_nothing_but_the_project_appears_in_its_folder(running: Running, trained_project: Path) -> None:
    httpx.post(f"{running.url}/v1/predict", json={"rows": [{}]})

    # A library that keeps a cache or an identifier of the machine would do so in its user's home, which is this folder.
    assert sorted(path.name for path in trained_project.iterdir()) == [".homeostat", "homeostat.toml"]


def test_sigterm_drains_and_ends_the_container_with_code_0(running: Running) -> None:
    running.send("TERM")

    assert running.process.wait(20) == 0


def test_the_health_check_passes_once_a_release_answers(running: Running, image: Image) -> None:
    kind, *command = image.config["Healthcheck"]["Test"]

    assert (kind, running.execute(*command).returncode) == ("CMD", 0)


def test_the_health_check_fails_without_a_release(start: Start, image: Image, pima_path: Path, tmp_path: Path) -> None:
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    running = start(make_project(untrained, pima_path))
    running.wait_until_alive()

    assert running.execute(*image.config["Healthcheck"]["Test"][1:]).returncode == 1


def test_no_library_that_trains_and_no_build_tool_is_inside(image: Image) -> None:
    script = (
        "import importlib.util as u, shutil, sys; modules, programs = sys.argv[1].split(), sys.argv[2].split();"
        "print([m for m in modules if u.find_spec(m)] + [p for p in programs if shutil.which(p)])"
    )
    found = run_inside(image, "python3", "-c", script, " ".join([*TRAINS, "pip", "setuptools"]), " ".join(BUILDS))

    assert found == "[]\n"


def test_nothing_of_the_machine_that_built_it_is_inside(image: Image) -> None:
    left = [path for path in ("etc/pip.conf", "run/secrets", "root/.cache", "build", "wheels") if exists(image, path)]
    addresses = [line for line in read(image, "etc/resolv.conf").splitlines() if line.startswith("nameserver")]

    assert (left, addresses, read(image, "etc/hostname")) == ([], [], "")


def test_buildah_runs_a_command_as_the_images_user(image: Image) -> None:
    assert run_inside(image, "id", "--user") == "10001\n"


def run_inside(image: Image, *command: str) -> str:
    """Run a command in the unpacked image by `buildah run`, as its user, and return what it prints."""
    done = subprocess.run(
        ["buildah", "run", "--isolation", "chroot", image.container, "--", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def exists(image: Image, path: str) -> bool:
    return (image.root / path).exists()


def read(image: Image, path: str) -> str:
    file = image.root / path
    return file.read_text() if file.exists() else ""
