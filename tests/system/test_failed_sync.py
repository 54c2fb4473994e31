"""A sync that fails under the service ends it: nobody knows what the disk holds, and only a new start may find out.

The errors are injected into the system calls of the real process. The promise is that what was acknowledged is kept;
what was refused may be kept as well.
"""

import os
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Count, Tell
from tests.system.ledger import DATABASE, Ledger, find_lost, read_ledger
from tests.system.load import Load
from tests.system.serving_process import STOP_S, serve
from tests.system.strace import SYNCS, fail

# The first syncs of a process give the log its name and its first rows; the others come some milliseconds apart.
LATEST_SYNC = 60


def fail_sync(project: Path, when: str) -> tuple[int, Load]:
    """Serve under load until the sync that fails; return the exit code, and what the senders were told."""
    under = fail(SYNCS, error="EIO", when=when)
    with serve(project, under=under) as serving, Load(serving.address, seed=1) as load:
        code = serving.process.wait(STOP_S)
    return code, load


@pytest.mark.parametrize("again", ["", "+"], ids=["once", "and every one after it"])
def test_no_acknowledged_row_is_lost_when_a_sync_fails_and_the_process_exits_with_its_code(
    trained_project: Path, again: str, random: Random, count: Count, tell: Tell
) -> None:
    acknowledged, codes, in_doubt = Ledger(), [], 0
    n_failures = count(short=1, soak=20)

    for _ in range(n_failures):
        code, load = fail_sync(trained_project, f"{random.randint(1, LATEST_SYNC)}{again}")
        codes.append(code)
        acknowledged.add(load.acknowledged)
        in_doubt += any("log-failed" in failure for failure in load.failures)

    lost = find_lost(acknowledged, read_ledger(trained_project / DATABASE))
    assert set(codes) == {os.EX_IOERR}
    tell(
        f"EIO from a sync{again and ' and all after it'}: {n_failures} times, {acknowledged.n_entries} acknowledged, "
        f"{len(lost)} lost, exit code {os.EX_IOERR} each time"
    )
    assert lost == []
    assert in_doubt == n_failures


def test_after_a_failed_sync_a_new_process_answers(trained_project: Path) -> None:
    fail_sync(trained_project, "5+")

    with serve(trained_project) as serving, Load(serving.address, seed=2) as load:
        load.wait_for_more()

    assert load.failures == []
