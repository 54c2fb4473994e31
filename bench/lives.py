"""How the guarded trigger does over whole lives of a model, next to the book's rule: alarms, delays, seasons.

Usage: bench/lives.py [LIVES [LIVES_BY_THE_BOOK]], by default 200 and 20, about 10 minutes on 2 cores. Prints Markdown.
"""

import sys
from collections.abc import Iterator
from itertools import product
from multiprocessing import Pool
from statistics import median
from typing import TypeAlias

import numpy as np
from scipy import stats

from homeostat.simulation.lives import (
    CUT_BATCHES,
    SETTINGS,
    WORLDS,
    draw_life,
    draw_season,
    shift_rows,
    watch_by_the_book,
    watch_guarded,
)

LIFE_ROWS = 20_000
CLEAN_ROWS = 2_000
# Windows in which a shift may be found, and those watched after the retraining.
SEARCH_WINDOWS, QUIET_WINDOWS = 20, 20
SHIFTS = (0.1, 0.25, 0.5)
SHIFTED_FEATURES = (1, 3, 8)
# A task's life: the world or the season, and the seed.
Shift: TypeAlias = tuple[int, float]
Season: TypeAlias = tuple[int, int, float]


def fires_guarded(task: tuple[str, int]) -> bool:
    """Return whether the guarded trigger ever fires in a life without a change."""
    name, seed = task
    world = {**WORLDS, **CUT_BATCHES}[name]
    reference, stream = draw_life(world, np.random.default_rng(seed), n_rows=LIFE_ROWS)
    return next(watch_guarded(reference, stream, world.schema, seed=seed), None) is not None


def fires_by_the_book(task: tuple[str, int]) -> bool:
    """Return whether the book's rule ever fires in a life without a change."""
    name, seed = task
    world = {**WORLDS, **CUT_BATCHES}[name]
    reference, stream = draw_life(world, np.random.default_rng(seed), n_rows=LIFE_ROWS)
    return next(watch_by_the_book(reference, stream, world.schema), None) is not None


def delay_guarded(task: tuple[Shift, int]) -> tuple[int | None, int]:
    """Return after how many shifted rows the guarded trigger fires, and how often it did in 20 windows after that."""
    (n_features, by), seed = task
    n_rows = CLEAN_ROWS + (SEARCH_WINDOWS + QUIET_WINDOWS) * SETTINGS.window
    world = WORLDS["independent"]
    reference, stream = draw_life(world, np.random.default_rng(seed), n_rows=n_rows)
    stream = shift_rows(stream, n_features=n_features, by=by, after=CLEAN_ROWS)
    found = [r.n_rows for r in watch_guarded(reference, stream, world.schema, seed=seed)]
    if not found or found[0] > CLEAN_ROWS + SEARCH_WINDOWS * SETTINGS.window:
        return None, 0
    return found[0] - CLEAN_ROWS, sum(n <= found[0] + QUIET_WINDOWS * SETTINGS.window for n in found[1:])


def delay_by_the_book(task: tuple[Shift, int]) -> int | None:
    """Return after how many shifted rows the book's rule fires; what it did before the shift is left out."""
    (n_features, by), seed = task
    world = WORLDS["independent"]
    rng = np.random.default_rng(seed)
    reference, stream = draw_life(world, rng, n_rows=SEARCH_WINDOWS * SETTINGS.window)
    stream = shift_rows(stream, n_features=n_features, by=by, after=0)
    return next(watch_by_the_book(reference, stream, world.schema), None)


def retrain_in_season(task: tuple[Season, int]) -> int:
    """Return how often a season of five cycles retrains a model whose baseline spans it in full."""
    (window, period, height), seed = task
    rng = np.random.default_rng(seed)
    reference, stream = draw_season(rng, n_cycles=5, period=period, n_features=3, height=height)
    schema = WORLDS["independent"].schema
    return len(list(watch_guarded(reference, stream, schema, seed=seed, window=window)))


def share(count: int, total: int) -> str:
    """Return a count with its share and the exact 95 % interval of Clopper and Pearson."""
    interval = stats.binomtest(count, total).proportion_ci(method="exact")
    return f"{count} of {total} ({interval.low:.1%} to {interval.high:.1%})"


def tell_delays(delays: list[int | None]) -> str:
    """Return how many shifts were found, and after how many rows in the median."""
    found = [delay for delay in delays if delay is not None]
    return f"{len(found) / len(delays):.0%}, {median(found):g} rows" if found else "0 %"


def rows(n_lives: int, n_book: int) -> Iterator[str]:
    """Yield the report line by line."""
    with Pool(2) as pool:
        yield f"False retrainings in lives of {LIFE_ROWS:,} rows without a change, windows of {SETTINGS.window}\n"
        yield "| rows | guarded: lives with one | book: lives with one |\n|---|---|---|"
        for name in (*WORLDS, *CUT_BATCHES):
            # Where the promise ends, what counts is that it does.
            n_guarded = n_lives if name in WORLDS else max(n_lives // 4, 10)
            guarded = sum(pool.map(fires_guarded, [(name, seed) for seed in range(n_guarded)]))
            book = sum(pool.map(fires_by_the_book, [(name, seed) for seed in range(n_book)]))
            yield f"| {name} | {share(guarded, n_guarded)} | {share(book, n_book)} |"
        yield f"\nShifts after {CLEAN_ROWS:,} clean rows: share found within {SEARCH_WINDOWS} windows, median delay"
        yield "\n| shift | guarded | within 600 rows | book | retrained again in 20 windows |\n|---|---|---|---|---|"
        for n_features, by in product(SHIFTED_FEATURES, SHIFTS):
            found = pool.map(delay_guarded, [((n_features, by), seed) for seed in range(n_lives)])
            soon = sum(delay is not None and delay <= 600 for delay, _ in found)  # noqa: PLR2004  the promise
            again = sum(count > 0 for _, count in found)
            book_found = pool.map(delay_by_the_book, [((n_features, by), seed) for seed in range(n_book)])
            guarded_cell, book_cell = tell_delays([delay for delay, _ in found]), tell_delays(book_found)
            label = f"{by:g} sd in {n_features} of 8"
            yield f"| {label} | {guarded_cell} | {soon / n_lives:.0%} | {book_cell} | {share(again, n_lives)} |"
        yield "\nSeasons in 3 of 8 features, five cycles, baseline of one: retrainings, median and most\n"
        yield "| rows a cycle | rows a window | .25 sd up and down | .5 sd | 1 sd |\n|---|---|---|---|---|"
        n_seasons = max(n_lives // 10, 4)
        for window, period in ((200, 200), (200, 400), (200, 1_000), (200, 4_000), (2_000, 2_000), (2_000, 1_600)):
            cells = []
            for height in (0.25, 0.5, 1.0):
                counts = pool.map(retrain_in_season, [((window, period, height), s) for s in range(n_seasons)])
                cells.append(f"{median(counts):g}, {max(counts)}")
            yield f"| {period:,} | {window:,} | {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    n_lives = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    n_book = int(sys.argv[2]) if len(sys.argv) > 2 else 20  # noqa: PLR2004  the second argument
    for row in rows(n_lives, n_book):
        print(row, flush=True)


if __name__ == "__main__":
    main()
