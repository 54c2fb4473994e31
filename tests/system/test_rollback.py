"""A bad release that got past every check is undone by the loop itself, while the service goes on answering."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from homeostat.cli.loop import rest
from homeostat.deployment.registry import list_promotions
from homeostat.loop import tick
from homeostat.monitoring.latencies import N_BUCKETS
from homeostat.monitoring.worker_reports import WorkerReport, store_reports
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.store.events import find_break, read_events
from homeostat.store.leases import find_lease
from tests.conftest import Tell
from tests.faulty_graphs import pack_faulty, raising, shifted, slow, turned, unchanged
from tests.retraining.clinic import put_in_production, write_project
from tests.retraining.clinic_after import promote_digest
from tests.system.clinic_traffic import Traffic
from tests.system.serving_process import Serving, serve

SILENCE_S = 2.0
# What a loop may take to import everything that trains.
START_S = 60
# A turn of an idle loop and the 5 s of the promise, on a machine whose two cores the tests share.
WITHIN_S = 20.0
SETTINGS: Mapping[str, str] = {
    "HOMEOSTAT_STORE__TRACKING": "none",
    "HOMEOSTAT_RETRAINING__MAX_PER_DAY": "0",
    "HOMEOSTAT_RETRAINING__BAKE_SILENCE_S": str(SILENCE_S),
    "HOMEOSTAT_RETRAINING__BAKE_ROWS": "100000",
    # The rows of one test are numbered in the watch of the next, and have no outcome.
    "HOMEOSTAT_MONITORING__MATURITY_S": "2",
    "HOMEOSTAT_SERVING__WORKERS": "2",
    "HOMEOSTAT_SERVING__DURABILITY": "process-safe",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """A service of two workers and a loop on one project, with a sound release in production."""

    project: Project
    serving: Serving
    sound: str

    def break_in(self, fault: Callable[[bytes], bytes]) -> int:
        """Promote a release with a fault, and return its epoch."""
        return promote_digest(self.project, pack_faulty(self.project.blobs, self.sound, fault)).epoch

    def rollbacks(self, epoch: int) -> list[Json]:
        """Return the events of having gone back from an epoch."""
        with self.project.database.read() as connection:
            events = [event.payload for event in read_events(connection, kind="rolled_back")]
        return [payload for payload in events if payload["epoch"] == epoch + 1]


@contextmanager
def run_loop(project: Project, *, failpoint: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `homeostat loop`, killed at a failpoint if one is given."""
    command = [sys.executable, "-m", "homeostat", "loop", "--project", str(project.folder)]
    chosen = {} if failpoint is None else {"HOMEOSTAT_FAILPOINT": f"{failpoint}=kill"}
    with subprocess.Popen(command, env={**os.environ, **SETTINGS, **chosen}) as process:
        try:
            if failpoint is None:
                wait_until(lambda: acts(project, process), within_s=START_S)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all breaches: after each of them the sound release is in production again."""
    folder = write_project(tmp_path_factory.mktemp("rollback") / "project", n_rows=600)
    with open_project(folder) as project:
        sound = put_in_production(project).release
        with serve(folder, settings=SETTINGS) as serving, run_loop(project):
            yield Installation(project, serving, sound)


@pytest.mark.parametrize(
    ("fault", "alarm"), [(slow, "latency"), (shifted, "output")], ids=["slow", "another distribution"]
)
def test_a_release_that_answers_badly_is_undone_and_no_request_fails(
    installation: Installation, fault: Callable[[bytes], bytes], alarm: str, tell: Tell
) -> None:
    with Traffic(installation.serving.address, n_senders=8) as traffic:
        time.sleep(1)
        event = undo(installation, traffic, fault, tell)

    assert (event["alarm"], event["release"], event["barred"]) == (alarm, installation.sound, True)
    assert (traffic.failed, traffic.lost) == ({}, [])


def test_a_release_that_fails_on_some_rows_is_undone_and_only_these_rows_fail(
    installation: Installation, tell: Tell
) -> None:
    # One sender: rows that come at the same time are answered in one call of the graph. It rests in between, or the few
    # fatal rows would be a small share of very many before a worker reports.
    with Traffic(installation.serving.address, n_senders=1, fatal_every=5, pause_s=0.05) as traffic:
        event = undo(installation, traffic, raising, tell)

    assert event["alarm"] == "errors"
    assert set(traffic.failed) == {500}
    assert traffic.statuses[500] <= traffic.statuses.total() / 5 + 1
    assert traffic.lost == []


def test_a_release_whose_worker_hangs_is_undone_and_its_requests_are_answered_late(
    installation: Installation,
) -> None:
    epoch = installation.break_in(unchanged)
    with Traffic(installation.serving.address) as traffic:
        wait_until(lambda: traffic.last_release not in {"", installation.sound})
        time.sleep(1)
        hanging = installation.serving.find_workers()[0]
        os.kill(hanging, signal.SIGSTOP)
        wait_until(lambda: len(installation.rollbacks(epoch)) > 0)
        os.kill(hanging, signal.SIGCONT)
        traffic.wait_for(installation.sound, within_s=WITHIN_S)

    (event,) = installation.rollbacks(epoch)
    assert event["alarm"] == "silence"
    assert (traffic.failed, traffic.lost) == ({}, [])


def test_a_release_that_outcomes_speak_against_is_undone(installation: Installation, tell: Tell) -> None:
    with Traffic(installation.serving.address, labelled=True) as traffic:
        event = undo(installation, traffic, turned, tell)

    assert event["alarm"] == "outcomes"
    assert (traffic.failed, traffic.lost) == ({}, [])


def test_afterwards_the_log_is_whole_and_every_bad_release_was_undone_once(installation: Installation) -> None:
    with installation.project.database.read() as connection:
        log = list_promotions(connection)
        events = list(read_events(connection, kind="rolled_back"))
        assert find_break(connection) is None

    assert [line.release == installation.sound for line in log] == [place % 2 == 0 for place in range(len(log))]
    assert len(events) == len(log) // 2
    assert httpx.get(f"{installation.serving.address}/readyz").status_code == 200


@pytest.mark.parametrize("failpoint", ["restore.before_commit", "restore.after_commit"])
def test_a_loop_killed_while_it_goes_back_goes_back_once_when_it_is_turned_again(
    tmp_path: Path, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    with open_project(write_project(tmp_path / "project")) as project:
        sound = put_in_production(project).release
        bad = promote_digest(project, pack_faulty(project.blobs, sound, unchanged))
        report_failures(project, epoch=bad.epoch)
        with run_loop(project, failpoint=failpoint) as killed:
            assert killed.wait(START_S) == -signal.SIGKILL

        outcomes = [done.outcome for done in tick(project)]

        assert outcomes[-1] == "rolled_back"
        with project.database.read() as connection:
            assert [line.release for line in list_promotions(connection)] == [sound, bad.release, sound]
            assert [event.payload["alarm"] for event in read_events(connection, kind="rolled_back")] == ["errors"]
            assert find_break(connection) is None


def test_a_loop_that_rests_after_an_error_rests_no_longer_than_until_production_must_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    with open_project(write_project(tmp_path / "project")) as project:
        bad = promote_digest(project, pack_faulty(project.blobs, put_in_production(project).release, unchanged))
        report_failures(project, epoch=bad.epoch)
        began = time.monotonic()

        rest(project, 600)

        assert time.monotonic() - began < 600


def acts(project: Project, process: subprocess.Popen[bytes]) -> bool:
    """Return whether a loop has taken the lease."""
    with project.database.read() as connection:
        lease = find_lease(connection)
    return lease is not None and lease.holder.endswith(f":{process.pid}")


def report_failures(project: Project, *, epoch: int) -> None:
    """Let a worker of another machine report that half of its requests have failed."""
    now = datetime.now(UTC)
    line = WorkerReport("elsewhere:1:1", epoch, now, now, None, 50, 50, [0] * N_BUCKETS)
    with project.database.write() as connection:
        store_reports(connection, [line], now=now)


def undo(installation: Installation, traffic: Traffic, fault: Callable[[bytes], bytes], tell: Tell) -> Json:
    """Promote a release with a fault, and return the one event that tells of its end once the sound one answers."""
    traffic.wait_for(installation.sound, within_s=WITHIN_S)
    epoch, began = installation.break_in(fault), time.monotonic()
    wait_until(lambda: len(installation.rollbacks(epoch)) > 0)
    traffic.wait_for(installation.sound, within_s=WITHIN_S)
    (event,) = installation.rollbacks(epoch)
    answered = traffic.statuses.total()
    tell(f"{event['alarm']}: {time.monotonic() - began:.1f} s after the promotion; {answered} requests")
    return event


def wait_until(holds: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
    """Return once something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
