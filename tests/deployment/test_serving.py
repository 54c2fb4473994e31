"""Which release answers: the promoted one if it passes every check, else the one before, in any case one that did."""

import json
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from homeostat.deployment.artifacts import GOLDEN, GRAPH, METRICS, SCHEMA, find_release, to_json_bytes
from homeostat.deployment.serving import Follower, LiveRelease, Refusal
from homeostat.project import Project
from homeostat.store.events import read_events

Publish = Callable[[Mapping[str, bytes]], str]
Put = Callable[[str], int]


@pytest.fixture
def swapped() -> list[LiveRelease]:
    return []


@pytest.fixture
def refused() -> list[Refusal]:
    return []


@pytest.fixture
def follower(project: Project, swapped: list[LiveRelease], refused: list[Refusal]) -> Iterator[Follower]:
    """Follows when it is told to: no thread polls between two lines of a test."""
    follower = Follower(project.database, project.blobs, on_swap=swapped.append, on_refusal=refused.append)
    follower.poll()
    swapped.clear()
    yield follower
    follower.stop()


def live_digest(follower: Follower) -> str | None:
    return follower.live.digest if follower.live else None


def count_refused_events(project: Project) -> int:
    with project.database.read() as connection:
        return len(list(read_events(connection, kind="release_refused")))


def changed_golden(project: Project, digest: str, *, by: float) -> bytes:
    golden = json.loads((find_release(digest, project.blobs) / GOLDEN).read_bytes())
    golden["expected"][7] += by
    return to_json_bytes(golden)


def test_the_release_in_production_answers_from_the_start(project: Project, follower: Follower) -> None:
    assert follower.live is not None

    row = {f.name: np.array([50.0]) for f in project.schema.features}
    assert 0 < follower.live.graph.score(row)[0] < 1


def test_a_promoted_release_replaces_the_one_that_answers(
    follower: Follower, swapped: list[LiveRelease], publish_changed: Publish, put_in_production: Put
) -> None:
    digest = publish_changed({METRICS: b"{}"})
    put_in_production(digest)

    follower.poll()

    assert live_digest(follower) == digest
    assert [live.digest for live in swapped] == [digest]


def test_without_a_promotion_nothing_is_loaded_again(follower: Follower, swapped: list[LiveRelease]) -> None:
    before = follower.live

    follower.poll()

    assert follower.live is before
    assert swapped == []


def test_the_same_release_promoted_again_is_not_loaded_again(
    follower: Follower, swapped: list[LiveRelease], put_in_production: Put
) -> None:
    before = follower.live
    assert before is not None

    epoch = put_in_production(before.digest)
    follower.poll()

    assert follower.live is not None
    assert (follower.live.promotion.epoch, follower.live.graph) == (epoch, before.graph)
    assert swapped == []


def test_a_release_with_one_changed_byte_is_refused_and_the_old_one_goes_on(
    project: Project, follower: Follower, refused: list[Refusal], publish_changed: Publish, put_in_production: Put
) -> None:
    before, digest = live_digest(follower), publish_changed({METRICS: b"{}"})
    (find_release(digest, project.blobs) / GRAPH).write_bytes(b"x")
    put_in_production(digest)

    follower.poll()

    assert live_digest(follower) == before
    assert [(one.promotion.release, one.error.code) for one in refused] == [(digest, "artifact-corrupt")]


