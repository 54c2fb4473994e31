"""A release whose writer is killed anywhere is whole or not there; one that is damaged anywhere is refused unparsed.

Each kind of damage is shown in `tests/deployment/test_artifacts.py`; here its places are many, on the release of a real
training.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from homeostat.deployment.artifacts import KIND, check_golden, open_release, read_verified
from homeostat.errors import ArtifactCorrupt
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import Graph
from tests.conftest import Count, Tell
from tests.system import repack
from tests.system.strace import kill, read_log, record

# Every call with which the writer changes the disk, but for `openat`, which makes a file: what that one leaves behind
# is found by the kill before the `write` that follows.
CHANGES = ("mkdir", "write", "fsync", "chmod", "rename")


@pytest.fixture(scope="module")
def release(trained_template: Path) -> Path:
    """The release of the trained project: read it, never change it."""
    (folder,) = (trained_template / ".homeostat" / "blobs" / KIND).iterdir()
    return folder


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A copy of the release that a test may damage."""
    return Path(shutil.copytree(release, tmp_path / release.name))


# --- the loader ---------------------------------------------------------------------------------------------------


@contextmanager
def damaged(path: Path, content: bytes) -> Iterator[None]:
    """Put other bytes into a file for a moment."""
    whole = path.read_bytes()
    path.write_bytes(content)
    yield
    path.write_bytes(whole)


def is_refused_unparsed(folder: Path) -> bool:
    """Return whether a release is refused while its bytes are verified, which is before any of them is parsed."""
    try:
        open_release(folder)
    except ArtifactCorrupt as error:
        return read_verified.__name__ in frame_names(error)
    return False


def frame_names(error: BaseException) -> set[str]:
    """Return the names of the functions that an error came through."""
    trace, names = error.__traceback__, set()
    while trace is not None:
        names.add(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return names


def test_a_release_truncated_anywhere_is_refused_before_it_is_parsed(
    copy: Path, random: Random, count: Count, tell: Tell
) -> None:
    opened, n_cuts = [], 0
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        sizes = {0, len(whole) - 1, *random.sample(range(len(whole)), min(len(whole), count(short=10, soak=200)))}
        n_cuts += len(sizes)
        for size in sizes:
            with damaged(path, whole[:size]):
                opened += [] if is_refused_unparsed(copy) else [(path.name, size)]

    tell(f"truncations of a release: {n_cuts}, {len(opened)} opened")
    assert opened == []
    assert open_release(copy).digest == copy.name


def test_a_release_with_any_flipped_bit_is_refused_before_it_is_parsed(
    copy: Path, random: Random, count: Count, tell: Tell
) -> None:
    opened, n_flips = [], count(short=100, soak=2000)
    files = {path: path.read_bytes() for path in sorted(copy.iterdir())}
    for _ in range(n_flips):
        path, whole = random.choice(list(files.items()))
        place, bit = random.randrange(len(whole)), random.randrange(8)
        with damaged(path, whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]):
            opened += [] if is_refused_unparsed(copy) else [(path.name, place, bit)]

    tell(f"flipped bits of a release: {n_flips}, {len(opened)} opened")
    assert opened == []
    assert open_release(copy).digest == copy.name


# --- the writer ---------------------------------------------------------------------------------------------------


def pack_in_a_process(release: Path, root: Path, *, under: list[str]) -> int:
    """Pack a release in a process of its own, and return its exit code."""
    # Without bytecode and telemetry: the calls that count are the writer's own.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    command = [*under, sys.executable, str(repack.__file__), str(release), str(root)]
    return subprocess.run(command, env=environment, check=False).returncode


def is_there_and_whole(digest: str, blobs: FolderBlobs) -> bool:
    """Return whether a release is in the store; one that is there must open, and answer as it did."""
    folder = blobs.folder(KIND, digest)
    if folder is not None:
        release = open_release(folder)
        check_golden(release, Graph(release.graph, release.schema))
    return folder is not None


@pytest.fixture(scope="module")
def n_calls(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often a writer that is left alone makes each call."""
    scratch = tmp_path_factory.mktemp("whole")
    log = scratch / "calls"
    assert pack_in_a_process(release, scratch / "blobs", under=record(log, calls=",".join(CHANGES))) == 0
    return Counter(moment.call.name for moment in read_log(log) if moment.returned is not None)


def spread(last: int, *, n: int) -> list[int]:
    """Return at most n numbers from 1 to `last`, both of them included."""
    return sorted({1 + round((last - 1) * step / max(n - 1, 1)) for step in range(n)})


@pytest.fixture
def places(n_calls: Counter[str], count: Count) -> list[tuple[str, int]]:
    """The calls at which the writer is killed, and their turns."""
    return [(call, turn) for call in CHANGES for turn in spread(n_calls[call], n=count(short=3, soak=n_calls[call]))]


def test_a_writer_killed_at_any_call_leaves_no_release_or_a_whole_one_and_the_next_completes_it(
    release: Path, places: list[tuple[str, int]], tmp_path: Path, tell: Tell
) -> None:
    there: list[bool] = []
    for call, turn in places:
        blobs = FolderBlobs(tmp_path / f"{call} {turn}")
        assert pack_in_a_process(release, blobs.root, under=kill(call, when=turn)) == -signal.SIGKILL
        there.append(is_there_and_whole(release.name, blobs))
        assert repack.repack(release, blobs.root) == release.name
        assert is_there_and_whole(release.name, blobs)

    tell(f"writer of a release: {len(there)} kills, {there.count(True)} left a whole release, the others none")
    assert set(there) == {True, False}
