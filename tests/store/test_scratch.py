"""What a killed writer leaves unfinished is removed by the next one, and nothing of a writer that lives."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeostat.store.blobs import FolderBlobs
from homeostat.store.failpoints import VARIABLE
from homeostat.store.scratch import PREFIX, scratch_folder

# Makes a folder, says its name, and stays in it until its input ends.
WRITER = """
import sys
from pathlib import Path
from homeostat.store.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"half")
    print(folder.name, flush=True)
    sys.stdin.read()
"""
PUBLISHER = """
import sys
from pathlib import Path
from homeostat.store.blobs import FolderBlobs
FolderBlobs(Path(sys.argv[1])).publish("releases", "ab", {"1.bin": b"1" * 10, "2.bin": b"2" * 10})
"""


@contextmanager
def writer_in(home: Path) -> Iterator[str]:
    """Let another process write in `home`; it is killed at the end of the block."""
    command = [sys.executable, "-c", WRITER, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def unfinished(home: Path) -> list[str]:
    return [path.name for path in home.glob(f"{PREFIX}*")]


def test_the_folder_is_gone_after_the_block(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "home") as folder:
        (folder / "file").write_bytes(b"1")

    assert list((tmp_path / "home").iterdir()) == []


def test_a_folder_that_became_complete_under_another_name_stays(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        folder.rename(tmp_path / "whole")

    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_what_a_killed_writer_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with writer_in(tmp_path) as left:
        pass
    assert unfinished(tmp_path) == [left]

    with scratch_folder(tmp_path):
        assert left not in unfinished(tmp_path)


def test_the_folder_of_a_writer_that_lives_is_left_to_it(tmp_path: Path) -> None:
    with writer_in(tmp_path) as living:
        with scratch_folder(tmp_path), scratch_folder(tmp_path):
            pass

        assert unfinished(tmp_path) == [living]


def test_two_writers_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert first.is_dir()
        assert second.is_dir()


@pytest.mark.parametrize("wish", ["releases.write=torn@1", "releases.write=torn@2", "releases.before_rename=kill"])
def test_a_file_that_was_torn_is_never_seen_and_goes_with_the_next_publication(
    wish: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, wish)
    subprocess.run([sys.executable, "-c", PUBLISHER, str(tmp_path)], check=False, start_new_session=True)
    monkeypatch.delenv(VARIABLE)
    left, blobs = unfinished(tmp_path / "releases"), FolderBlobs(tmp_path)
    absent = blobs.folder("releases", "ab") is None

    folder = blobs.publish("releases", "ab", {"1.bin": b"1" * 10, "2.bin": b"2" * 10})

    assert (len(left), absent) == (1, True)
    assert [path.name for path in folder.parent.iterdir()] == ["ab"]
    assert sorted(path.stat().st_size for path in folder.iterdir()) == [10, 10]
