"""When outcomes follow another rule, the champion ends up fitting it; when somebody feigns that, it does not.

Several senders tell the outcomes, and nobody is there to approve anything.
"""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.project import read_settings, schema_of
from homeostat.records import Floats
from homeostat.simulation.backtest import OWN, Backtest, run_backtest
from homeostat.simulation.cohort import Labels, outcome_probability
from homeostat.simulation.history import Names, read_history
from homeostat.training.evaluation import auc
from tests.simulation.clinic_stream import BEGIN, TARGET, Clinic, Table, open_clinic, ordinary, told, write_clinic

N_ROWS, SINCE, LATE = 2_000, 400, 500
MARGIN = 0.05
CLINICS = ("north", "south", "west")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A clinic with one release in production."""
    return open_clinic(write_clinic(tmp_path_factory.mktemp("clinic") / "project"))


def spread(n_rows: int, *, seed: int = 5) -> list[str]:
    """Return who tells each outcome, at random."""
    return [CLINICS[place] for place in np.random.default_rng(seed).integers(len(CLINICS), size=n_rows)]


def turned(outcomes: Labels) -> Labels:
    return np.asarray(1 - outcomes, dtype=np.int8)


def lifted(clinic: Clinic, columns: Table) -> Labels:
    """Return outcomes of a disease whose odds are 4.5 times as high for everybody: 1.5 logits."""
    probability = outcome_probability(clinic.cohort, columns)
    odds = probability / (1 - probability) * np.exp(1.5)
    return np.asarray(np.random.default_rng(6).random(len(odds)) < odds / (1 + odds), dtype=np.int8)


def since(after: Labels, before: Labels) -> Labels:
    """Return outcomes that follow another rule from row `SINCE` on."""
    return np.where(np.arange(len(before)) < SINCE, before, after).astype(np.int8)


def live_with(
    clinic: Clinic, scratch: Path, columns: Table, outcomes: Labels, sources: list[str], **policy: object
) -> Backtest:
    """Replay patients, one each minute, whose outcomes are told by several senders."""
    n_rows = len(outcomes)
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "stream.parquet"
    moments = [BEGIN + timedelta(minutes=row) for row in range(n_rows)]
    heads = {"row_id": np.arange(n_rows), "event_time": moments, "source": sources, TARGET: outcomes}
    pl.DataFrame({**heads, **columns}).write_parquet(path)
    history = read_history(path, None, schema_of(read_settings(clinic.folder)), Names(source="source"))
    found = run_backtest(
        clinic.folder,
        history,
        {"this": {"retraining": policy}} if policy else {},
        scratch / "projects",
        approvals="refuse",
        tell=lambda *_: None,
        progress=lambda _: None,
    )
    return found["this" if policy else OWN]


def late(found: Backtest, outcomes: Labels) -> tuple[Labels, Floats, Floats]:
    """Return the last outcomes, what was answered there, and what the first release would have answered."""
    return outcomes[-LATE:], found.replayed.answered[-LATE:], found.replayed.without[-LATE:]


def test_after_outcomes_turned_round_the_champion_fits_the_new_world(clinic: Clinic, tmp_path: Path) -> None:
    columns, before = ordinary(clinic, N_ROWS)
    outcomes = since(turned(before), before)

    found = live_with(clinic, tmp_path, columns, outcomes, spread(N_ROWS))

    decided = told(found, "retrain_decided")[0]
    known, answered, without = late(found, outcomes)
    assert decided["trigger"] == "concept"
    assert "3 sources, none of them alone" in decided["reason"]
    assert auc(known, without) < 0.5
    assert auc(known, answered) > 0.7


def test_after_the_base_rate_rose_the_champion_fits_the_new_world(clinic: Clinic, tmp_path: Path) -> None:
    columns, before = ordinary(clinic, N_ROWS)
    outcomes = since(lifted(clinic, columns), before)

    found = live_with(clinic, tmp_path, columns, outcomes, spread(N_ROWS))

    known, answered, without = late(found, outcomes)
    assert [line["trigger"] for line in told(found, "retrain_decided")][:1] == ["concept"]
    assert abs(answered.mean() - known.mean()) < 0.08 < known.mean() - without.mean()
    assert np.square(answered - known).mean() < np.square(without - known).mean()


def test_one_sender_who_turns_outcomes_round_never_gets_a_champion_that_fits_them(
    clinic: Clinic, tmp_path: Path
) -> None:
    columns, honest = ordinary(clinic, N_ROWS)
    rng = np.random.default_rng(7)
    liar = rng.random(N_ROWS) < 0.2
    sources = [name if not lies else "liar" for name, lies in zip(spread(N_ROWS), liar, strict=True)]
    outcomes = np.where(liar, turned(honest), honest).astype(np.int8)

    # It is trained again and again, whether there is a reason or not.
    found = live_with(clinic, tmp_path, columns, outcomes, sources, new_labels=400, bake_rows=0)

    known, answered, without = late(found, honest)
    assert len(told(found, "retrain_decided")) > 1
    assert auc(known, answered) > auc(known, without) - MARGIN
    assert {line["subject"] for line in told(found, "alert") if line["kind"] == "source"} == {"liar"}
