"""Where a release stands, and what its owner says of it."""

from pathlib import Path

import pytest

from homeostat.web.release_facts import MOST_NOTE, NOTE, name_standing, read_note


@pytest.mark.parametrize(
    ("is_live", "was_live", "is_barred", "passed", "words"),
    [
        (True, True, False, True, "in production"),
        (False, True, True, True, "rolled back, barred"),
        (False, True, False, True, "was in production"),
        (False, False, False, None, "not judged yet"),
        (False, False, False, True, "passed the gate, not promoted"),
        (False, False, False, False, "refused by the gate"),
    ],
)
def test_a_release_stands_where_its_promotions_its_bar_and_its_verdict_put_it(
    *, is_live: bool, was_live: bool, is_barred: bool, passed: bool | None, words: str
) -> None:
    assert name_standing(is_live=is_live, was_live=was_live, is_barred=is_barred, passed=passed)[0] == words


@pytest.mark.parametrize(("content", "note"), [(b" Not for children. \n", "Not for children."), (b"  \n", None)])
def test_the_owners_note_is_its_text(tmp_path: Path, content: bytes, note: str | None) -> None:
    (tmp_path / NOTE).write_bytes(content)

    assert read_note(tmp_path) == note


def test_without_a_file_there_is_no_note_and_of_a_huge_one_the_beginning_is_read(tmp_path: Path) -> None:
    assert read_note(tmp_path) is None
    (tmp_path / NOTE).write_bytes(b"\xff" + b"a" * 10 * MOST_NOTE)

    note = read_note(tmp_path)

    assert note is not None
    assert note.startswith("\N{REPLACEMENT CHARACTER}aaa")
    assert len(note) == MOST_NOTE
