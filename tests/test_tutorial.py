"""The tutorial is run as it is written, on a free port, in an empty folder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tutorial_page import find_differences, read_blocks, split_output, write_files, write_script

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
PORT = "8000"


@pytest.fixture
def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def test_the_tutorial_leads_from_a_table_to_a_second_release(tmp_path: Path, free_port: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text().replace(PORT, free_port))
    blocks = read_blocks(page)
    folder = tmp_path / "project"
    folder.mkdir()
    write_files(blocks, folder)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # MLflow's store takes longer to make than everything else on the page: tests/training/test_tracking.py has that.
    environment = {"PATH": programs, "HOMEOSTAT_SERVING__PORT": free_port, "HOMEOSTAT_STORE__TRACKING": "none"}
    environment |= {"HOMEOSTAT_TRAINING__FOLDS": "3", "HOMEOSTAT_TRAINING__REPEATS": "1"}
    script = write_script(blocks, address=f"http://127.0.0.1:{free_port}")

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert find_differences(blocks, split_output(done.stdout)) == []


def test_a_promise_that_was_not_kept_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\necho one 1\n```\n\n```text\none ...\n```\n\n```sh\necho two\n```\n\n```text\nthree\n```\n")
    blocks = read_blocks(page)
    output = subprocess.run(
        ["bash", "-c", write_script(blocks, address="")], capture_output=True, text=True, check=True
    )

    assert len(find_differences(blocks, split_output(output.stdout))) == 1
