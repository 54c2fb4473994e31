"""How far long work has come: on a terminal's standard error, and nowhere else."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homeostat.retraining.progress import FILE, read_progress, telling_progress
from tests.cli.commands import homeostat


def watched(*arguments: str | Path, until: str | None = None) -> tuple[str, str, int]:
    """Run a command whose standard error is a terminal; return what both got, and its exit code.

    It is interrupted as soon as the terminal shows `until`.
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "homeostat", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True) as child:
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the terminal's end, on Linux
                break
            if until is not None and until.encode() in shown:
                child.send_signal(signal.SIGINT)
                until = None
        output, _ = child.communicate(timeout=100)
    os.close(ours)
    return shown.decode(), output, child.returncode


def test_a_training_shows_its_step_and_how_far_its_search_has_come_until_it_is_interrupted(
    clinic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A search that lasts: what is drawn a few times a second must be seen in it.
    monkeypatch.setenv("HOMEOSTAT_TRAINING__TRIALS", "300")
    shown, printed, code = watched("train", "--project", clinic, until="Training: search, lightgbm")

    assert code == 130
    assert "Training: snapshot" in shown
    assert "Interrupted." in shown
    assert printed.startswith("Snapshot ")
    assert "\x1b" not in printed


@pytest.mark.parametrize("arguments", [("verify",), ("verify", "--json")])
def test_what_moves_is_on_standard_error_alone_and_never_beside_json(clinic: Path, arguments: tuple[str, ...]) -> None:
    shown, printed, _ = watched(*arguments, "--project", clinic)

    assert ("Verifying releases" in shown) == ("--json" not in arguments)
    assert "Verifying" not in printed
    assert "\x1b" not in printed


def test_nothing_moves_where_nobody_looks(clinic: Path) -> None:
    done = homeostat("verify", "--project", clinic)

    assert (done.returncode, done.stderr) == (0, "")


def test_progress_is_told_from_one_process_to_another(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    telling_progress(tmp_path)("lightgbm", 3, 15)
    told = read_progress(tmp_path)

    assert told is not None
    assert (told.words, told.done, told.total, told.process) == ("lightgbm", 3, 15, os.getpid())


def test_what_a_process_told_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    code = (
        "from pathlib import Path; from homeostat.retraining.progress import telling_progress\n"
        f"telling_progress(Path({str(tmp_path)!r}))('lightgbm', 3, 15)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

    assert (tmp_path / FILE).is_file()
    assert read_progress(tmp_path) is None


@pytest.mark.parametrize("content", [None, "", "[1]", '{"words": 1}'])
def test_a_progress_that_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    (tmp_path / FILE).parent.mkdir()
    if content is not None:
        (tmp_path / FILE).write_text(content)

    assert read_progress(tmp_path) is None


def test_a_folder_that_takes_no_progress_stops_nobody(tmp_path: Path) -> None:
    telling_progress(tmp_path / "nowhere")("lightgbm", 1, 2)

    assert list(tmp_path.iterdir()) == []
