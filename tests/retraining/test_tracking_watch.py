"""Between cycles MLflow and the loop are kept in step: a moved alias is a request, what was missed is told later."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.deployment.registry import require_production
from homeostat.loop import tick
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.alias_requests import ALIAS, follow_alias, unknown_training
from homeostat.retraining.cycles import close_cycle, find_open_cycle, open_cycle
from homeostat.retraining.parts import PARTS
from homeostat.retraining.requests import Request, answer_request, list_pending
from homeostat.retraining.telling import list_untold
from homeostat.retraining.tracked import Tracked, open_tracked, point_alias, record_release
from homeostat.retraining.tracking_watch import Looked, keep_in_step, remember
from homeostat.store.events import Event, read_events
from homeostat.store.leases import take_lease
from homeostat.training.tracking import list_runs
from tests.retraining.clinic import NOW, put_in_production, register_another, write_project

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
UNKNOWN = unknown_training(NOW)
Move = Callable[[str | None], None]


class Clinic:
    """A clinic with release 1 in production and release 2 registered, both versions in MLflow of these numbers."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.tracked: Tracked = open_tracked(project)
        self.parts: list[str] = []

    def move_alias(self, version: str) -> None:
        self.tracked.client.set_registered_model_alias("clinic", ALIAS, version)

    def alias(self) -> str:
        return str(self.tracked.client.get_model_version_by_alias("clinic", ALIAS).version)

    def look(self) -> None:
        """Follow the alias, as the loop does but without a process for each part."""

        def run(part: str, request: Json) -> Json:
            self.parts.append(part)
            answer: Json = json.loads(json.dumps(PARTS[part](self.project, json.loads(json.dumps(request)))))
            return answer

        lease = take_lease(self.project.database, now=datetime.now(UTC))
        follow_alias(self.project, lease, run, now=datetime.now(UTC))

    def pending(self) -> list[Request]:
        with self.project.database.read() as connection:
            return list_pending(connection)

    def refuse(self) -> None:
        """Refuse what is asked, as the loop does."""
        with self.project.database.write() as connection:
            (request,) = list_pending(connection)
            answer_request(connection, request, outcome="refused", sentence="It was worse.", now=NOW)

    def events(self, kind: str) -> list[Event]:
        with self.project.database.read() as connection:
            return list(read_events(connection, kind=kind))

    def production(self) -> str:
        with self.project.database.read() as connection:
            return require_production(connection).release


@pytest.fixture(scope="module")
def mirrored_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("mirrored") / "project")
    with open_project(folder) as project:
        first = put_in_production(project).release
        point_alias(project, {"release": first, "attempt": UNKNOWN, "concluded": None})
        record_release(open_tracked(project), register_another(project, penalty=0.5), UNKNOWN)
    return folder


@pytest.fixture
def clinic(mirrored_template: Path, tmp_path: Path) -> Iterator[Clinic]:
    with open_project(Path(shutil.copytree(mirrored_template, tmp_path / "project"))) as project:
        yield Clinic(project)


def test_an_alias_where_we_have_put_it_asks_for_nothing(clinic: Clinic) -> None:
    clinic.look()

    assert (clinic.pending(), clinic.events("alias_moved")) == ([], [])


def test_a_moved_alias_asks_for_a_promotion_once(clinic: Clinic) -> None:
    clinic.move_alias("2")

    clinic.look()
    clinic.look()

    (request,) = clinic.pending()
    assert (request.kind, request.actor, request.release != clinic.production()) == ("promote", "mlflow", True)
    assert request.reason == "MLflow's alias production was moved to version 2"
    assert [event.payload["request"] for event in clinic.events("alias_moved")] == [request.id]


def test_what_was_refused_is_taken_back_and_told_why(clinic: Clinic) -> None:
    clinic.move_alias("2")
    clinic.look()
    clinic.refuse()

    clinic.look()

    (event,) = clinic.events("alias_restored")
    assert (clinic.alias(), clinic.pending()) == ("1", [])
    assert event.payload["sentence"].endswith("because: It was worse.")


def test_the_same_move_made_again_is_asked_again(clinic: Clinic) -> None:
    for _ in range(2):
        clinic.move_alias("2")
        clinic.look()
        clinic.refuse()
        clinic.look()

    assert (len(clinic.events("alias_moved")), len(clinic.events("alias_restored"))) == (2, 2)


def test_an_alias_that_was_put_back_before_a_kill_is_told_after_it(clinic: Clinic) -> None:
    clinic.move_alias("2")
    clinic.look()
    clinic.refuse()
    clinic.move_alias("1")  # as the child that was killed with its loop has left it

    clinic.look()
    clinic.look()

    assert len(clinic.events("alias_restored")) == 1


def test_a_deleted_alias_is_put_back(clinic: Clinic) -> None:
    clinic.tracked.client.delete_registered_model_alias("clinic", ALIAS)

    clinic.look()

    assert clinic.alias() == "1"
    assert clinic.events("alias_restored")[0].payload["sentence"].endswith("MLflow's alias production was deleted")
    assert clinic.pending() == []


def test_an_alias_on_a_version_that_is_not_ours_is_put_back(clinic: Clinic) -> None:
    client = clinic.tracked.client
    source = client.get_model_version("clinic", "1").source
    stranger = client.create_model_version("clinic", str(source), tags={"homeostat.release": "f" * 64})
    clinic.move_alias(str(stranger.version))

    clinic.look()

    assert (clinic.alias(), clinic.pending()) == ("1", [])
    assert "which is no release of this project" in clinic.events("alias_moved")[0].payload["sentence"]


