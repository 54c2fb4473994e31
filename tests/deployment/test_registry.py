"""Production is what the last line of an append-only log says, and exactly one writer can append the next."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.deployment.registry import (
    current_promotion,
    find_registered,
    gate_from_json,
    gate_to_json,
    list_promotions,
    list_releases,
    promote,
    register_release,
    require_production,
    resolve_release,
)
from homeostat.errors import HomeostatError, PromotionConflict, ReleaseMissing, StateError
from homeostat.records import Criterion, GateResult, Promotion
from homeostat.store.database import Database
from homeostat.store.events import find_break, read_events

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B, C = ("a" * 64, "ab" * 32, "c" * 64)
PASSED = GateResult((Criterion("skill", passed=True, sentence="AUC .8", figures={"value": 0.8}),))
REFUSED = GateResult((*PASSED.criteria, Criterion("anchor", passed=False, sentence="worse", figures={})))
verdicts = st.lists(st.booleans(), max_size=4).map(
    lambda passed: GateResult(tuple(Criterion(f"c{i}", one, "s", {}) for i, one in enumerate(passed)))
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        register(opened, A, B, C)
        yield opened


def register(database: Database, *digests: str) -> None:
    with database.write() as connection:
        for digest in digests:
            register_release(connection, digest, snapshot="s", family="f", metrics={"n": 1}, run_id="r", now=NOW)


def put(database: Database, release: str, *, at: int, gate: GateResult = PASSED, now: datetime = NOW) -> Promotion:
    return promote(database, release, gate=gate, expected_epoch=at, actor="test", reason="why", now=now)


def history(database: Database) -> list[str]:
    with database.read() as connection:
        return [promotion.release for promotion in list_promotions(connection)]


def count_events(database: Database, kind: str) -> int:
    with database.read() as connection:
        return len(list(read_events(connection, kind=kind)))


# --- releases -----------------------------------------------------------------------------------------------------


def test_releases_are_numbered_in_the_order_of_registration(database: Database) -> None:
    with database.read() as connection:
        found = [(one.number, one.digest) for one in list_releases(connection)]

    assert found == [(1, A), (2, B), (3, C)]


def test_registering_a_release_again_leaves_it_as_it_is(database: Database) -> None:
    with database.write() as connection:
        again = register_release(connection, A, snapshot="x", family="x", metrics={}, run_id=None, now=NOW)

    assert (again.number, again.snapshot, again.metrics, again.run_id) == (1, "s", {"n": 1}, "r")
    assert count_events(database, "release_registered") == 3


@pytest.mark.parametrize(("name", "digest"), [("1", A), ("3", C), (A, A), ("c", C), ("aba", B)])
def test_a_release_is_called_by_its_number_its_digest_or_the_beginning_of_it(
    database: Database, name: str, digest: str
) -> None:
    with database.read() as connection:
        assert resolve_release(connection, name).digest == digest


@pytest.mark.parametrize(("name", "found"), [("a", "2"), ("", "no"), ("4", "no"), ("f", "no"), (A + "a", "no")])
def test_a_name_of_no_release_or_of_several_is_refused_in_three_parts(
    database: Database, name: str, found: str
) -> None:
    with database.read() as connection, pytest.raises(ReleaseMissing) as refused:
        resolve_release(connection, name)

    assert refused.value.problem == f"{found} releases are called {name!r}"
    assert refused.value.expected
    assert refused.value.action


def test_an_unknown_digest_is_not_registered(database: Database) -> None:
    with database.read() as connection:
        assert find_registered(connection, "f" * 64) is None


# --- promotions ---------------------------------------------------------------------------------------------------


def test_nothing_is_in_production_before_the_first_promotion(database: Database) -> None:
    with database.read() as connection:
        assert current_promotion(connection) is None
        with pytest.raises(ReleaseMissing, match="run `homeostat train`"):
            require_production(connection)


def test_a_promotion_says_what_when_who_why_and_instead_of_what(database: Database) -> None:
    put(database, A, at=0)
    later = NOW + timedelta(hours=1)

    put(database, B, at=1, now=later)

    with database.read() as connection:
        assert require_production(connection) == Promotion(2, B, A, later, "test", "why")


def test_a_promotion_is_an_event_of_an_unbroken_log(database: Database) -> None:
    put(database, A, at=0)

    with database.read() as connection:
        (event,) = read_events(connection, kind="promoted")
        assert event.payload == {"release": A, "previous": None, "epoch": 1, "actor": "test", "reason": "why"}
        assert find_break(connection) is None


def test_a_release_may_come_back(database: Database) -> None:
    for epoch, release in enumerate([A, B, A]):
        put(database, release, at=epoch)

    assert history(database) == [A, B, A]


@pytest.mark.parametrize("epoch", [0, 2, -1])
def test_a_promotion_judged_against_another_epoch_is_refused(database: Database, epoch: int) -> None:
    put(database, A, at=0)

    with pytest.raises(PromotionConflict) as refused:
        put(database, B, at=epoch)

    assert refused.value.problem == "production has moved to epoch 1 meanwhile"
    assert history(database) == [A]


def test_a_release_that_is_not_registered_is_not_promoted(database: Database) -> None:
    with pytest.raises(ReleaseMissing):
        put(database, "f" * 64, at=0)

    assert history(database) == []


def test_a_refused_release_does_not_move_the_log_and_the_refusal_names_the_criterion(database: Database) -> None:
    put(database, A, at=0)

    with pytest.raises(StateError, match=r"the gate refused release abababababab \(anchor\)"):
        put(database, B, at=1, gate=REFUSED)

    assert history(database) == [A]
    assert count_events(database, "promoted") == 1


@settings(max_examples=12, deadline=None)
@given(st.lists(verdicts, max_size=6))
def test_only_a_verdict_without_any_refusal_moves_the_log(gates: Sequence[GateResult]) -> None:
    moves = 0
    with TemporaryDirectory() as folder, Database(f"sqlite:///{folder}/homeostat.db") as database:
        register(database, A)
        for gate in gates:
            try:
                put(database, A, at=moves, gate=gate)
            except StateError:
                assert not gate.passed
            else:
                moves += 1

        assert moves == len(history(database)) == sum(gate.passed for gate in gates)


@given(verdicts)
def test_a_verdict_comes_back_from_json(gate: GateResult) -> None:
    assert gate_from_json(gate_to_json(gate)) == gate


# --- who was live -------------------------------------------------------------------------------------------------


def live_at(promotions: Sequence[Promotion], moment: datetime) -> str | None:
    """Return who was in production at a moment: the last line decided until then."""
    decided = [promotion.release for promotion in promotions if promotion.decided_at <= moment]
    return decided[-1] if decided else None


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.sampled_from([A, B, C])), max_size=8))
def test_who_was_live_at_any_moment_is_what_a_model_says(moves: list[tuple[int, str]]) -> None:
    live: list[str | None] = []
    with TemporaryDirectory() as folder, Database(f"sqlite:///{folder}/homeostat.db") as database:
        register(database, A, B, C)
        for epoch, (pause, release) in enumerate(moves):
            live += [live[-1] if live else None] * (pause - 1) + [release]
            put(database, release, at=epoch, now=NOW + timedelta(hours=len(live) - 1))
        with database.read() as connection:
            log = list_promotions(connection)

    assert [live_at(log, NOW + timedelta(hours=hour)) for hour in range(len(live))] == live


# --- races --------------------------------------------------------------------------------------------------------


def test_of_many_threads_that_promote_at_once_exactly_one_wins(database: Database) -> None:
    start, outcomes = threading.Barrier(8), list[str]()

    def race() -> None:
        start.wait()
        try:
            put(database, B, at=0)
        except PromotionConflict as error:
            outcomes.append(error.code)
        else:
            outcomes.append("won")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["promotion-conflict"] * 7 + ["won"]
    assert history(database) == [B]


RACER = """
import sys
from datetime import UTC, datetime
from homeostat.deployment.registry import promote
from homeostat.errors import PromotionConflict
from homeostat.records import Criterion, GateResult
from homeostat.store.database import Database
passed = GateResult((Criterion("skill", passed=True, sentence="s", figures={}),))
url, release = sys.argv[1:]
with Database(url) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        promote(database, release, gate=passed, expected_epoch=0, actor="r", reason="r", now=datetime.now(UTC))
    except PromotionConflict:
        sys.exit(7)
"""


def test_of_several_processes_that_promote_at_once_exactly_one_wins(database: Database) -> None:
    command = [sys.executable, "-c", RACER, str(database.engine.url)]
    pipe = subprocess.PIPE
    racers = [subprocess.Popen([*command, release], stdin=pipe, stdout=pipe, text=True) for release in (A, B, C)]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.readline()

    for racer in racers:
        racer.communicate("go\n")

    assert sorted(racer.returncode for racer in racers) == [0, 7, 7]
    assert len(history(database)) == 1


def test_every_refusal_of_the_registry_has_three_parts(database: Database) -> None:
    put(database, A, at=0)

    for gate, epoch, release in ((PASSED, 0, A), (REFUSED, 1, A), (PASSED, 1, "f" * 64)):
        with pytest.raises(HomeostatError) as refused:
            put(database, release, at=epoch, gate=gate)
        assert refused.value.problem
        assert refused.value.expected
        assert refused.value.action
