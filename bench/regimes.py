"""How often a change of the rule, and a source that sends wrong outcomes, is told for what it is, and how soon.

Not here: the pass marks of the tests (`tests/monitoring/test_sources.py`). Lives of a calibrated release with 614
out-of-fold rows, 36 % positive, AUC .845, whose outcomes come from several sources at random.

Usage: python -m bench.regimes [--lives N]
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from homeostat.monitoring.concept import alarm_at, is_reached
from homeostat.monitoring.dating import Outcomes
from homeostat.monitoring.sources import Hearing, advance_hearing, begin_hearing, count_sources, find_carriers
from homeostat.records import Counts, Floats
from homeostat.training.evaluation import Labels

ALPHA, WINDOW = 0.05, 200
NAMES = np.array(list("abcdefgh"))


@dataclass(frozen=True, slots=True)
class World:
    """What happens in a life, from the row `since` on: the log-odds become `slope` x + `shift`, a source flips.

    `shares` is how the outcomes are divided among sources; `flips` the share of its outcomes that the first one flips.
    """

    name: str
    n_rows: int
    since: int = 0
    slope: float = 1.0
    shift: float = 0.0
    shares: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)
    flips: float = 0.0


WORLDS = (
    World("no change", 10_000),
    World("labels turned round", 1_000, slope=-1.0),
    World("labels turned round", 1_600, since=1_000, slope=-1.0),
    World("labels turned round", 5_600, since=5_000, slope=-1.0),
    World("labels turned round; one source sends 90 %", 2_000, since=1_000, slope=-1.0, shares=(0.9, 0.05, 0.05)),
    World("base rate +1.5 logits", 2_000, since=1_000, shift=1.5),
    World("base rate +1.5 logits", 6_000, since=5_000, shift=1.5),
    World("base rate -1.5 logits", 2_000, since=1_000, shift=-1.5),
    World("one of 3 sources flips 1 %", 6_000, flips=0.01),
    World("one of 3 sources flips 5 %", 6_000, flips=0.05),
    World("one of 3 sources flips 20 %", 8_000, flips=0.2),
    World("one of 3 sources flips 20 %", 9_000, since=1_000, flips=0.2),
    World("one of 3 sources flips all", 2_000, flips=1.0),
    World("one of 3 sources flips all", 3_000, since=1_000, flips=1.0),
    World("the source that sends 80 % flips all", 3_000, since=1_000, shares=(0.8, 0.1, 0.1), flips=1.0),
    World("one of 8 sources flips 20 %", 12_000, shares=(1 / 8,) * 8, flips=0.2),
)


@dataclass(frozen=True, slots=True)
class Life:
    """After how many rows since the change something was told, None if never; `error` in rows, `named` by source."""

    alarmed: int | None
    error: int | None
    confirmed: int | None
    named: dict[str, int]


def main() -> None:
    """Live and print the table."""
    parser = argparse.ArgumentParser(description="How often each kind of change is told for what it is.")
    parser.add_argument("--lives", type=int, default=100)
    lives = parser.parse_args().lives
    print(f"{lives} lives each; rows since the change (medians), error of the date in rows: 5, 50, 95 % of lives\n")
    print("| world | from row | alarmed | error of the date | confirmed | the bad source named | another one named |")
    print("|---|---|---|---|---|---|---|")
    for world in WORLDS:
        print(line_of(world, [live(world, seed) for seed in range(lives)]), flush=True)


def line_of(world: World, lives: Sequence[Life]) -> str:
    """Return a line of the table."""
    first = NAMES[0] if world.flips else None
    errors = [life.error for life in lives if life.error is not None]
    dated = ", ".join(f"{value:+.0f}" for value in np.percentile(errors, [5, 50, 95])) if errors else ""
    cells = [
        world.name,
        str(world.since + 1),
        share([life.alarmed for life in lives]),
        dated,
        share([life.confirmed for life in lives]),
        share([life.named.get(str(first)) for life in lives]) if first else "",
        share([min((at for name, at in life.named.items() if name != first), default=None) for life in lives]),
    ]
    return f"| {' | '.join(cells)} |"


def share(rows: Sequence[int | None]) -> str:
    """Return in how many lives it happened, and after how many rows in the middle one of them."""
    told = [row for row in rows if row is not None]
    return f"{len(told)}, {statistics.median(told):,.0f} rows" if told else "0"


def live(world: World, seed: int) -> Life:
    """Return what is told in one life."""
    alarmed = error = confirmed = None
    named: dict[str, int] = {}
    for n_seen, hearing in hear(world, np.random.default_rng(seed)):
        after = n_seen - world.since
        if is_reached(hearing.everyone.concept, alarm_at(ALPHA)) and hearing.everyone.run is not None:
            since = hearing.everyone.run.since
            alarmed, error = alarmed or after, (since - world.since - 1) if error is None else error
            is_confirmed = count_sources(hearing, since=since) > 1
            is_confirmed &= not find_carriers(hearing, alpha=ALPHA, risk_counts=True)
            confirmed = confirmed or (after if is_confirmed else None)
        named = {name: after for name, source in hearing.sources.items() if source.is_named} | named
    return Life(alarmed, error, confirmed, named)


def hear(world: World, rng: np.random.Generator) -> Iterator[tuple[int, Hearing]]:
    """Yield after each window how many rows there were, and what their outcomes say."""
    probabilities, labels, _ = draw(World("", 614, shares=(1.0,)), rng)
    hearing = begin_hearing(probabilities, labels)
    probabilities, labels, senders = draw(world, rng)
    for first in range(0, world.n_rows, WINDOW):
        places = np.arange(first, first + WINDOW)
        outcomes = Outcomes(probabilities[places], labels[places], places + 1, places)
        hearing = advance_hearing(hearing, outcomes, NAMES[senders[places]].tolist(), alpha=ALPHA)
        yield first + WINDOW, hearing


def draw(world: World, rng: np.random.Generator) -> tuple[Floats, Labels, Counts]:
    """Return what the release says of a life's rows, their outcomes as they are sent, and the sender of each."""
    log_odds = rng.normal(-0.9, 1.8, world.n_rows)
    has_changed = np.arange(world.n_rows) >= world.since
    truth = np.where(has_changed, world.slope * log_odds + world.shift, log_odds)
    positive = rng.random(world.n_rows) < 1 / (1 + np.exp(-truth))
    senders = rng.choice(len(world.shares), world.n_rows, p=world.shares)
    flipped = has_changed & (senders == 0) & (rng.random(world.n_rows) < world.flips)
    return 1 / (1 + np.exp(-log_odds)), (positive ^ flipped).astype(np.int8), senders


if __name__ == "__main__":
    main()
