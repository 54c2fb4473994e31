"""An artifact is there whole or not at all, whatever happens to its writer, and never changes."""

import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from homeostat.store.blobs import BlobStore, FolderBlobs

DIGEST = "ab" * 32
FILES = {"rows.parquet": b"rows", "manifest.json": b"{}"}

# Publishes one artifact after the other, for ever; each has 20 files that name it.
WRITER = """
import sys
from pathlib import Path
from homeostat.store.blobs import FolderBlobs
blobs = FolderBlobs(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1_000_000):
    blobs.publish("releases", str(number), {f"{n}.bin": b"%d" % number * 10_000 for n in range(20)})
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def test_what_was_published_is_found_under_its_digest(blobs: BlobStore) -> None:
    folder = blobs.publish("releases", DIGEST, FILES)

    assert blobs.folder("releases", DIGEST) == folder
    assert contents(folder) == FILES


def test_an_artifact_of_another_kind_or_digest_is_not_found(blobs: BlobStore) -> None:
    blobs.publish("releases", DIGEST, FILES)

    assert blobs.folder("snapshots", DIGEST) is None
    assert blobs.folder("releases", "cd" * 32) is None


def test_the_same_digest_again_changes_nothing(blobs: BlobStore) -> None:
    folder = blobs.publish("releases", DIGEST, FILES)
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.iterdir())]

    assert blobs.publish("releases", DIGEST, {"other.bin": b"other"}) == folder
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.iterdir())] == before


def test_nothing_is_left_beside_a_published_artifact(blobs: FolderBlobs) -> None:
    blobs.publish("releases", DIGEST, FILES)
    blobs.publish("releases", DIGEST, FILES)

    assert [path.name for path in (blobs.root / "releases").iterdir()] == [DIGEST]


def test_a_write_that_fails_half_way_leaves_nothing(blobs: FolderBlobs) -> None:
    with pytest.raises(FileNotFoundError):
        blobs.publish("releases", DIGEST, {"first.bin": b"1", "no/such/folder.bin": b"2"})

    assert blobs.folder("releases", DIGEST) is None
    assert list((blobs.root / "releases").iterdir()) == []


def test_two_processes_that_publish_the_same_digest_both_succeed(tmp_path: Path) -> None:
    script = WRITER.replace("1_000_000", "20")
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.DEVNULL) for _ in "ab"]

    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {str(number) for number in range(20)}


def kill_a_writer(folder: Path) -> None:
    """Start a writer and end it with SIGKILL at a moment that nobody knows."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(secrets.randbelow(60_000) / 1_000_000)
        writer.kill()


@pytest.mark.parametrize("attempt", range(8))
def test_a_writer_that_is_killed_leaves_each_artifact_whole_or_absent(tmp_path: Path, attempt: int) -> None:  # noqa: ARG001  eight times
    kill_a_writer(tmp_path)

    for folder in tmp_path.glob("releases/[0-9]*"):
        assert contents(folder) == {f"{n}.bin": folder.name.encode() * 10_000 for n in range(20)}


def test_what_a_killed_writer_left_half_written_can_be_published_again(tmp_path: Path) -> None:
    kill_a_writer(tmp_path)
    blobs = FolderBlobs(tmp_path)

    assert all(contents(blobs.publish("releases", str(n), {"0.bin": b"0"})) for n in range(1_000, 1_003))
