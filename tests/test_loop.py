"""The loop watches, decides, trains, judges and promotes; every turn leaves its record, and nothing else moves."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from homeostat.data.columns import unstack_rows
from homeostat.deployment.artifacts import find_release, open_release, pack_release
from homeostat.deployment.registry import list_promotions, list_releases, register_release, require_production
from homeostat.errors import LeaseHeld, PromotionConflict, ReleaseMissing, SourceUnreadable, TrainingFailed
from homeostat.loop import ORDER, Advance, advance, begin_by_hand, run_step, tick
from homeostat.project import Project, open_project
from homeostat.records import Json, Release
from homeostat.retraining.cycles import HAND, Cycle, find_open_cycle, list_cycles, open_cycle, store_step
from homeostat.retraining.turn import Turn
from homeostat.simulation.cohort import Cohort, Labels, Measurements, draw_aged, draw_ordinary, fit_cohort
from homeostat.store.events import Event, find_break, read_events
from homeostat.store.leases import find_lease
from homeostat.training.evaluation import auc
from homeostat.training.mirroring import ALIAS
from homeostat.training.scoring import Graph
from homeostat.training.tracking import open_client
from tests.production_log import answer, label, lease_lost

HOMEOSTAT = Path(sys.executable).parent / "homeostat"
# An ordinary window, then the aged ones, whose outcomes have arrived for the first part.
N_ORDINARY, N_AGED, N_LABELLED = 200, 1_000, 900


@pytest.fixture
def project(trained_project: Path) -> Iterator[Project]:
    with open_project(trained_project) as opened:
        yield opened


@pytest.fixture(scope="session")
def cohort(pima_path: Path, trained_template: Path) -> Cohort:
    """The synthetic clinic of the genuine table."""
    table = np.loadtxt(pima_path, delimiter=",", skiprows=1)
    with open_project(trained_template) as project:
        names = [feature.name for feature in project.schema.features]
        return fit_cohort(dict(zip(names, table.T, strict=False)), table[:, -1].astype(np.int8), project.schema)


def send(project: Project, drawn: tuple[Measurements, Labels], *, n_labelled: int = 0) -> None:
    columns, outcomes = drawn
    ids = answer(project.database, unstack_rows(columns))
    label(project.database, list(zip(ids, outcomes[:n_labelled].tolist(), strict=False)))


def aged(cohort: Cohort, n_rows: int, *, seed: int = 0) -> tuple[Measurements, Labels]:
    return draw_aged(cohort, n_rows, np.random.default_rng(seed))


def ordinary(cohort: Cohort, n_rows: int) -> tuple[Measurements, Labels]:
    return draw_ordinary(cohort, n_rows, np.random.default_rng(0))


def step_once(project: Project) -> Advance:
    return advance(project, now=datetime.now(UTC))


def run_out(project: Project) -> list[Advance]:
    return list(tick(project))


def cycles(project: Project) -> list[Cycle]:
    with project.database.read() as connection:
        return list_cycles(connection)


def events(project: Project, *kinds: str) -> list[Event]:
    with project.database.read() as connection:
        return [event for event in read_events(connection) if not kinds or event.kind in kinds]


def history(project: Project) -> list[str]:
    with project.database.read() as connection:
        return [promotion.release for promotion in list_promotions(connection)]


def release_of(project: Project, digest: str) -> Release:
    return open_release(find_release(digest, project.blobs))


def go_on_at(project: Project, step: str, record: Json, *, trigger: str = "drift") -> None:
    """Put a cycle into the state in which a killed loop has left it: `record` is there, `step` comes next."""
    with project.database.write() as connection:
        open_cycle(connection, trigger=trigger, reason="a test", step=ORDER[0], now=datetime.now(UTC))
        for name, left in record.items():
            cycle = find_open_cycle(connection)
            assert cycle is not None
            store_step(connection, replace(cycle, step=name), left, following=step)


# --- nothing to do ------------------------------------------------------------------------------------------------


def test_before_the_first_release_the_loop_says_what_to_do(tmp_path: Path, trained_template: Path) -> None:
    shutil.copy(trained_template / "homeostat.toml", tmp_path)

    with open_project(tmp_path) as project:
        (done,) = run_out(project)

    assert done == Advance("Nothing is in production yet: run `homeostat train`.", idle=True)


def test_a_quiet_watch_is_one_sentence_with_its_figures(project: Project, cohort: Cohort) -> None:
    send(project, ordinary(cohort, 250))

    (done,) = run_out(project)

    assert done.idle
    assert done.sentence.startswith("Nothing to do: drift score 0.")
    assert done.sentence.endswith(
        "in the newest window (rows 1 to 200), boundary 0.3; evidence in 0 of 3 features needed."
    )


def test_a_backlog_of_many_windows_is_taken_in_turns_until_none_is_left(
    project: Project, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(project, ordinary(cohort, 210))
    monkeypatch.setenv("HOMEOSTAT_MONITORING__WINDOW", "2")

    with open_project(project.folder) as with_small_windows:
        turns = run_out(with_small_windows)

    assert [turn.idle for turn in turns] == [False, True]
    assert len(events(project, "drift_checked")) == 105


def test_a_decision_that_repeats_itself_is_recorded_once(project: Project) -> None:
    for _ in range(3):
        run_out(project)

    assert [event.payload["action"] for event in events(project, "decision")] == ["nothing"]


def test_an_idle_turn_leaves_nothing_but_its_lease(project: Project) -> None:
    run_out(project)
    before = len(events(project)), len(cycles(project))

    run_out(project)

    assert (len(events(project)), len(cycles(project))) == before


def test_rows_that_are_checked_go_after_their_period_and_the_others_wait(project: Project, cohort: Cohort) -> None:
    send(project, ordinary(cohort, 250), n_labelled=250)

    done = advance(project, now=datetime.now(UTC) + timedelta(days=800))

    assert done.idle
    assert [event.payload for event in events(project, "retention_ran")] == [{"labels": 200, "predictions": 200}]


# --- drift --------------------------------------------------------------------------------------------------------


def test_a_drift_without_labels_waits_and_says_what_for(project: Project, cohort: Cohort) -> None:
    send(project, aged(cohort, 400))

    (done,) = run_out(project)

    assert done.decision is not None
    assert (done.decision.action, done.decision.trigger) == ("wait", "drift")
    assert "features drifted (" in done.sentence
    assert "in rows 201 to 400; evidence " in done.sentence
    assert done.sentence.endswith(", but only 0 of 200 new labels have arrived.")


def test_a_drift_that_waits_trains_nothing_and_is_recorded_once(project: Project, cohort: Cohort) -> None:
    send(project, aged(cohort, 400))

    for _ in range(3):
        run_out(project)

    assert [event.payload["action"] for event in events(project, "decision")] == ["wait"]
    assert [cycle.trigger for cycle in cycles(project)] == ["hand"]


def test_a_drift_whose_labels_cannot_judge_yet_waits_for_those(project: Project, cohort: Cohort) -> None:
    send(project, aged(cohort, 400), n_labelled=250)

    (done,) = run_out(project)

    assert "labelled rows kept from training" in done.sentence
    assert done.sentence.endswith("can judge a challenger; needed are 200 (30).")


class Retrained:
    """A project after one drift whose outcomes arrived, and what the loop said meanwhile."""

    def __init__(self, project: Project, cohort: Cohort) -> None:
        self.project, self.cohort = project, cohort
        send(project, ordinary(cohort, N_ORDINARY))
        send(project, aged(cohort, N_AGED), n_labelled=N_LABELLED)
        self.said: Sequence[Advance] = run_out(project)
        self.releases = [release_of(project, digest) for digest in history(project)]


@pytest.fixture(scope="module")
def retrained(trained_template: Path, cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrained]:
    """One drift, one retraining: read it, never change it, but for the last test."""
    folder = shutil.copytree(trained_template, tmp_path_factory.mktemp("retrained") / "project")
    with open_project(Path(folder)) as project:
        yield Retrained(project, cohort)


def test_a_drift_with_labels_is_retrained_step_by_step_to_a_promotion(retrained: Retrained) -> None:
    assert [done.outcome for done in retrained.said] == [None] * len(ORDER) + ["promoted"]
    assert retrained.said[0].sentence.startswith("Retraining: ")
    assert retrained.said[-1].sentence.endswith("is in production since epoch 2; MLflow's alias follows.")


def test_one_drift_is_exactly_one_retraining(retrained: Retrained) -> None:
    assert [(c.trigger, c.outcome) for c in cycles(retrained.project)] == [("hand", "promoted"), ("drift", "promoted")]


def test_every_step_leaves_its_record(retrained: Retrained) -> None:
    assert list(cycles(retrained.project)[-1].record) == list(ORDER)


def test_the_second_release_is_in_production_by_the_loop_with_the_drift_as_reason(retrained: Retrained) -> None:
    with retrained.project.database.read() as connection:
        promotion = require_production(connection)

    assert (promotion.epoch, promotion.actor) == (2, "loop")
    assert promotion.previous == retrained.releases[0].digest != promotion.release
    assert "features drifted (" in promotion.reason


def test_the_turn_is_in_the_event_log_in_order_and_unbroken(retrained: Retrained) -> None:
    kinds = ("decision", "retrain_decided", "release_registered", "gate", "promoted", "cycle_promoted")

    assert [event.kind for event in events(retrained.project, *kinds)][-6:] == list(kinds)
    with retrained.project.database.read() as connection:
        assert find_break(connection) is None


def test_the_new_baseline_is_the_rows_since_the_change_point(retrained: Retrained) -> None:
    assert [release.profile.n_rows for release in retrained.releases] == [768, N_AGED]


def test_the_new_training_set_is_d_old_and_the_labelled_predictions(retrained: Retrained) -> None:
    rows = cycles(retrained.project)[-1].record["snapshot"]["rows"]

    assert sum(rows.values()) == 768 + N_LABELLED
    assert rows["anchor"] == cycles(retrained.project)[0].record["snapshot"]["rows"]["anchor"]


def test_the_challenger_was_judged_on_the_anchor_and_on_recent_rows(retrained: Retrained) -> None:
    gate = cycles(retrained.project)[-1].record["gate"]

    assert gate["passed"]
    assert {"anchor", "recent rows", "recent"} <= {c["name"] for c in gate["criteria"]}


def test_the_second_release_is_better_where_the_world_is_now(retrained: Retrained) -> None:
    columns, labels = aged(retrained.cohort, 5_000, seed=7)

    first, second = (
        auc(labels, Graph(r.graph, r.schema).score(columns).astype(np.float64)) for r in retrained.releases
    )

    assert second > first + 0.02


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own queries
def test_mlflows_alias_follows_the_promotion_log(retrained: Retrained) -> None:
    version = open_client(retrained.project.tracking_url).get_model_version_by_alias("pima", ALIAS)

    assert version.tags["homeostat.release"] == retrained.releases[-1].digest


def test_after_it_the_same_population_is_quiet(retrained: Retrained) -> None:
    send(retrained.project, aged(retrained.cohort, 600, seed=3), n_labelled=600)

    done = run_out(retrained.project)

    assert [one.decision.action for one in done if one.decision] == ["nothing"]
    assert len(cycles(retrained.project)) == 2


# --- the gate -----------------------------------------------------------------------------------------------------


def turned_round(project: Project) -> str:
    """Pack and register a release that answers 1 - p, golden rows included."""
    digest = repack(project, factor=-1.0)
    with project.database.write() as connection:
        register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=datetime.now(UTC))
    return digest


def ranking_alike(project: Project) -> str:
    """Pack a release that ranks as the champion does, with answers of its own."""
    return repack(project, factor=1.25)


def repack(project: Project, *, factor: float) -> str:
    """Pack the release in production with its calibration multiplied."""
    with project.database.read() as connection:
        production = require_production(connection).release
    release = release_of(project, production)
    loaded = onnx.load_from_string(release.graph)
    for constant in loaded.graph.initializer:
        if constant.name in {"calibration_slope", "calibration_offset"}:
            changed = numpy_helper.to_array(constant) * np.float32(factor)
            constant.CopyFrom(numpy_helper.from_array(changed, constant.name))
    return pack_release(
        graph=loaded.SerializeToString(),
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=release.lineage,
        extra={},
        provenance={},
        blobs=project.blobs,
    )


def test_a_refused_challenger_leaves_production_as_it_is(project: Project) -> None:
    before = history(project)
    go_on_at(project, "gate", {"fit": {"release": turned_round(project)}})

    (done,) = run_out(project)

    assert done.outcome == "refused"
    assert "was refused at the gate: AUC 0." in done.sentence
    assert history(project) == before


def test_a_refusal_is_in_the_event_log_with_its_criteria(project: Project) -> None:
    challenger = turned_round(project)
    go_on_at(project, "gate", {"fit": {"release": challenger}})

    run_out(project)

    gate, closed = events(project, "gate", "cycle_refused")[-2:]
    assert (gate.payload["release"], gate.payload["passed"]) == (challenger, False)
    assert {c["name"] for c in gate.payload["criteria"] if not c["passed"]} >= {"skill", "anchor"}
    assert closed.kind == "cycle_refused"


def test_production_that_moved_since_the_verdict_is_not_moved_again(project: Project) -> None:
    asked = {"name": "skill", "passed": True, "sentence": "-", "figures": {}}
    verdict: Json = {"passed": True, "criteria": [asked], "epoch": 0}
    go_on_at(project, "promote", {"fit": {"release": turned_round(project)}, "gate": verdict})

    with pytest.raises(PromotionConflict, match="production has moved to epoch 1 meanwhile"):
        run_out(project)

    assert len(history(project)) == 1
    assert cycles(project)[-1].outcome == "failed"


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_cycle_that_is_open_is_gone_on_with_instead_of_a_second_one(project: Project) -> None:
    for reason in ("first", "second"):
        begin_by_hand(project, reason=reason)

    assert [cycle.reason for cycle in cycles(project)][1:] == ["first"]


def test_labels_that_no_loop_has_seen_are_in_a_training_by_hand(project: Project, cohort: Cohort) -> None:
    send(project, aged(cohort, 50), n_labelled=40)
    begin_by_hand(project, reason="the labels are there")

    step_once(project)

    left = cycles(project)[-1].record["snapshot"]
    assert left["labels_seen"] == 40
    assert sum(left["rows"].values()) == 768 + 40


def test_a_step_that_fails_ends_its_cycle_with_the_reason(project: Project) -> None:
    settings = project.folder / "homeostat.toml"
    settings.write_text(settings.read_text().replace("pima-indians-diabetes.csv", "moved.csv"))
    with open_project(project.folder) as edited:
        begin_by_hand(edited, reason="a file that is gone")

        with pytest.raises(SourceUnreadable):
            run_out(edited)

    assert cycles(project)[-1].outcome == "failed"
    assert "moved.csv" in events(project, "cycle_failed")[-1].payload["sentence"]


def test_after_a_failed_cycle_the_loop_goes_on_watching(project: Project) -> None:
    go_on_at(project, "gate", {"fit": {"release": "f" * 64}})
    with pytest.raises(ReleaseMissing):
        run_out(project)

    (done,) = run_out(project)

    assert done.idle


def test_whatever_else_a_step_meets_ends_its_cycle_too(project: Project) -> None:
    go_on_at(project, "gate", {"fit": {}})

    with pytest.raises(TrainingFailed, match="step gate met KeyError: 'release'"):
        run_out(project)

    assert cycles(project)[-1].outcome == "failed"


def test_a_training_by_hand_is_not_held_up_by_a_few_recent_labels(project: Project, cohort: Cohort) -> None:
    (done,) = cycles(project)
    send(project, aged(cohort, 50), n_labelled=50)
    go_on_at(project, "gate", {name: done.record[name] for name in ORDER[:4]}, trigger=HAND)

    step_once(project)

    gate = cycles(project)[-1].record["gate"]
    assert gate["passed"]
    assert {"recent rows", "recent"}.isdisjoint(criterion["name"] for criterion in gate["criteria"])


# --- one loop at a time -------------------------------------------------------------------------------------------


@pytest.fixture
def other_loop(trained_project: Path) -> Iterator[subprocess.Popen[str]]:
    """Another loop of the same project, at work: a real process."""
    command = [str(HOMEOSTAT), "loop", "--project", str(trained_project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Nothing to do" in process.stdout.readline()
        yield process
        process.kill()


def test_a_second_loop_is_told_who_acts(project: Project, other_loop: subprocess.Popen[str]) -> None:
    with pytest.raises(LeaseHeld) as refused:
        step_once(project)

    assert f":{other_loop.pid} until " in refused.value.problem
    assert refused.value.expected == "one loop at a time"


def test_a_training_by_hand_is_left_to_the_loop_that_acts(project: Project, other_loop: subprocess.Popen[str]) -> None:
    assert begin_by_hand(project, reason="while another loop acts")

    assert other_loop.stdout is not None
    assert "Snapshot " in other_loop.stdout.readline()


def test_a_loop_that_was_killed_leaves_the_way_free_at_once(
    project: Project, other_loop: subprocess.Popen[str]
) -> None:
    other_loop.send_signal(signal.SIGKILL)
    other_loop.wait()

    assert step_once(project).idle


def test_a_loop_that_ends_gives_its_lease_back(project: Project) -> None:
    run_out(project)

    with project.database.read() as connection:
        assert find_lease(connection) is None


def test_a_loop_that_loses_its_lease_leaves_the_cycle_open_for_the_other(project: Project) -> None:
    go_on_at(project, "gate", {"fit": {"release": turned_round(project)}})
    cycle = cycles(project)[-1]

    with lease_lost(project.database) as lease, pytest.raises(LeaseHeld):
        run_step(Turn(project, lease, cycle, datetime.now(UTC)))

    assert cycles(project)[-1].step == "gate"


# --- a step that was killed after its effect, before its record -----------------------------------------------------


def test_steps_whose_effects_are_there_already_have_no_second_effect(project: Project) -> None:
    (done,) = cycles(project)
    go_on_at(project, "track", {name: done.record[name] for name in ("snapshot", "search", "fit")}, trigger=HAND)

    said = run_out(project)

    with project.database.read() as connection:
        assert len(list_releases(connection)) == 1
    again = cycles(project)[-1].record
    assert said[-1].outcome == "promoted"
    assert (again["track"], again["mirror"]) == (done.record["track"], done.record["mirror"])
    assert len(history(project)) == 1


def test_an_experiment_manager_that_fails_does_not_stand_between_a_release_and_production(project: Project) -> None:
    (project.folder / ".homeostat" / "tracking.db").write_bytes(b"no database")
    challenger, (done,) = ranking_alike(project), cycles(project)
    go_on_at(project, "track", {**done.record, "fit": {**done.record["fit"], "release": challenger}}, trigger=HAND)

    said = run_out(project)

    assert said[-1].outcome == "promoted"
    assert history(project)[-1] == challenger
    assert [event.payload["part"] for event in events(project, "tracking_failed")] == ["track", "mirror"]
