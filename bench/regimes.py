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
    World("labels turned round", 1_000),
    World("labels turned round", 1_600, since=1_000),
    World("labels turned round", 5_600, since=5_000),
    World("labels turned round, one source sends 90 %", 2_000, since=1_000, slope=-1.0, shares=(0.9, 0.05, 0.05)),
)
