"""A baseline holds as many rows as a drift can be told against, and no more."""

import numpy as np
import pytest

from homeostat.data.columns import texts
from homeostat.records import Columns
from homeostat.retraining.baselines import FEWEST_ROWS, MOST_CELLS, thin_baseline


def baseline(n_rows: int, *, n_columns: int = 20) -> Columns:
    columns: dict[str, np.ndarray] = {
        f"x{place}": np.arange(n_rows, dtype=np.float64) for place in range(n_columns - 1)
    }
    return {**columns, "city": texts([str(row) for row in range(n_rows)])}


def test_a_baseline_that_is_not_very_large_stays_as_it_is() -> None:
    whole = baseline(50_000)

    assert thin_baseline(whole, run=1, seed=0) is whole


@pytest.mark.parametrize(("n_columns", "n_rows"), [(20, MOST_CELLS // 20), (150, FEWEST_ROWS)])
def test_a_very_large_one_keeps_whole_rows_in_their_order(n_columns: int, n_rows: int) -> None:
    found = thin_baseline(baseline(60_000, n_columns=n_columns), run=1, seed=0)

    rows = found["x0"]
    assert len(rows) == n_rows
    assert (np.diff(rows) > 0).all()
    assert found["city"].tolist() == [str(int(row)) for row in rows]
    # Four standard errors of the mean of as many of 60,000 rows.
    assert abs(rows.mean() - 30_000) < 4 * 60_000 / np.sqrt(12 * n_rows)


def test_where_windows_of_it_are_looked_at_it_keeps_whole_windows() -> None:
    rows = thin_baseline(baseline(60_000), run=200, seed=0)["x0"].reshape(-1, 200)

    assert rows.shape == (250, 200)
    assert (rows[:, 0] % 200 == 0).all()
    assert (rows - rows[:, :1] == np.arange(200)).all()


def test_the_same_rows_are_kept_each_time() -> None:
    whole = baseline(60_000)

    first, second = (thin_baseline(whole, run=1, seed=0)["x0"] for _ in range(2))

    np.testing.assert_array_equal(first, second)
