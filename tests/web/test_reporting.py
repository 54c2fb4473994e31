"""A serving process says what became of its requests: soon after each swap, and when it ends in order."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from homeostat.deployment.registry import require_production
from homeostat.deployment.serving import LiveRelease
from homeostat.monitoring.worker_reports import WorkerReport, is_alive, read_reports
from homeostat.project import Project
from homeostat.web.reporting import ROWS_AT_ONCE, Reporter, Tally
from homeostat.web.server import Server
from tests.faulty_graphs import FATAL, pack_faulty, raising, unchanged
from tests.retraining.clinic_after import promote_digest

Row = dict[str, object]
WAIT_S = 10


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMEOSTAT_RETRAINING__BAKE_SILENCE_S", "0.5")


def read(project: Project) -> list[WorkerReport]:
    with project.database.read() as connection:
        return read_reports(connection)


def wait_for(project: Project, wanted: Callable[[WorkerReport], bool]) -> WorkerReport:
    """Return the first report of which something holds, once there is one."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for report in read(project):
            if wanted(report):
                return report
        time.sleep(0.02)
    raise AssertionError(read(project))


def swap(project: Project, server: Server, fault: Callable[[bytes], bytes]) -> int:
    """Promote a faulty release, return its epoch once it answers."""
    with project.database.read() as connection:
        sound = require_production(connection).release
    epoch = promote_digest(project, pack_faulty(project.blobs, sound, fault)).epoch
    deadline = time.monotonic() + WAIT_S
    while server.worker.require_live().promotion.epoch != epoch:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return epoch


def test_a_process_reports_when_it_begins_to_answer(project: Project, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200

    report = wait_for(project, lambda _: True)

    assert (report.epoch, report.answered, report.failed, report.ended_at) == (1, 0, 0, None)
    assert is_alive(report.worker)


def test_requests_are_counted_for_the_promotion_that_answered_them(
    project: Project, server: Server, client: httpx.Client, rows: list[Row]
) -> None:
    client.post("/v1/predict", json=rows[0])
    epoch = swap(project, server, unchanged)
    client.post("/v1/predict", json=rows[0])
    client.post("/v1/predict", json={"rows": rows})

    report = wait_for(project, lambda report: report.epoch == epoch and report.answered == 2)

    assert (report.failed, sum(report.latency)) == (0, 2)


def test_a_request_that_the_release_cannot_answer_has_failed_and_one_that_is_wrong_has_not(
    project: Project, server: Server, client: httpx.Client, row: Row
) -> None:
    epoch = swap(project, server, raising)
    failed = client.post("/v1/predict", json={**row, "Pregnancies": FATAL})
    wrong = [client.post("/v1/predict", json={**row, "Age": -1}), client.post("/v1/predict", content=b"{")]

    report = wait_for(project, lambda report: report.epoch == epoch and report.answered + report.failed > 1)

    assert (failed.status_code, [one.status_code for one in wrong]) == (500, [422, 400])
    assert (report.answered, report.failed) == (1, 1)  # an impossible row is answered, with its reasons


def test_a_process_that_ends_in_order_says_so_and_what_it_has_answered(
    project: Project, server: Server, client: httpx.Client, row: Row
) -> None:
    for _ in range(3):
        client.post("/v1/predict", json=row)

    server.should_exit = True

    assert wait_for(project, lambda report: report.ended_at is not None).answered == 3


def test_a_worker_of_a_release_on_probation_gives_signs_of_life(
    project: Project, server: Server, client: httpx.Client
) -> None:
    assert client.get("/livez").status_code == 200
    epoch = swap(project, server, unchanged)
    first = wait_for(project, lambda report: report.epoch == epoch)

    again = wait_for(project, lambda report: report.epoch == epoch and report.reported_at > first.reported_at)

    assert (again.reported_at - first.reported_at).total_seconds() < 0.5


def test_a_worker_of_the_first_release_writes_nothing_while_nothing_is_asked(
    project: Project, client: httpx.Client
) -> None:
    assert client.get("/livez").status_code == 200
    first = wait_for(project, lambda _: True)

    time.sleep(1)

    assert read(project) == [first]


def test_requests_are_answered_while_reports_cannot_be_stored(
    project: Project, server: Server, client: httpx.Client, row: Row
) -> None:
    epoch = swap(project, server, unchanged)
    wait_for(project, lambda report: report.epoch == epoch)
    with closing(sqlite3.connect(project.folder / ".homeostat/homeostat.db")) as other:
        other.execute("ALTER TABLE worker_reports RENAME TO away")
        time.sleep(1)
        answered = client.post("/v1/predict", json=row).status_code
        other.execute("ALTER TABLE away RENAME TO worker_reports")

    assert answered == 200
    assert wait_for(project, lambda report: report.epoch == epoch and report.answered == 1)


def test_reports_go_on_after_an_error_that_nobody_expected(
    project: Project, server: Server, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.get("/readyz").status_code == 200
    epoch = swap(project, server, unchanged)
    broken = threading.Event()
    broken.set()

    def find_live() -> LiveRelease | None:
        if broken.is_set():
            raise KeyError("live")
        return server.worker.follower.live

    reporter = Reporter(project, server.worker.log, find_live=find_live)
    reporter.start()
    time.sleep(0.5)
    assert reporter.trouble == "reports cannot be made: KeyError: 'live'"

    reporter.tally(epoch).add(0.001, 1)
    broken.clear()

    wait_for(project, lambda report: report.epoch == epoch and report.answered == 1)
    reporter.stop()
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["homeostat.reports"]


def test_a_request_for_many_rows_counts_with_the_time_that_a_part_of_them_took() -> None:
    one, many = Tally(), Tally()

    one.add(0.01, 1)
    many.add(0.01 * 50, 50 * ROWS_AT_ONCE)

    assert one.latency == many.latency
