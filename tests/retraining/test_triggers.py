"""What asks for a retraining: a window above the boundary, a moment of the schedule that has passed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import SettingsInvalid
from homeostat.records import Change, Json, Proposal
from homeostat.retraining.triggers import TRIGGERS, Concept, Drift, NewLabels, Schedule, Trigger, Watch, propose
from homeostat.settings import MonitoringSettings, RetrainingSettings
from tests.conformance.trigger import TriggerConformance

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
DAILY = RetrainingSettings(schedule="0 3 * * *")
BOOK, GUARDED = MonitoringSettings(trigger="book"), MonitoringSettings()


def check_of(score: float, *, first_seq: int = 1) -> Json:
    """Return the check of a window of 200 rows in which a share of eight features moved, with evidence for two."""
    streams = {f"f{j}": {"value": 150.0, "peak": 1234.0, "since": 101} for j in range(8)}
    guarded = {"fired": True, "counted": ["f0", "f1"], "needed": 2, "evidence_needed": 120.0, "since": 101}
    return {
        "score": score,
        "first_seq": first_seq,
        "last_seq": first_seq + 199,
        "report": {
            "boundary": 0.3,
            "features": [{"name": f"f{j}", "drifted": j < score * 8} for j in range(8)],
            "guarded": guarded,
            "evidence": {"streams": streams},
        },
    }


def watch_of(fired: float | None = None, *, trained: datetime = NOW, now: datetime = NOW) -> Watch:
    """Return a watch whose newest window is quiet, and in which one before fired if its score is given."""
    return Watch(
        check_of(0.0, first_seq=401), None if fired is None else check_of(fired, first_seq=201), [trained], now
    )


def drift(watch: Watch, monitoring: MonitoringSettings = BOOK) -> Proposal | None:
    return Drift().propose(watch, monitoring, RetrainingSettings())


def schedule(watch: Watch, retraining: RetrainingSettings = DAILY) -> Proposal | None:
    return Schedule().propose(watch, MonitoringSettings(), retraining)


class TestDrift(TriggerConformance):
    @pytest.fixture
    def trigger(self) -> Trigger:
        return Drift()

    @pytest.fixture(params=[BOOK, GUARDED], ids=["book", "guarded"])
    def monitoring(self, request: pytest.FixtureRequest) -> MonitoringSettings:
        chosen: MonitoringSettings = request.param
        return chosen

    @pytest.fixture
    def calling(self) -> Watch:
        return watch_of(0.5)

    @pytest.fixture
    def quiet(self) -> Watch:
        return watch_of()


class TestSchedule(TriggerConformance):
    @pytest.fixture
    def trigger(self) -> Trigger:
        return Schedule()

    @pytest.fixture
    def calling(self) -> Watch:
        return watch_of(trained=NOW - timedelta(days=1))

    @pytest.fixture
    def quiet(self) -> Watch:
        return watch_of(trained=NOW - timedelta(hours=8))

    @pytest.fixture
    def retraining(self) -> RetrainingSettings:
        return DAILY


# --- drift --------------------------------------------------------------------------------------------------------


def test_the_reason_of_a_drift_names_features_score_boundary_and_rows() -> None:
    found = drift(watch_of(0.375))

    assert found is not None
    assert found.reason == "3 of 8 features drifted (f0, f1, f2): score 0.375, boundary 0.3, in rows 201 to 400"


def test_the_reason_of_a_guarded_drift_names_the_evidence_and_since_when() -> None:
    found = drift(watch_of(0.375), GUARDED)

    assert found is not None
    assert found.reason.endswith(
        "in rows 201 to 400; evidence f0 1.2e+03, f1 1.2e+03, where 2 must reach 120, since about row 101"
    )


# --- schedule -----------------------------------------------------------------------------------------------------


def test_the_reason_of_a_schedule_is_its_line_and_the_moment_that_was_due() -> None:
    found = schedule(watch_of(trained=NOW - timedelta(days=1)))

    assert found is not None
    assert found.reason == "the schedule '0 3 * * *' was due at 2026-03-04 03:00 UTC"


def test_a_schedule_is_due_at_its_very_moment_and_not_before() -> None:
    trained, due = NOW - timedelta(hours=12), datetime(2026, 3, 4, 3, tzinfo=UTC)

    assert schedule(watch_of(trained=trained, now=due - timedelta(seconds=1))) is None
    assert schedule(watch_of(trained=trained, now=due)) is not None


def test_a_schedule_that_slept_through_several_moments_is_due_once() -> None:
    woken = NOW + timedelta(days=9)

    assert schedule(watch_of(trained=NOW, now=woken)) is not None
    assert schedule(watch_of(trained=woken, now=woken + timedelta(hours=14))) is None
    assert schedule(watch_of(trained=woken, now=woken + timedelta(hours=15))) is not None


@settings(max_examples=50)
@given(st.lists(st.integers(1, 60), max_size=30))
def test_however_long_it_sleeps_a_daily_schedule_calls_at_most_once_a_day(naps_h: list[int]) -> None:
    now, trained, calls = NOW, NOW, []
    for nap in naps_h:
        now += timedelta(hours=nap)
        if schedule(watch_of(trained=trained, now=now)) is not None:
            trained = now
            calls.append((now - timedelta(hours=3)).date())

    assert len(calls) == len(set(calls))


def test_without_a_schedule_nothing_is_due() -> None:
    assert schedule(watch_of(trained=NOW - timedelta(days=900)), RetrainingSettings()) is None


@pytest.mark.parametrize("line", ["daily", "", "61 * * * *", "* * *"])
def test_a_schedule_that_is_no_cron_line_is_refused_in_three_parts(line: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        schedule(watch_of(), RetrainingSettings(schedule=line))

    assert refused.value.problem.startswith(f"retraining.schedule is {line!r}: ")
    assert "cron line" in refused.value.expected
    assert "homeostat.toml" in refused.value.action


# --- all of them --------------------------------------------------------------------------------------------------


def test_every_trigger_has_a_name_of_its_own() -> None:
    assert len({trigger.name for trigger in TRIGGERS}) == len(TRIGGERS)


def test_all_that_call_are_heard_drift_first() -> None:
    both = watch_of(0.5, trained=NOW - timedelta(days=1))

    found = propose(both, MonitoringSettings(), DAILY)

    assert [proposal.trigger for proposal in found] == ["drift", "schedule"]


def test_where_nothing_calls_there_is_no_proposal() -> None:
    assert propose(watch_of(), MonitoringSettings(), DAILY) == []


# --- outcomes and new labels --------------------------------------------------------------------------------------

CHANGED = Change("concept", 812, 2, confirmed=True, sentence="61 of 100 answers wrong since about row 812.")


class TestConcept(TriggerConformance):
    @pytest.fixture
    def trigger(self) -> Trigger:
        return Concept()

    @pytest.fixture
    def calling(self) -> Watch:
        return replace(watch_of(), change=CHANGED)

    @pytest.fixture(params=["none", "data"])
    def quiet(self, request: pytest.FixtureRequest) -> Watch:
        return replace(watch_of(), change=replace(CHANGED, kind=request.param))


class TestNewLabels(TriggerConformance):
    @pytest.fixture
    def trigger(self) -> Trigger:
        return NewLabels()

    @pytest.fixture
    def calling(self) -> Watch:
        return replace(watch_of(), n_new_labels=500)

    @pytest.fixture
    def quiet(self) -> Watch:
        return replace(watch_of(), n_new_labels=499)

    @pytest.fixture
    def retraining(self) -> RetrainingSettings:
        return RetrainingSettings(new_labels=500)


def test_without_the_setting_new_labels_ask_for_nothing() -> None:
    many = replace(watch_of(), n_new_labels=1_000_000)

    assert NewLabels().propose(many, BOOK, RetrainingSettings()) is None


def test_outcomes_are_named_before_the_drift_that_they_come_with() -> None:
    both = replace(watch_of(0.5), change=CHANGED)

    assert [proposal.trigger for proposal in propose(both, BOOK, RetrainingSettings())] == ["concept", "drift"]


# --- clocks that lie ----------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(st.integers(-30, 40), max_size=40))
def test_whatever_the_clock_does_a_moment_of_the_schedule_is_trained_for_once(jumps_h: list[int]) -> None:
    now, trained, slots = NOW, [NOW], []
    for jump in jumps_h:
        now += timedelta(hours=jump)
        if schedule(replace(watch_of(now=now), trained_at=trained)) is not None:
            trained.append(now)
            slots.append((now - timedelta(hours=3)).date())

    assert len(slots) == len(set(slots))


def test_a_training_of_a_clock_that_was_a_year_ahead_does_not_silence_the_schedule() -> None:
    ahead = NOW + timedelta(days=365)

    assert schedule(replace(watch_of(), trained_at=[ahead])) is not None


def test_a_clock_that_stands_still_makes_no_schedule_due() -> None:
    assert schedule(watch_of(trained=NOW, now=NOW)) is None