def test_a_mirror_that_is_late_is_no_wish_of_anybody(clinic: Clinic) -> None:
    put_in_production(clinic.project, penalty=0.5)

    clinic.look()

    assert (clinic.alias(), clinic.pending(), clinic.events("alias_moved")) == ("2", [], [])


def test_a_mirror_that_was_killed_before_its_note_is_no_wish_either(clinic: Clinic) -> None:
    put_in_production(clinic.project, penalty=0.5)
    clinic.move_alias("2")  # by us, but killed before the tag that says so

    clinic.look()
    clinic.tracked.client.set_registered_model_alias("clinic", ALIAS, "1")
    clinic.look()

    assert [event.payload["version"] for event in clinic.events("alias_moved")] == ["1"]


# --- what is told later ---------------------------------------------------------------------------------------------


def end_cycle(clinic: Clinic, *, outcome: str, record: Json) -> Json:
    """Let a cycle have ended, tell MLflow what it does not know, and return the tags and the status of its run."""
    with clinic.project.database.write() as connection:
        open_cycle(connection, trigger="drift", reason="a test", step="gate", now=NOW, record=record)
        cycle = find_open_cycle(connection)
        assert cycle is not None
        close_cycle(connection, cycle, outcome=outcome, sentence=f"It was {outcome}.", now=NOW)
        untold = list_untold(connection, after=cycle.id - 1)
    for _ in range(2):  # killed before it was remembered, the second changes nothing
        PARTS["tell"](clinic.project, {"cycles": json.loads(json.dumps(untold))})
    runs = list_runs(clinic.tracked.client, "clinic")
    (run,) = [r for r in runs if "homeostat.outcome" in r.data.tags or r.data.tags["homeostat.cycle"] == str(cycle.id)]
    return {"status": run.info.status, **run.data.tags}


def test_a_refusal_is_told_on_the_run_of_the_release(clinic: Clinic) -> None:
    gate = {"passed": False, "criteria": [{"name": "anchor", "passed": False, "sentence": "AUC fell", "figures": {}}]}

    told = end_cycle(clinic, outcome="refused", record={"fit": {"release": clinic.production()}, "gate": gate})

    assert told["homeostat.release"] == clinic.production()
    assert (told["status"], told["homeostat.outcome"]) == ("FINISHED", "refused")
    assert told["homeostat.gate.anchor"] == "refused: AUC fell"


@pytest.mark.parametrize(("outcome", "status"), [("failed", "FAILED"), ("overtaken", "KILLED")])
def test_a_cycle_that_came_to_no_release_is_a_run_with_its_reason(clinic: Clinic, outcome: str, status: str) -> None:
    told = end_cycle(clinic, outcome=outcome, record={})

    assert (told["status"], told["mlflow.note.content"]) == (status, f"It was {outcome}.")


def test_an_attempt_that_mlflow_did_not_take_is_recorded_later(clinic: Clinic) -> None:
    digest = register_another(clinic.project, penalty=0.1)

    told = end_cycle(clinic, outcome="held", record={"fit": {"release": digest}, "track": {"problem": "it was away"}})

    assert (told["homeostat.release"], told["homeostat.outcome"]) == (digest, "held")


# --- in the loop ----------------------------------------------------------------------------------------------------


def test_an_embedded_store_that_nobody_has_touched_is_not_looked_into(clinic: Clinic) -> None:
    lease, now = take_lease(clinic.project.database, now=datetime.now(UTC)), datetime.now(UTC)
    keep_in_step(clinic.project, lease, now=now)
    keep_in_step(clinic.project, lease, now=now + timedelta(minutes=2))  # the first look, by a process
    shutil.rmtree(clinic.project.folder / ".homeostat" / "blobs")  # a further one would fail without it

    keep_in_step(clinic.project, lease, now=now + timedelta(minutes=4))

    assert clinic.events("tracking_failed") == []


def test_while_mlflow_is_away_a_move_that_was_refused_is_taken_back_no_sooner_than_anything_is_told(
    clinic: Clinic,
) -> None:
    clinic.move_alias("2")
    clinic.look()
    clinic.refuse()
    lease, now = take_lease(clinic.project.database, now=datetime.now(UTC)), datetime.now(UTC)
    remember(clinic.project, lease, Looked(0, now.isoformat(), problem="it did not answer"))

    keep_in_step(clinic.project, lease, now=now + timedelta(seconds=5))
    soon = clinic.alias()
    keep_in_step(clinic.project, lease, now=now + timedelta(minutes=2))

    assert (soon, clinic.alias()) == ("2", "1")


def test_the_loop_carries_a_moved_alias_through_the_gate(clinic: Clinic) -> None:
    lease = take_lease(clinic.project.database, now=datetime.now(UTC))
    remember(clinic.project, lease, Looked(0, (datetime.now(UTC) - timedelta(minutes=2)).isoformat()))
    clinic.move_alias("2")

    said = list(tick(clinic.project))

    (asked,) = clinic.events("requested")
    assert asked.payload["actor"] == "mlflow"
    assert clinic.events("gate")[-1].payload["release"] == asked.payload["release"]
    assert (said[-1].outcome, clinic.production(), clinic.alias()) == ("promoted", asked.payload["release"], "2")
