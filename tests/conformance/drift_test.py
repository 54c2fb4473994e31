"""What every `DriftTest` promises. A new test passes by subclassing `DriftTestConformance` with its class variable.

Not here: what it is sensitive to.
"""

import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.monitoring.significance import DriftTest
from homeostat.records import Counts


def two_samples(cells: list[tuple[int, int]]) -> tuple[Counts, Counts]:
    counts = np.array(cells, dtype=np.int64)
    return counts[:, 0], counts[:, 1]


class DriftTestConformance:
    """Subclass it, name the class Test..., and set `drift_test`."""

    drift_test: ClassVar[DriftTest]
    # The suite runs on each subclass on purpose.
    shared: ClassVar[settings] = settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    pairs: ClassVar[st.SearchStrategy[list[tuple[int, int]]]] = st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=12
    ).filter(lambda cells: all(map(any, zip(*cells, strict=True))))

    @shared
    @given(cells=pairs)
    def test_statistic_and_p_value_stay_within_their_bounds(self, cells: list[tuple[int, int]]) -> None:
        found = self.drift_test.compare(*two_samples(cells))

        assert 0 <= found.p_value <= 1
        assert 0 <= found.effect <= 1
        assert 0 <= found.statistic < math.inf

    @shared
    @given(cells=pairs)
    def test_a_sample_never_differs_from_itself(self, cells: list[tuple[int, int]]) -> None:
        sample, _ = two_samples(cells)

        assert self.drift_test.compare(sample, sample).statistic == 0
        assert self.drift_test.compare(sample, sample).effect == 0
        assert self.drift_test.compare(sample, sample).p_value == 1

    @shared
    @given(cells=pairs)
    def test_the_two_samples_may_change_places(self, cells: list[tuple[int, int]]) -> None:
        a, b = two_samples(cells)

        forth, back = self.drift_test.compare(a, b), self.drift_test.compare(b, a)

        assert forth.statistic == pytest.approx(back.statistic, rel=1e-12)
        assert forth.effect == pytest.approx(back.effect, rel=1e-12)
        assert forth.p_value == pytest.approx(back.p_value, rel=1e-12)

    @shared
    @given(cells=pairs, data=st.data())
    def test_a_cell_without_rows_changes_nothing(self, cells: list[tuple[int, int]], data: st.DataObject) -> None:
        # Between the first cell and the last, which count what is missing and, of categories, what is unseen.
        where = data.draw(st.integers(1, len(cells) - 1))
        with_gap = [*cells[:where], (0, 0), *cells[where:]]

        assert self.drift_test.compare(*two_samples(with_gap)) == self.drift_test.compare(*two_samples(cells))

    @shared
    @given(cells=pairs)
    def test_comparing_changes_no_counts(self, cells: list[tuple[int, int]]) -> None:
        a, b = two_samples(cells)

        self.drift_test.compare(a, b)

        assert list(zip(a.tolist(), b.tolist(), strict=True)) == cells

    @pytest.mark.parametrize("n_rows", [40, 4_000])
    def test_a_population_that_has_moved_altogether_is_seen(self, n_rows: int) -> None:
        found = self.drift_test.compare(*two_samples([(0, 0), (n_rows, 0), (0, n_rows), (0, 0)]))

        assert found.p_value < 1e-6
        assert found.effect == 1

    def test_it_says_its_name_and_its_method(self) -> None:
        assert self.drift_test.name
        assert self.drift_test.compare(*two_samples([(1, 2), (3, 4)])).method
