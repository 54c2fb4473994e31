"""What a step of a cycle is handed, and what it leaves.

Not here: the steps (`retraining.learning`, `retraining.judging`, `retraining.releasing`), or their order
(`homeostat.loop`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.attempt import run_part
from homeostat.retraining.cycles import Cycle
from homeostat.store.leases import Lease, lease_lost, take_lease

# How often a step that waits for a child process renews the lease, and looks for what is more urgent.
RENEW_S, LOOK_S = 10.0, 1.0


class Overtaken(Exception):
    """Something more urgent has come while a child process of a cycle was at work."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished step leaves: its record, a sentence, and the outcome of the cycle if this has ended it."""

    record: Json
    sentence: str
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """A step that cannot go on yet, and what it waits for in a sentence."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What a step is handed: the project, the lease it acts under, and its cycle.

    `is_overtaken` says whether something more urgent waits; it is asked while a child process is at work.
    """

    project: Project
    lease: Lease
    cycle: Cycle
    now: datetime
    is_overtaken: Callable[[], bool] = lambda: False

    def recall(self, step: str) -> Json:
        """Return what an earlier step of this cycle has left."""
        left: Json = self.cycle.record[step]
        return left

    def run_part(self, part: str, request: Json) -> Json:
        """Run a part of the attempt in a child process; meanwhile renew the lease and look for what is more urgent.

        Raises
        ------
        Overtaken
            Something more urgent waits; the child was ended.
        LeaseHeld
            Another loop took the lease.
        HomeostatError
            What the part raised on purpose, or `TrainingFailed`.
        """
        full = {**request, "cycle": self.cycle.id, "trigger": self.cycle.trigger}
        return run_part(part, self.project, full, while_waiting=Watchman(self).look)


class Watchman:
    """What goes on while a child process works."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._renewed = self._looked = time.monotonic()

    def look(self) -> None:
        """Renew the lease if it is time, and raise Overtaken if something more urgent waits.

        After a pause that outlasted the lease, another loop may have acted and be done: LeaseHeld.
        """
        moment, project = time.monotonic(), self._turn.project
        if moment - self._renewed > RENEW_S:
            renewed = take_lease(project.database, now=datetime.now(UTC))
            if renewed.fence != self._turn.lease.fence:
                raise lease_lost(self._turn.lease, renewed.fence)
            self._renewed = moment
        if moment - self._looked > LOOK_S:
            self._looked = moment
            if self._turn.is_overtaken():
                raise Overtaken
