"""`kill -9` of `homeostat serve` under load, at random moments: nothing acknowledged is lost, nothing is kept twice."""

import time
from pathlib import Path
from random import Random

from tests.conftest import Count, Tell
from tests.system.ledger import DATABASE, Ledger, find_lost, read_ledger
from tests.system.load import Load
from tests.system.serving_process import serve

# Kills come between the first answer of a process and this: long enough for some write-backs of the log as well.
LONGEST_LIFE_S = 0.6


def test_no_acknowledged_row_or_outcome_is_lost_when_the_process_is_killed_under_load(
    trained_project: Path, random: Random, count: Count, tell: Tell
) -> None:
    acknowledged = Ledger()
    n_kills = count(short=4, soak=200)

    for kill in range(n_kills):
        with serve(trained_project) as serving, Load(serving.address, seed=kill) as load:
            load.wait_for_first()
            time.sleep(random.uniform(0, LONGEST_LIFE_S))
            serving.kill()
        acknowledged.add(load.acknowledged)

    kept = read_ledger(trained_project / DATABASE)
    lost = find_lost(acknowledged, kept)
    tell(f"SIGKILL: {n_kills} kills, {acknowledged.n_entries} acknowledged, {len(lost)} lost")
    assert lost == []
    assert len(set(kept.ids)) == len(kept.ids)
    assert min(len(acknowledged.ids), len(acknowledged.labels)) > 10 * n_kills
