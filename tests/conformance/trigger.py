"""What every `Trigger` promises. A new trigger passes by subclassing `TriggerConformance` with its fixtures.

Not here: whether what it asks for is granted.
"""

import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from homeostat.records import Proposal
from homeostat.retraining.triggers import Trigger, Watch
from homeostat.settings import MonitoringSettings, RetrainingSettings


class TriggerConformance:
    """Subclass it, name the class Test..., and override the fixtures."""

    @pytest.fixture
    def trigger(self) -> Trigger:
        """Return the trigger."""
        raise NotImplementedError

    @pytest.fixture
    def calling(self) -> Watch:
        """Return a watch on which it asks for a retraining."""
        raise NotImplementedError

    @pytest.fixture
    def quiet(self) -> Watch:
        """Return a watch on which it does not."""
        raise NotImplementedError

    @pytest.fixture
    def monitoring(self) -> MonitoringSettings:
        """Return the settings under which the two watches are what they are."""
        return MonitoringSettings()

    @pytest.fixture
    def retraining(self) -> RetrainingSettings:
        """Return the settings under which the two watches are what they are."""
        return RetrainingSettings()

    @pytest.fixture
    def proposal(
        self, trigger: Trigger, calling: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings
    ) -> Proposal:
        """Return what it proposes on the watch on which it calls."""
        found = trigger.propose(calling, monitoring, retraining)
        assert found is not None
        return found

    def test_its_name_is_one_word(self, trigger: Trigger) -> None:
        assert trigger.name.isidentifier()

    def test_its_proposal_carries_its_name(self, trigger: Trigger, proposal: Proposal) -> None:
        assert proposal.trigger == trigger.name

    def test_its_reason_has_figures_and_can_stand_within_a_sentence(self, proposal: Proposal) -> None:
        assert any(letter.isdigit() for letter in proposal.reason)
        assert not proposal.reason.endswith(".")
        assert "\n" not in proposal.reason

    def test_it_is_silent_on_a_quiet_watch(
        self, trigger: Trigger, quiet: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings
    ) -> None:
        assert trigger.propose(quiet, monitoring, retraining) is None

    def test_it_is_silent_when_a_watch_has_just_begun(
        self, trigger: Trigger, calling: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings
    ) -> None:
        begun = Watch(None, None, [calling.now], calling.now)

        assert trigger.propose(begun, monitoring, retraining) is None

    def test_it_goes_on_calling_until_something_is_done(
        self, trigger: Trigger, calling: Watch, monitoring: MonitoringSettings, retraining: RetrainingSettings
    ) -> None:
        later = replace(calling, now=calling.now + timedelta(hours=1))

        assert trigger.propose(later, monitoring, retraining) is not None

    def test_it_decides_by_what_it_is_shown_alone(
        self,
        *,
        trigger: Trigger,
        calling: Watch,
        monitoring: MonitoringSettings,
        retraining: RetrainingSettings,
        proposal: Proposal,
    ) -> None:
        before = copy.deepcopy(calling)

        assert trigger.propose(calling, monitoring, retraining) == proposal
        assert calling == before
