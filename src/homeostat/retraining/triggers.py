"""What asks for a retraining: outcomes, drift, new labels, the schedule.

Not here: whether it is granted (`retraining.policy`). Pure. A third party adds a trigger by satisfying `Trigger`,
adding a line to `TRIGGERS` and passing `tests/conformance/trigger.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from croniter import CroniterError, croniter

from homeostat.errors import SettingsInvalid
from homeostat.records import Change, Json, Proposal
from homeostat.settings import MonitoringSettings, RetrainingSettings


@dataclass(frozen=True, slots=True)
class Watch:
    """What the triggers look at: drift checks since the last promotion, outcomes, and the moments of trainings.

    `newest` is the newest check, `fired` the newest one in which the rule of `monitoring.trigger` fired, each None
    without one. `change` is what outcomes and features say of the world on this watch. `n_new_labels` counts the labels
    that no attempt has seen. `trained_at` holds when each known cycle began and when this release was promoted; a clock
    that was set back may have left some of them in the future.
    """

    newest: Json | None
    fired: Json | None
    trained_at: Sequence[datetime]
    now: datetime
    change: Change | None = None
    n_new_labels: int = 0

    @property
    def last_trained_at(self) -> datetime:
        """The last of `trained_at` that is not in the future; now, if there is none."""
        return max((moment for moment in self.trained_at if moment <= self.now), default=self.now)


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


class Concept:
    """The rule itself has changed: outcomes no longer follow the features as they did in training."""

    name = "concept"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,  # noqa: ARG002  one signature for all triggers
        retraining: RetrainingSettings,  # noqa: ARG002  as above
    ) -> Proposal | None:
        """Return a proposal while the outcomes of this watch say so."""
        if watch.change is None or watch.change.kind != "concept":
            return None
        return Proposal(self.name, watch.change.sentence.rstrip("."))


class NewLabels:
    """Enough outcomes have arrived that no attempt has seen."""

    name = "labels"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,  # noqa: ARG002  one signature for all triggers
        retraining: RetrainingSettings,
    ) -> Proposal | None:
        """Return a proposal once there are `retraining.new_labels`, if that is set."""
        needed = retraining.new_labels
        if needed is None or watch.n_new_labels < needed:
            return None
        return Proposal(self.name, f"{watch.n_new_labels} new labels have arrived, {needed} are enough")


class Schedule:
    """The cron line, in UTC: due once after each of its moments, however many were slept through.

    A moment is done with once a training began between it and the next one, also if the clock was set back since.
    """

    name = "schedule"

    def propose(
        self,
        watch: Watch,
        monitoring: MonitoringSettings,  # noqa: ARG002  one signature for all triggers
        retraining: RetrainingSettings,
    ) -> Proposal | None:
        """Return a proposal if the newest moment of the schedule has passed and no training has begun since.

        Raises
        ------
        SettingsInvalid
            The schedule is no cron line.
        """
        if retraining.schedule is None:
            return None
        # A microsecond later: the moment itself counts as passed.
        moments = read_schedule(retraining.schedule, watch.now + timedelta(microseconds=1))
        due: datetime = moments.get_prev(datetime)
        following: datetime = moments.get_next(datetime)
        if any(due <= moment < following for moment in watch.trained_at):
            return None
        return Proposal(self.name, f"the schedule {retraining.schedule!r} was due at {due:%Y-%m-%d %H:%M} UTC")


def read_schedule(line: str, start: datetime) -> croniter:
    """Return the moments of a cron line around one; SettingsInvalid if it is none."""
    try:
        return croniter(line, start)
    except CroniterError as error:
        raise SettingsInvalid(
            problem=f"retraining.schedule is {line!r}: {error}",
            expected='a cron line such as "0 3 * * 1"',
            action="correct it in homeostat.toml, or remove it",
        ) from error


# In the order in which they are named: what says most about the world comes first.
TRIGGERS: Sequence[Trigger] = (Concept(), Drift(), NewLabels(), Schedule())


def propose(watch: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings) -> list[Proposal]:
    """Return every trigger's proposal, in the order of `TRIGGERS`."""
    found = [trigger.propose(watch, monitoring, retraining) for trigger in TRIGGERS]
    return [proposal for proposal in found if proposal is not None]
