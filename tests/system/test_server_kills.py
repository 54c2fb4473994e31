"""`kill -9` of `homeostat serve` under load, at random moments: nothing acknowledged is lost, nothing is kept twice.

The service that answers before it writes (`relaxed`) must lose rows, or the kills show nothing.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.conftest import Count, Tell
from tests.system.ledger import DATABASE, Ledger, find_lost, read_ledger
from tests.system.load import Load
from tests.system.serving_process import serve

# A kill comes between the first answer of a process and this.
LONGEST_LIFE_S = 0.6


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
            load.wait_for_first()
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
