"""A bad model never serves: each of ten saboteurs is refused at its check, and no refused verdict moves production."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.deployment.registry import list_promotions, promote, register_release, require_production
from homeostat.errors import StateError
from homeostat.loop import Advance, advance
from homeostat.project import Project, open_project
from homeostat.records import Criterion, GateResult, Promotion
from homeostat.retraining.cycles import HAND, open_cycle
from homeostat.store.events import Event, read_events
from tests.deployment.saboteurs import SABOTEURS, Workshop, open_workshop
from tests.retraining.clinic import put_in_production, write_project

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with one release in production: read it, never change it."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project")
    with open_project(folder) as project:
        put_in_production(project)
    return folder


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Iterator[Project]:
    with open_project(Path(shutil.copytree(template, tmp_path / "project"))) as project:
        yield project


@pytest.fixture
def workshop(clinic: Project) -> Workshop:
    return open_workshop(promotions(clinic)[-1].release, clinic.blobs)


def promotions(project: Project) -> list[Promotion]:
    with project.database.read() as connection:
        return list_promotions(connection)


def put_before_gate(project: Project, digest: str) -> Advance:
    """Register a release, and let the loop take one step: the gate."""
    with project.database.write() as connection:
        register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)
        record = {"fit": {"release": digest}}
        open_cycle(connection, trigger=HAND, reason="a test", step="gate", now=NOW, record=record)
    return advance(project, now=datetime.now(UTC))


def verdicts(project: Project) -> list[Event]:
    with project.database.read() as connection:
        return list(read_events(connection, kind="gate"))


def refusals(event: Event) -> list[str]:
    return [one["name"] for one in event.payload["criteria"] if not one["passed"]]


@pytest.mark.parametrize(("sabotage", "check"), SABOTEURS.items(), ids=lambda one: getattr(one, "__name__", one))
def test_a_saboteur_is_refused_at_its_check_and_production_stays(
    clinic: Project, workshop: Workshop, sabotage: Callable[[Workshop], str], check: str
) -> None:
    before, digest = promotions(clinic), sabotage(workshop)

    done = put_before_gate(clinic, digest)

    (told,) = verdicts(clinic)
    assert (done.outcome, told.payload["release"], refusals(told)[0]) == ("refused", digest, check)
    assert promotions(clinic) == before


def test_an_honest_imitation_passes_the_same_gate(clinic: Project, workshop: Workshop) -> None:
    done = put_before_gate(
        clinic, workshop.store_graph(workshop.release.graph, np.arange(len(workshop.release.golden.expected)) < 50)
    )

    assert done.outcome is None
    assert refusals(verdicts(clinic)[0]) == []


# --- no refused verdict moves production --------------------------------------------------------------------------

criteria = st.builds(Criterion, st.text(max_size=9), st.booleans(), st.text(max_size=9), st.just({}))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(criteria, max_size=6).filter(lambda drawn: not drawn or not all(one.passed for one in drawn)))
def test_no_verdict_with_a_failed_criterion_or_without_any_moves_the_pointer(
    clinic: Project, drawn: list[Criterion]
) -> None:
    with clinic.database.read() as connection:
        current = require_production(connection)

    with pytest.raises(StateError):
        promote(
            clinic.database,
            current.release,
            gate=GateResult(tuple(drawn)),
            expected_epoch=current.epoch,
            actor="fuzz",
            reason="fuzz",
            now=NOW,
        )

    assert promotions(clinic) == [current]
