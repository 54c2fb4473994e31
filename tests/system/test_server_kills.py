"""`kill -9` of `homeostat serve` under load, at random moments: nothing acknowledged is lost, nothing is kept twice.

The service that answers before it writes (`relaxed`) must lose rows, or the kills show nothing.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.conftest import Count, Tell
from tests.system.ledger import DATABASE, Ledger, find_lost, read_ledger
from tests.system.load import Load
from tests.system.serving_process import STOP_S, Serving, serve

# A kill comes between the first answer of a process and this.
LONGEST_LIFE_S = 0.6
# Fewer than make the service give up on a worker that dies again and again.
N_WORKER_KILLS = 3


@dataclass(frozen=True, slots=True)
class Kills:
    """What many kills came to: entries acknowledged by all the processes, and what is kept in the end."""

    acknowledged: Ledger
    kept: Ledger
    lost: list[str]


def kill_under_load(project: Path, random: Random, *, n_kills: int, durability: str) -> Kills:
    """Start the service, load it and kill it, again and again on the same project."""
    acknowledged = Ledger()
    for seed in range(n_kills):
        settings = {"HOMEOSTAT_SERVING__DURABILITY": durability}
        with serve(project, settings=settings) as serving, Load(serving.address, seed=seed) as load:
            load.wait_for_more()
            time.sleep(random.uniform(0, LONGEST_LIFE_S))
            serving.kill()
        acknowledged.add(load.acknowledged)
    kept = read_ledger(project / DATABASE)
    return Kills(acknowledged, kept, find_lost(acknowledged, kept))


def test_no_acknowledged_row_or_outcome_is_lost_when_the_process_is_killed_under_load(
    trained_project: Path, random: Random, count: Count, tell: Tell
) -> None:
    n_kills = count(short=4, soak=200)

    kills = kill_under_load(trained_project, random, n_kills=n_kills, durability="power-safe")

    tell(f"SIGKILL: {n_kills} kills, {kills.acknowledged.n_entries} acknowledged, {len(kills.lost)} lost")
    assert kills.lost == []
    assert len(set(kills.kept.ids)) == len(kills.kept.ids)
    assert min(len(kills.acknowledged.ids), len(kills.acknowledged.labels)) > 10 * n_kills


def test_a_service_that_answers_before_it_writes_loses_rows_when_it_is_killed(
    trained_project: Path, random: Random, count: Count, tell: Tell
) -> None:
    n_kills = count(short=2, soak=20)

    kills = kill_under_load(trained_project, random, n_kills=n_kills, durability="relaxed")

    tell(
        f"SIGKILL, relaxed (the control): {n_kills} kills, {kills.acknowledged.n_entries} acknowledged, "
        f"{len(kills.lost)} lost"
    )
    assert kills.lost != []


def kill_worker(serving: Serving, random: Random) -> None:
    """Kill one of two workers, and return once there are two again, even if the new one does not answer yet."""
    killed, deadline = random.choice(serving.find_workers()), time.monotonic() + STOP_S
    os.kill(killed, signal.SIGKILL)
    while killed in (workers := serving.find_workers()) or len(workers) < 2:
        assert time.monotonic() < deadline, "no worker takes the place of the one that was killed"
        time.sleep(0.01)


def test_a_service_whose_workers_are_killed_goes_on_by_itself_and_loses_nothing(
    trained_project: Path, random: Random, count: Count, tell: Tell
) -> None:
    acknowledged, n_services = Ledger(), count(short=1, soak=25)
    for seed in range(n_services):
        two_workers = {"HOMEOSTAT_SERVING__WORKERS": "2"}
        with serve(trained_project, settings=two_workers) as serving, Load(serving.address, seed=seed) as load:
            for _ in range(N_WORKER_KILLS):
                load.wait_for_more()
                time.sleep(random.uniform(0, LONGEST_LIFE_S))
                kill_worker(serving, random)
            load.wait_for_more()
            serving.kill()
        acknowledged.add(load.acknowledged)

    kept = read_ledger(trained_project / DATABASE)
    lost = find_lost(acknowledged, kept)
    tell(
        f"SIGKILL, two workers: {n_services * N_WORKER_KILLS} kills of one and {n_services} of all, "
        f"{acknowledged.n_entries} acknowledged, {len(lost)} lost"
    )
    assert lost == []
    assert len(set(kept.ids)) == len(kept.ids)
