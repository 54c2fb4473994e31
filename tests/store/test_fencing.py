"""However two controllers take turns, sleep, and read clocks that disagree: nobody writes after another has taken over.

The controllers are of other machines, so that nobody can see whether they live; their clocks are virtual and wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from homeostat.errors import LeaseHeld
from homeostat.store.database import Database
from homeostat.store.leases import Lease, give_lease_back, require_lease, take_lease
from tests.conftest import Count, Tell

NOW = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # Europe's clocks jump two moments later: ours are UTC
SKEWS = (timedelta(0), timedelta(seconds=2), timedelta(seconds=-90), timedelta(hours=1), timedelta(days=-1))
STEPS = 10


@dataclass
class Controller:
    """A loop of another machine: what it believes it holds, and how wrong its clock is."""

    holder: str
    skew: timedelta
    lease: Lease | None = None


@dataclass
class World:
    """Two controllers, one lease, and every write that was let through: the fence, and whose it was."""

    database: Database
    name: str
    random: Random
    now: datetime = NOW
    writes: list[tuple[int, str]] = field(default_factory=list)
    taken: list[tuple[int, str]] = field(default_factory=list)
    n_refused: int = 0

    def take(self, who: Controller) -> None:
        try:
            who.lease = take_lease(self.database, name=self.name, now=self.now + who.skew, holder=who.holder)
        except LeaseHeld:
            return
        self.taken.append((who.lease.fence, who.holder))

    def write(self, who: Controller) -> None:
        """Write under a lease that may be lost: whatever is written is written where the fence is checked."""
        if who.lease is None:
            return
        try:
            with self.database.write("write") as connection:
                require_lease(connection, who.lease)
        except LeaseHeld:
            self.n_refused += 1
            assert self.taken[-1][0] > who.lease.fence
        else:
            self.writes.append((who.lease.fence, who.holder))

    def give_back(self, who: Controller) -> None:
        if who.lease is not None:
            give_lease_back(self.database, who.lease)

    def sleep(self, _: Controller) -> None:
        self.now += timedelta(seconds=self.random.choice([1, 30, 59, 61, 600]))

    def jump(self, who: Controller) -> None:
        who.skew = self.random.choice(SKEWS)


def play(world: World) -> None:
    """Let two controllers do something at random, one after the other."""
    both = [Controller(f"machine-{name}:1", world.random.choice(SKEWS)) for name in "ab"]
    acts = (world.take, world.take, world.write, world.write, world.sleep, world.give_back, world.jump)
    for _ in range(STEPS):
        world.random.choice(acts)(world.random.choice(both))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, count: Count) -> Iterator[list[World]]:
    """Every interleaving, each with a lease of its own in one database."""
    path: Path = tmp_path_factory.mktemp("fencing") / "homeostat.db"
    with Database(f"sqlite:///{path}", durability="relaxed") as database:
        random = Random(0)  # noqa: S311  repeatable, and no secret
        played = [World(database, f"lease {n}", random) for n in range(count(short=1000, soak=10_000))]
        for world in played:
            play(world)
        yield played


def test_no_fence_is_ever_held_by_two(worlds: list[World]) -> None:
    for world in worlds:
        assert len(dict(world.taken)) == len(set(world.taken))


def test_nothing_is_written_under_a_fence_after_something_under_a_later_one(worlds: list[World]) -> None:
    for world in worlds:
        fences = [fence for fence, _ in world.writes]
        assert fences == sorted(fences)
        assert set(world.writes) <= set(world.taken)


def test_a_holder_that_renews_in_time_writes_whatever_the_other_ones_clock_says(worlds: list[World]) -> None:
    database, now = worlds[0].database, NOW
    for number, skew in enumerate(SKEWS[:2]):
        lease = take_lease(database, name=f"steady {number}", now=now, holder="machine-a:1")
        for second in range(0, 600, 20):
            moment = now + timedelta(seconds=second)
            assert take_lease(database, name=lease.name, now=moment, holder=lease.holder) == lease
            with pytest.raises(LeaseHeld):
                take_lease(database, name=lease.name, now=moment + skew, holder="machine-b:1")


def test_both_write_and_both_are_refused_often(worlds: list[World], tell: Tell) -> None:
    n_writes, n_refused = sum(len(world.writes) for world in worlds), sum(world.n_refused for world in worlds)
    tell(f"interleavings of two controllers: {len(worlds)}, {n_writes} writes, {n_refused} refused, 0 out of turn")

    assert n_writes > len(worlds) / 2
    assert n_refused > len(worlds) / 50
