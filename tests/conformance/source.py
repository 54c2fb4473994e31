"""What every `Source` promises. A new source passes by subclassing `SourceConformance` with its two fixtures.

Not here: how a source stores the table.
"""

import json
from collections.abc import Mapping

import pytest

from homeostat.data.columns import unstack_rows
from homeostat.data.sources import Source, as_cells
from homeostat.errors import SourceUnreadable
from homeostat.records import Kind

# The table that the fixture `source` must hold: column to cells, None where nothing stands.
TABLE: Mapping[str, list[float | str | None]] = {
    "age": [50.0, None, 31.5],
    "city": ["Köln, Süd", None, 'the "old" town'],
    "outcome": ["1", "0", "1"],
}
KINDS: Mapping[str, Kind] = {"age": "numeric", "city": "categorical", "outcome": "categorical"}


class SourceConformance:
    """Subclass it, name the class Test..., and override the two fixtures."""

    @pytest.fixture
    def source(self) -> Source:
        """Return a source that holds `TABLE`; it may hold further columns."""
        raise NotImplementedError

    @pytest.fixture
    def empty_source(self) -> Source:
        """Return a source that can be reached and has no row."""
        raise NotImplementedError

    def test_it_hands_over_every_cell_as_it_stands(self, source: Source) -> None:
        cells = as_cells(source.read(), KINDS)

        assert unstack_rows(cells) == [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]

    def test_reading_again_gives_the_same_table(self, source: Source) -> None:
        assert source.read().equals(source.read())

    def test_no_row_at_all_is_unreadable_and_says_so_in_three_parts(self, empty_source: Source) -> None:
        with pytest.raises(SourceUnreadable) as refused:
            empty_source.read()

        assert refused.value.problem
        assert refused.value.expected
        assert refused.value.action

    def test_its_line_of_lineage_is_json_with_its_kind_and_name(self, source: Source) -> None:
        source.read()
        line = json.loads(json.dumps(source.describe(), allow_nan=False))

        assert line["kind"]
        assert line["name"] == source.name

    def test_its_name_does_not_change_when_it_is_read(self, source: Source) -> None:
        before = source.name
        source.read()

        assert source.name == before
