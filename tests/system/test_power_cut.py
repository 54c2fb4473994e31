"""The power is cut while the service answers: what was acknowledged is there, whatever the disk did with the rest.

The calls of the real process are recorded once and replayed on a disk that loses what was not synced; the service that
may lose rows in a power cut (`process-safe`) must do so, or the disk is too kind to show anything.
"""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Count, Tell
from tests.system.ledger import DATABASE, Ledger, find_lost, read_ledger
from tests.system.load import Load
from tests.system.power_cut import MODES, Disk
from tests.system.serving_process import serve
from tests.system.strace import Call, Moment, read_log, record

ID = rb'"id":"([0-9a-f-]{36})"'
ANSWERED = re.compile(ID + rb',"probability"')
LABELLED = re.compile(ID + rb',"status":"(?:recorded|repeated)","label":([01])')


@dataclass(frozen=True, slots=True)
class Recording:
    """What a service did: the files before and after it, every call in between, and what its clients were told."""

    folder: Path
    before: dict[str, bytes]
    after: dict[str, bytes]
    moments: list[Moment]
    acknowledged: Ledger


Record = Callable[[str, int], Recording]


@dataclass(frozen=True, slots=True)
class Cuts:
    """What many cuts of one recording came to: entries acknowledged before the cuts, and those of them lost."""

    n_cuts: int
    n_acknowledged: int
    n_lost: int
    n_cuts_with_loss: int


def record_service(project: Path, *, durability: str, workers: int, write_backs: int) -> Recording:
    """Serve a project under load until the log was written back to the main file some times, then kill the service."""
    database = project / DATABASE
    log, before = project / "calls", read_files(database)
    settings = {"HOMEOSTAT_SERVING__DURABILITY": durability, "HOMEOSTAT_SERVING__WORKERS": str(workers)}
    with serve(project, under=record(log), settings=settings) as serving:
        with Load(serving.address, seed=1) as load:
            for _ in range(write_backs):
                wait_for_write_back(database)
            time.sleep(0.3)
        serving.kill()
    return Recording(database.parent, before, read_files(database), read_log(log), load.acknowledged)


def wait_for_write_back(database: Path) -> None:
    """Return once the main file has changed: until then every change is in the write-ahead log."""
    changed_at, deadline = database.stat().st_mtime_ns, time.monotonic() + 60
    while database.stat().st_mtime_ns == changed_at:
        assert time.monotonic() < deadline, "the write-ahead log is never written back"
        time.sleep(0.01)
    time.sleep(0.1)


def read_files(database: Path) -> dict[str, bytes]:
    """Return the files of a database that are not in shared memory."""
    return {
        path.name: path.read_bytes() for path in database.parent.glob(f"{database.name}*") if path.suffix != ".db-shm"
    }


def read_answer(call: Call) -> Ledger:
    """Return what a call acknowledges: answers that leave on a socket."""
    if call.path is None or not call.path.startswith(("socket:", "TCP")):
        return Ledger()
    sent = b"".join(call.texts)
    labels: dict[str, object] = {name.decode(): int(label) for name, label in LABELLED.findall(sent)}
    return Ledger([name.decode() for name in ANSWERED.findall(sent)], labels)


def replay(recording: Recording) -> Iterator[tuple[Disk, Ledger]]:
    """Yield the disk and what is acknowledged, after each moment of a recording."""
    disk, acknowledged = Disk(recording.folder, recording.before), Ledger()
    for moment in recording.moments:
        disk.advance(moment)
        if moment.returned is None:  # from its beginning on, a sent answer may have been read
            acknowledged.add(read_answer(moment.call))
        yield disk, acknowledged


def cut_power(recording: Recording, *, scratch: Path, random: Random, n_cuts: int) -> Cuts:
    """Cut the power at random moments after the first acknowledgement, in every mode, and count what is lost."""
    first = next(place for place, (_, acknowledged) in enumerate(replay(recording)) if acknowledged.n_entries)
    places = Counter(random.choices(range(first, len(recording.moments)), k=n_cuts))
    counts: list[tuple[int, int]] = []
    for place, (disk, acknowledged) in enumerate(replay(recording)):
        for _ in range(places[place]):
            kept = reopen(disk.cut(MODES[len(counts) % len(MODES)], random), scratch)
            counts.append((acknowledged.n_entries, len(find_lost(acknowledged, kept))))
    acked, lost = zip(*counts, strict=True)
    return Cuts(len(counts), sum(acked), sum(lost), sum(map(bool, lost)))


def reopen(files: dict[str, bytes], scratch: Path) -> Ledger:
    """Return what is read from a database that has these files."""
    folder = scratch / "after the cut"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return read_ledger(folder / DATABASE.name)


@pytest.fixture(scope="module")
def record_once(trained_template: Path, tmp_path_factory: pytest.TempPathFactory, count: Count) -> Record:
    """Record a service of a durability and a number of workers, each only once."""

    @cache
    def recorded(durability: str, workers: int) -> Recording:
        project = tmp_path_factory.mktemp(durability).resolve() / "project"
        shutil.copytree(trained_template, project)
        write_backs = count(short=1, soak=3)
        return record_service(project, durability=durability, workers=workers, write_backs=write_backs)

    return recorded


@pytest.fixture(scope="module", params=[("power-safe", 1), ("power-safe", 2), ("process-safe", 1)], ids=str)
def recording(request: pytest.FixtureRequest, record_once: Record) -> Recording:
    return record_once(*request.param)


@pytest.fixture
def cut(tmp_path: Path, random: Random, count: Count) -> Callable[[Recording], Cuts]:
    return partial(cut_power, scratch=tmp_path, random=random, n_cuts=count(short=60, soak=1000))


# --- the harness --------------------------------------------------------------------------------------------------


def test_the_replayed_calls_give_the_files_on_disk_byte_for_byte(recording: Recording) -> None:
    *_, (disk, _) = replay(recording)

    assert disk.now() == recording.after


def test_the_recording_holds_every_answer_that_the_clients_have_read(recording: Recording) -> None:
    *_, (_, sent) = replay(recording)

    assert sorted(sent.ids) == sorted(recording.acknowledged.ids)
    assert sent.labels == recording.acknowledged.labels
    assert min(len(sent.ids), len(sent.labels)) > 50


# --- the promise --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_no_acknowledged_row_or_outcome_is_lost_when_the_power_is_cut(
    record_once: Record, workers: int, cut: Callable[[Recording], Cuts], tell: Tell
) -> None:
    cuts = cut(record_once("power-safe", workers))

    tell(
        f"power cut, {workers} worker(s): {cuts.n_cuts} cuts, {cuts.n_acknowledged} acknowledgements before them, "
        f"{cuts.n_lost} lost"
    )
    assert cuts.n_lost == 0


def test_a_service_that_is_safe_from_kills_only_loses_rows_and_is_never_corrupt(
    record_once: Record, cut: Callable[[Recording], Cuts], tell: Tell
) -> None:
    cuts = cut(record_once("process-safe", 1))

    tell(
        f"power cut, process-safe (the control): {cuts.n_cuts} cuts, {cuts.n_acknowledged} acknowledgements before "
        f"them, {cuts.n_lost} lost, in {cuts.n_cuts_with_loss} cuts"
    )
    assert cuts.n_cuts_with_loss > cuts.n_cuts / 2
