"""Reading a recorded history: what a stream and a table of labels say, and what is refused in three parts."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from homeostat.errors import ColumnMissing, HomeostatError, SourceUnreadable, TargetInvalid
from homeostat.records import Feature, Schema, Target
from homeostat.simulation.history import NEVER, NO_LABEL, History, Names, as_datetime, read_history

SCHEMA = Schema((Feature("age", "numeric"),), Target("sick", 0, 1), "0" * 64)
STREAM = "row_id,event_time,age\n7,1996-05-07T00:00:00Z,50\n8,1996-05-07T02:00:00+02:00,60\n9,1996-05-06 23:00,70\n"
NAMES = Names()
LABELS = "row_id,sick,available_at,by\n9,1,1996-05-08,lab\n7,0,,\n"


def read(folder: Path, stream: str, labels: str | None = None, names: Names = NAMES, delay_s: float = 0) -> History:
    (folder / "stream.csv").write_text(stream)
    if labels is not None:
        (folder / "labels.csv").write_text(labels)
    about = None if labels is None else folder / "labels.csv"
    return read_history(folder / "stream.csv", about, SCHEMA, names, delay_s=delay_s)


def moments(history: History) -> list[datetime]:
    return [as_datetime(moment) for moment in history.times.tolist()]


def test_moments_are_utc_unless_they_say_otherwise_and_may_step_back(tmp_path: Path) -> None:
    history = read(tmp_path, STREAM)

    midnight = datetime(1996, 5, 7, tzinfo=UTC)
    assert moments(history) == [midnight, midnight, datetime(1996, 5, 6, 23, tzinfo=UTC)]
    assert [as_datetime(moment) for moment in history.clock.tolist()] == [midnight] * 3


def test_labels_find_their_rows_and_one_without_a_moment_is_never_known(tmp_path: Path) -> None:
    history = read(tmp_path, STREAM, LABELS, Names(source="by"))

    assert history.ids == [7, 8, 9]
    assert history.labels.tolist() == [0, NO_LABEL, 1]
    assert history.available.tolist()[0] == NEVER
    assert as_datetime(history.available.tolist()[2]) == datetime(1996, 5, 8, tzinfo=UTC)
    assert history.sources == ["replay", "replay", "lab"]


def test_numbers_are_seconds_since_1970(tmp_path: Path) -> None:
    history = read(tmp_path, "row_id,when,age\na,0,50\nb,1.5,60\n", names=Names(time="when"))

    assert history.ids == ["a", "b"]
    assert history.times.tolist() == [0, 1_500_000]


def test_a_stream_without_ids_and_moments_counts_rows_and_minutes(tmp_path: Path) -> None:
    history = read(tmp_path, "age,sick\n50,1\n60,0\n", delay_s=30)

    assert history.ids == [1, 2]
    assert (history.times[1] - history.times[0]).item() == 60_000_000
    assert (history.available - history.times).tolist() == [30_000_000] * 2


def test_parquet_keeps_its_own_types(tmp_path: Path) -> None:
    when = datetime(1996, 5, 7, tzinfo=UTC)
    frame = pl.DataFrame({"row_id": ["a" * 50], "event_time": [when], "age": [50.0], "sick": [1]})
    frame.write_parquet(tmp_path / "stream.parquet")

    history = read_history(tmp_path / "stream.parquet", None, SCHEMA, Names())

    assert moments(history) == [when]
    assert history.ids == ["a" * 50]
    assert len(history.keys[0]) <= 40


@pytest.mark.parametrize(
    ("files", "names", "error", "words"),
    [
        ((STREAM, None), Names(id="patient"), ColumnMissing, "no column 'patient'"),
        ((STREAM, None), Names(time="when"), ColumnMissing, "no column 'when'"),
        ((STREAM, LABELS), Names(available_at="known"), ColumnMissing, "no column 'known'"),
        ((STREAM, "row_id,outcome\n7,1\n"), Names(), ColumnMissing, "no column 'sick'"),
        (("row_id,event_time\n7,0\n", None), Names(), ColumnMissing, "no column 'age'"),
        ((STREAM + "7,1996-05-07,1\n", None), Names(), SourceUnreadable, "row 4 has the id '7' a second time"),
        ((STREAM + ",1996-05-07,1\n", None), Names(), SourceUnreadable, "row 4 has no id"),
        ((STREAM + "5,yesterday,1\n", None), Names(), SourceUnreadable, "row 4 has event_time = 'yesterday'"),
        ((STREAM + "5,,1\n", None), Names(), SourceUnreadable, "row 4 has event_time = None"),
        ((STREAM + "5,1700000000000,1\n", None), Names(), SourceUnreadable, "row 4 has event_time = 1700000000000"),
        ((STREAM, LABELS + "1,1,,\n"), Names(), SourceUnreadable, "1 labels are for ids that the stream does not have"),
        ((STREAM, LABELS + "7,1,,\n"), Names(), SourceUnreadable, "row 3 has the id '7' a second time"),
        ((STREAM, LABELS + "8,perhaps,,\n"), Names(), TargetInvalid, "row 3 has sick = 'perhaps'"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, files: tuple[str, str | None], names: Names, error: type[HomeostatError], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(tmp_path, *files, names)
