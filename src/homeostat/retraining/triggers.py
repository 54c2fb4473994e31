"""What asks for a retraining: drift, the schedule.

Not here: whether it is granted (`retraining.policy`). Pure. A third party adds a trigger by satisfying `Trigger`,
adding a line to `TRIGGERS` and passing `tests/conformance/trigger.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from croniter import CroniterError, croniter

from homeostat.errors import SettingsInvalid
from homeostat.records import Json, Proposal
from homeostat.settings import MonitoringSettings, RetrainingSettings


@dataclass(frozen=True, slots=True)
class Watch:
    """What the triggers look at: the drift checks since the last promotion, oldest first, and two moments.

    `last_trained_at` is when the last cycle began, or the last promotion was made if that is later.
    """

    checks: Sequence[Json]
    last_trained_at: datetime
    now: datetime


class Trigger(Protocol):
    """Something that may ask for a retraining."""

    @property
    def name(self) -> str:
        """Return the word that events and settings use."""
        ...

    def propose(self, watch: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings) -> Proposal | None:
        """Return the wish to retrain with its figures, None without one."""
        ...


class Drift:
    """The book's rule: some window of this watch scored above the boundary."""

    name = "drift"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,  # noqa: ARG002  the report holds the boundary it was judged by
        retraining: RetrainingSettings,  # noqa: ARG002  as above
    ) -> Proposal | None:
        """Return the newest check that fired."""
        fired = [check for check in watch.checks if check["fired"]]
        if not fired:
            return None
        check = fired[-1]
        report = check["report"]
        moved = [feature["name"] for feature in report["features"] if feature["drifted"]]
        return Proposal(
            self.name,
            f"{len(moved)} of {len(report['features'])} features drifted ({', '.join(moved)}): score "
            f"{check['score']:.3f} exceeds {report['boundary']:g} in rows {check['first_seq']} to {check['last_seq']}",
        )


class Schedule:
    """The cron line, in UTC: due once after each of its moments, however many were slept through."""

    name = "schedule"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,  # noqa: ARG002  one signature for all triggers
        retraining: RetrainingSettings,
    ) -> Proposal | None:
        """Return a proposal if a moment of the schedule has passed since the last training.

        Raises
        ------
        SettingsInvalid
            The schedule is no cron line.
        """
        if retraining.schedule is None:
            return None
        try:
            due: datetime = croniter(retraining.schedule, watch.last_trained_at).get_next(datetime)
        except CroniterError as error:
            raise SettingsInvalid(
                problem=f"retraining.schedule is {retraining.schedule!r}: {error}",
                expected='a cron line such as "0 3 * * 1"',
                action="correct it in homeostat.toml, or remove it",
            ) from error
        if due > watch.now:
            return None
        return Proposal(self.name, f"the schedule {retraining.schedule!r} was due at {due:%Y-%m-%d %H:%M} UTC")


TRIGGERS: Sequence[Trigger] = (Drift(), Schedule())


def propose(watch: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings) -> list[Proposal]:
    """Return every trigger's proposal, in the order of `TRIGGERS`."""
    found = [trigger.propose(watch, monitoring, retraining) for trigger in TRIGGERS]
    return [proposal for proposal in found if proposal is not None]
