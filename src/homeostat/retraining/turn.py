"""What a step of a cycle is handed, and what it leaves.

Not here: the steps (`retraining.learning`, `retraining.judging`, `retraining.releasing`), or their order
(`homeostat.loop`).
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from homeostat.project import Project
from homeostat.records import Breach, Json
from homeostat.retraining.aftercare import find_breach
from homeostat.retraining.attempt import run_part
from homeostat.retraining.cycles import Cycle
from homeostat.store.leases import Lease, take_lease

# How often a step that waits for a child process renews the lease, and asks whether production is still sound.
RENEW_S, LOOK_S = 10.0, 1.0


class Overtaken(Exception):
    """The release in production must go, while a cycle is under way."""

    def __init__(self, breach: Breach) -> None:
        super().__init__(breach.sentence)
        self.breach = breach


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
    """What a step is handed: the project, the lease it acts under, and its cycle."""

    project: Project
    lease: Lease
    cycle: Cycle
    now: datetime

    def recall(self, step: str) -> Json:
        """Return what an earlier step of this cycle has left."""
        left: Json = self.cycle.record[step]
        return left

    def run_part(self, part: str, request: Json) -> Json:
        """Run a part of the attempt in a child process; meanwhile renew the lease and look after production.

        Raises
        ------
        Overtaken
            The release in production must go.
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
        """Renew the lease if it is time, and raise Overtaken if the release in production must go."""
        moment, project = time.monotonic(), self._turn.project
        if moment - self._renewed > RENEW_S:
            take_lease(project.database, now=datetime.now(UTC))
            self._renewed = moment
        if moment - self._looked > LOOK_S:
            self._looked = moment
            breach = find_breach(project, now=datetime.now(UTC))
            if breach is not None:
                raise Overtaken(breach)
