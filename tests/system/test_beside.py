"""`homeostat train` beside a running loop, and a loop that is told to stop in the middle of a training."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeostat.cli.train import newest_cycle
from homeostat.loop import begin_by_hand
from homeostat.project import Project, open_project
from homeostat.store.leases import find_lease

HOMEOSTAT = Path(sys.executable).parent / "homeostat"


@contextmanager
def loop(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """Run `homeostat loop`, and yield it once it acts."""
    with subprocess.Popen(
        [str(HOMEOSTAT), "loop", "--project", str(project.folder)], stderr=subprocess.PIPE
    ) as process:
        try:
            while not acts(project, process):
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def acts(project: Project, process: subprocess.Popen[bytes]) -> bool:
    with project.database.read() as connection:
        lease = find_lease(connection)
    return lease is not None and lease.holder.endswith(f":{process.pid}")


def test_a_training_by_hand_beside_a_loop_is_done_by_the_loop_and_followed(trained_project: Path) -> None:
    with open_project(trained_project) as project, loop(project):
        done = subprocess.run(
            [str(HOMEOSTAT), "train", "--project", str(trained_project)], capture_output=True, text=True, check=False
        )

    assert (done.returncode, done.stdout.count("it does the work, this follows")) == (0, 1)
    assert done.stdout.endswith("The cycle has ended: promoted.\n")


def test_a_loop_that_is_told_to_stop_leaves_its_training_to_the_next(trained_project: Path) -> None:
    with open_project(trained_project) as project, loop(project) as process:
        begin_by_hand(project, reason="a test")
        while newest_cycle(project).step != "search":
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)

        assert (process.wait(20), process.stderr.read() if process.stderr else None) == (0, b"")
        assert newest_cycle(project).step == "search"
