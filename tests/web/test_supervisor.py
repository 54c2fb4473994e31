"""Several workers: one address, one life; killed, replaced and stopped, and nothing is lost."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from homeostat.project import open_project
from homeostat.store.keys import Scope, create_key
from homeostat.web.server import EXIT_LOG_FAILED
from tests.web.senders import Senders, kept_ids

Row = dict[str, Any]
Service = tuple[subprocess.Popen[str], str]
PATIENCE_S = 60


@pytest.fixture
def service(start_process: Callable[..., Service]) -> Service:
    """Two workers behind one address."""
    return start_process("--workers", "2")


@pytest.fixture
def senders(service: Service, row: Row) -> Iterator[Senders]:
    """Load on both of them."""
    sending = Senders(service[1], row)
    sending.wait_for(50)
    yield sending
    sending.stop()


def workers_of(service: Service) -> set[int]:
    """Return the processes that the supervisor has started."""
    pid = service[0].pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def samples(address: str) -> dict[str, list[float]]:
    """Return the values of each metric, whatever its labels."""
    found: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{address}/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.value)
    return found


def test_a_rolling_restart_under_load_fails_no_request(service: Service, senders: Senders) -> None:
    old = workers_of(service)

    service[0].send_signal(signal.SIGHUP)
    wait_until(lambda: len(workers_of(service)) == 2 and not workers_of(service) & old)
    senders.wait_for(50)
    senders.stop()

    assert senders.failures == []


def test_sigterm_under_load_loses_nothing_and_exits_with_0(
    service: Service, senders: Senders, trained_project: Path
) -> None:
    workers = workers_of(service)

    service[0].send_signal(signal.SIGTERM)

    assert service[0].wait(PATIENCE_S) == 0
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    senders.stop()
    assert sorted(senders.acknowledged) == sorted(kept_ids(trained_project))


def test_a_killed_worker_is_replaced_and_no_counter_falls(
    service: Service, senders: Senders, trained_project: Path
) -> None:
    (killed, *_) = old = workers_of(service)
    (before,) = samples(service[1])["homeostat_predictions_total"]

    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(workers_of(service) - old) == 1)
    wait_until(lambda: samples(service[1])["homeostat_workers"] == [2])

    assert samples(service[1])["homeostat_predictions_total"] >= [before]
    senders.stop()
    assert set(senders.acknowledged) <= set(kept_ids(trained_project))


def test_workers_end_with_a_supervisor_that_is_killed_and_leave_nothing(service: Service) -> None:
    workers = workers_of(service)
    environment = Path(f"/proc/{min(workers)}/environ").read_text().split("\0")
    counts = next(Path(line.partition("=")[2]) for line in environment if line.startswith("PROMETHEUS_MULTIPROC_DIR="))
    assert list(counts.iterdir())

    service[0].kill()

    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert not counts.exists()


def test_a_log_that_fails_in_one_worker_ends_them_all(service: Service, row: Row) -> None:
    for worker in workers_of(service):
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (1, 1))

    assert httpx.post(f"{service[1]}/v1/predict", json=row).status_code == 503
    assert service[0].wait(PATIENCE_S) == EXIT_LOG_FAILED


def test_a_worker_that_cannot_be_replaced_ends_the_service_with_its_code(
    service: Service, trained_project: Path
) -> None:
    (trained_project / "homeostat.toml").write_text("[project]")

    os.kill(min(workers_of(service)), signal.SIGKILL)

    assert service[0].wait(PATIENCE_S) == 1


def test_sigterm_between_two_attempts_to_replace_a_worker_is_no_failure(
    service: Service, trained_project: Path
) -> None:
    (trained_project / "homeostat.toml").write_text("[project]")
    assert service[0].stderr is not None

    os.kill(min(workers_of(service)), signal.SIGKILL)
    told = ""
    while told.count("another is started") < 4:  # so often that the next attempt is not made at once
        told += service[0].stderr.readline()
    service[0].send_signal(signal.SIGTERM)

    assert "Traceback" not in service[0].stderr.read()


def test_a_rolling_restart_with_a_release_that_does_not_load_leaves_the_old_workers(
    service: Service, trained_project: Path, row: Row
) -> None:
    old = workers_of(service)
    shutil.rmtree(trained_project / ".homeostat" / "blobs")

    service[0].send_signal(signal.SIGHUP)
    assert service[0].stderr is not None
    told = [service[0].stderr.readline() for _ in range(2)]

    assert "no release has passed its checks" in told[0]
    assert "the old ones go on" in told[1]
    assert workers_of(service) == old
    assert httpx.post(f"{service[1]}/v1/predict", json=row).status_code == 200


def test_workers_asked_for_on_the_command_line_share_the_quota_of_a_key(
    service: Service, trained_project: Path, row: Row
) -> None:
    with open_project(trained_project) as project, project.database.write() as connection:
        scopes: frozenset[Scope] = frozenset({"predict"})
        _, token = create_key(connection, "test", scopes, rows_per_minute=2, now=datetime.now(UTC))
    wait_until(lambda: httpx.post(f"{service[1]}/v1/predict", json=row).status_code == 401)
    headers = {"authorization": f"Bearer {token}"}
    began = time.monotonic()
    answers = [httpx.post(f"{service[1]}/v1/predict", json=row, headers=headers) for _ in range(20)]
    minutes = (time.monotonic() - began) / 60

    assert sum(answer.status_code == 200 for answer in answers) <= 2 + 2 * minutes
    assert {answer.status_code for answer in answers} == {200, 429}


def test_any_worker_tells_the_metrics_of_all(service: Service, row: Row) -> None:
    for _ in range(20):
        httpx.post(f"{service[1]}/v1/predict", json=row)
    wait_until(lambda: samples(service[1])["homeostat_release_info"] == [2])

    told = [samples(service[1]) for _ in range(10)]  # each over a connection of its own

    assert {found["homeostat_predictions_total"][0] for found in told} == {20}
    assert all(found["homeostat_workers"] == [2] for found in told)
    assert all(len(found["homeostat_worker_resident_memory_bytes"]) == 2 for found in told)
