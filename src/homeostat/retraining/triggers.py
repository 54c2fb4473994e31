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
    """What the triggers look at: drift checks since the last promotion, and two moments.

    `newest` is the newest check, `fired` the newest one in which the rule of `monitoring.trigger` fired, each None
    without one. `last_trained_at` is when the last cycle began, or the last promotion was made if that is later.
    """

    newest: Json | None
    fired: Json | None
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
    """The world has moved: the rule of `monitoring.trigger` fired in some window of this watch."""

    name = "drift"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,
        retraining: RetrainingSettings,  # noqa: ARG002  one signature for all triggers
    ) -> Proposal | None:
        """Return the newest check that fired."""
        if watch.fired is None:
            return None
        check, report = watch.fired, watch.fired["report"]
        moved = [feature["name"] for feature in report["features"] if feature["drifted"]]
        reason = f"{len(moved)} of {len(report['features'])} features drifted ({', '.join(moved)}): score "
        reason += f"{check['score']:.3f}, boundary {report['boundary']:g}, in rows {check['first_seq']} to "
        reason += f"{check['last_seq']}"
        if monitoring.trigger == "guarded":
            reason += describe_evidence(report)
        return Proposal(self.name, reason)


def describe_evidence(report: Json) -> str:
    """Return what stands behind a guarded alarm, in words."""
    guarded, streams = report["guarded"], report["evidence"]["streams"]
    peaks = ", ".join(f"{name} {streams[name]['peak']:.2g}" for name in guarded["counted"])
    since = "" if guarded["since"] is None else f", since about row {guarded['since']}"
    return f"; evidence {peaks}, where {guarded['needed']} must reach {guarded['evidence_needed']:.3g}{since}"


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
