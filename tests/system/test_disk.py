"""The disk of the power-cut tests, call by call: what a sync covers, and what a cut may take."""

from pathlib import Path
from random import Random

import pytest

from tests.system.power_cut import MODES, Disk, Mode, keep_all, keep_first, keep_some_sectors, lose_all
from tests.system.strace import parse_lines

FOLDER = Path("/data")
BEFORE = {"a.db": b"old"}


def as_hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def pwrite(path: str, content: str, offset: int) -> str:
    return f'pwrite64(7<{as_hex(path)}>, "{as_hex(content)}", {len(content)}, {offset}'


def sync(path: str) -> str:
    return f"fdatasync(7<{as_hex(path)}>"


def create(path: str) -> str:
    return f'openat(AT_FDCWD<{as_hex("/")}>, "{as_hex(path)}", O_RDWR|O_CREAT|O_CLOEXEC, 0644'


def done(call: str, result: int = 0) -> list[str]:
    return [f"1 {call}) = {result}\n"]


def disk_after(*lines: str) -> Disk:
    disk = Disk(FOLDER, BEFORE)
    for moment in parse_lines(lines):
        disk.advance(moment)
    return disk


@pytest.mark.parametrize("mode", MODES)
def test_what_was_synced_survives_every_cut(mode: Mode, random: Random) -> None:
    disk = disk_after(*done(pwrite("/data/a.db", "new", 0), 3), *done(sync("/data/a.db")))

    assert disk.cut(mode, random) == {"a.db": b"new"}


def test_what_was_not_synced_may_be_lost_or_kept(random: Random) -> None:
    disk = disk_after(*done(pwrite("/data/a.db", "new", 0), 3))

    assert disk.cut(lose_all, random) == {"a.db": b"old"}
    assert disk.cut(keep_all, random) == {"a.db": b"new"}


def test_a_sync_that_fails_or_has_not_returned_covers_nothing(random: Random) -> None:
    for end in (done(sync("/data/a.db"), -1), [f"1 {sync('/data/a.db')} <unfinished ...>\n"]):
        disk = disk_after(*done(pwrite("/data/a.db", "new", 0), 3), *end)

        assert disk.cut(lose_all, random) == {"a.db": b"old"}


def test_a_sync_covers_no_write_that_was_under_way_when_it_began(random: Random) -> None:
    disk = disk_after(
        f"1 {pwrite('/data/a.db', 'new', 0)} <unfinished ...>\n",
        f"2 {sync('/data/a.db')} <unfinished ...>\n",
        "1 <... pwrite64 resumed>) = 3\n",
        "2 <... fdatasync resumed>) = 0\n",
    )

    assert disk.cut(lose_all, random) == {"a.db": b"old"}


def test_a_sync_covers_its_own_file_only(random: Random) -> None:
    disk = disk_after(*done(pwrite("/data/a.db", "new", 0), 3), *done(sync("/data/b.db")))

    assert disk.cut(lose_all, random) == {"a.db": b"old"}


def test_a_write_is_torn_into_sectors_kept_in_any_combination(random: Random) -> None:
    disk = disk_after(*done(pwrite("/data/a.db", "x" * 1024, 0), 1024))

    cuts = {disk.cut(keep_some_sectors, random)["a.db"] for _ in range(100)}

    first_only, second_only = b"x" * 512, b"old" + bytes(509) + b"x" * 512
    assert cuts == {b"old", first_only, second_only, b"x" * 1024}


def test_a_disk_that_writes_in_order_keeps_the_first_sectors(random: Random) -> None:
    disk = disk_after(*done(pwrite("/data/a.db", "x" * 1024, 0), 1024))

    assert {disk.cut(keep_first, random)["a.db"] for _ in range(100)} == {b"old", b"x" * 512, b"x" * 1024}


def test_a_shortened_file_may_be_long_again(random: Random) -> None:
    disk = disk_after(*done(f"ftruncate(7<{as_hex('/data/a.db')}>, 1"))

    assert (disk.cut(keep_all, random), disk.cut(lose_all, random)) == ({"a.db": b"o"}, {"a.db": b"old"})


def test_a_new_file_may_vanish_until_its_folder_is_synced(random: Random) -> None:
    disk = disk_after(*done(create("/data/a.db-wal"), 7), *done(sync("/data/a.db-wal")))

    assert {"a.db-wal" in disk.cut(keep_all, random) for _ in range(50)} == {True, False}
    for moment in parse_lines(done(sync("/data"))):
        disk.advance(moment)
    assert all("a.db-wal" in disk.cut(lose_all, random) for _ in range(50))


def test_a_removed_file_may_come_back_until_its_folder_is_synced(random: Random) -> None:
    disk = disk_after(*done(f'unlink("{as_hex("/data/a.db")}"'))

    assert {"a.db" in disk.cut(keep_all, random) for _ in range(50)} == {True, False}


def test_what_lies_elsewhere_or_in_shared_memory_is_no_part_of_the_disk() -> None:
    disk = disk_after(*done(pwrite("/data/a.db-shm", "new", 0), 3), *done(pwrite("/other/a.db", "new", 0), 3))

    assert disk.now() == BEFORE


def test_a_call_that_the_disk_does_not_know_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="fallocate"):
        disk_after(*done(f"fallocate(7<{as_hex('/data/a.db')}>, 0, 0, 3"))