def test_a_release_that_answers_otherwise_than_recorded_is_refused_by_figures(
    project: Project, follower: Follower, refused: list[Refusal], publish_changed: Publish, put_in_production: Put
) -> None:
    before = live_digest(follower)
    assert before is not None
    put_in_production(publish_changed({GOLDEN: changed_golden(project, before, by=0.125)}))

    follower.poll()

    assert live_digest(follower) == before
    assert refused[0].error.code == "golden-mismatch"
    assert "answers 1 of" in refused[0].error.problem
    assert "0.12" in refused[0].error.problem


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({GRAPH: b"no graph"}, "artifact"),
        ({GRAPH: b""}, "artifact"),
        ({SCHEMA: b"{}"}, "artifact-corrupt"),
        ({GOLDEN: b'{"rows": [], "expected": 3}'}, "golden-mismatch"),
        ({GOLDEN: b'{"rows": [], "expected": []}'}, "golden-mismatch"),
        ({GOLDEN: b"[" * 100_000}, "artifact-corrupt"),
    ],
)
def test_a_release_of_the_right_digest_but_another_form_is_refused(
    *,
    changes: Mapping[str, bytes],
    code: str,
    follower: Follower,
    refused: list[Refusal],
    publish_changed: Publish,
    put_in_production: Put,
) -> None:
    before = live_digest(follower)
    put_in_production(publish_changed(changes))

    follower.poll()

    assert (live_digest(follower), refused[0].error.code) == (before, code)


def test_a_release_whose_folder_is_gone_is_refused(
    follower: Follower, refused: list[Refusal], put_in_production: Put
) -> None:
    before = live_digest(follower)
    put_in_production("f" * 64)

    follower.poll()

    assert (live_digest(follower), refused[0].error.code) == (before, "release-missing")


def test_a_refused_release_is_tried_and_recorded_once(
    project: Project, follower: Follower, refused: list[Refusal], put_in_production: Put
) -> None:
    put_in_production("f" * 64)

    for _ in range(5):
        follower.poll()

    assert (len(refused), count_refused_events(project)) == (1, 1)


def test_a_good_release_after_a_refused_one_answers(
    follower: Follower, publish_changed: Publish, put_in_production: Put
) -> None:
    digest = publish_changed({METRICS: b"{}"})
    put_in_production("f" * 64)
    follower.poll()

    put_in_production(digest)
    follower.poll()

    assert (live_digest(follower), follower.refusal) == (digest, None)


def test_with_a_bad_release_in_production_nothing_answers_until_the_next(
    project: Project, follower: Follower, publish_changed: Publish, put_in_production: Put
) -> None:
    digest = publish_changed({METRICS: b"{}"})
    shutil.rmtree(find_release(str(live_digest(follower)), project.blobs))
    fresh = Follower(project.database, project.blobs, on_swap=lambda _: None, on_refusal=lambda _: None)

    fresh.poll()
    assert fresh.live is None

    put_in_production(digest)
    fresh.poll()
    assert live_digest(fresh) == digest


def test_a_request_keeps_the_release_that_it_took(
    project: Project, follower: Follower, publish_changed: Publish, put_in_production: Put
) -> None:
    taken = follower.live
    assert taken is not None

    put_in_production(publish_changed({METRICS: b"{}"}))
    follower.poll()

    row = {f.name: np.array([50.0]) for f in project.schema.features}
    assert taken.graph.score(row).shape == (1,)


def test_a_replaced_release_is_freed_with_its_last_request(
    follower: Follower, publish_changed: Publish, put_in_production: Put
) -> None:
    assert follower.live is not None
    old = weakref.ref(follower.live.graph)
    put_in_production(publish_changed({METRICS: b"{}"}))

    follower.poll()

    assert old() is None


def test_a_following_thread_swaps_within_a_second_or_two(
    follower: Follower, publish_changed: Publish, put_in_production: Put
) -> None:
    digest = publish_changed({METRICS: b"{}"})
    follower.start()
    put_in_production(digest)

    deadline = time.monotonic() + 10
    while live_digest(follower) != digest and time.monotonic() < deadline:
        time.sleep(0.02)

    assert live_digest(follower) == digest


def test_a_database_that_is_away_leaves_the_release_answering(project: Project, follower: Follower) -> None:
    path = Path(str(project.database.engine.url.database))
    before = live_digest(follower)
    project.database.close()
    path.rename(path.with_suffix(".away"))
    path.mkdir()

    follower.follow_once()

    assert live_digest(follower) == before
    assert follower.trouble is not None
