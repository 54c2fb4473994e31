"""What is kept of an API key, and what never is: its token."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import InputError, KeyInvalid
from homeostat.store.database import Database
from homeostat.store.events import find_break, read_events
from homeostat.store.keys import ApiKey, Scope, create_key, id_of_token, list_keys, revoke_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def make_key(
    database: Database, name: str = "clinic", *scopes: Scope, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    with database.write() as connection:
        return create_key(connection, name, frozenset(scopes or ("predict",)), expires_at=expires_at, now=NOW)


def stored(database: Database) -> list[ApiKey]:
    with database.read() as connection:
        return list_keys(connection)


def events_of(database: Database) -> list[tuple[str, object]]:
    with database.read() as connection:
        return [(event.kind, event.payload) for event in read_events(connection)]


def test_a_token_names_its_key_and_holds_256_random_bits(database: Database) -> None:
    key, token = make_key(database)

    assert re.fullmatch(r"hs_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", token)
    assert id_of_token(token.encode()) == key.id.encode()


def test_no_two_keys_are_alike(database: Database) -> None:
    made = [make_key(database) for _ in range(50)]

    assert len({key.id for key, _ in made}) == len({token[16:] for _, token in made}) == 50


def test_a_key_is_kept_with_everything_but_its_token(database: Database) -> None:
    with database.write() as connection:
        scopes: frozenset[Scope] = frozenset({"label", "predict"})
        made, token = create_key(connection, "clinic", scopes, expires_at=LATER, rows_per_minute=600, now=NOW)

    digest = hashlib.sha256(token.encode()).hexdigest()
    assert stored(database) == [made]
    assert made == ApiKey(made.id, "clinic", scopes, 600, NOW, LATER, None, digest)


def test_neither_token_nor_secret_is_in_any_file_of_the_store(database: Database, tmp_path: Path) -> None:
    key, token = make_key(database)
    with database.write() as connection:
        revoke_key(connection, key.id, now=LATER)

    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(key.id.encode() in content for content in files)
    assert not any(token[16:].encode() in content for content in files)


def test_what_is_shown_of_a_key_holds_neither_token_nor_hash(database: Database) -> None:
    key, token = make_key(database)

    assert token not in repr(key)
    assert key.hash not in repr(key)


def test_making_and_revoking_a_key_are_two_events_of_the_chain(database: Database) -> None:
    key, _ = make_key(database, "clinic", "read", "predict")
    with database.write() as connection:
        revoke_key(connection, key.id, now=LATER)

    payload = {"id": key.id, "name": "clinic", "scopes": ["predict", "read"]}
    assert events_of(database) == [("key_created", payload), ("key_revoked", payload)]
    with database.read() as connection:
        assert find_break(connection) is None


def test_keys_are_listed_oldest_first_and_stay_when_they_are_revoked(database: Database) -> None:
    first, _ = make_key(database, "first")
    with database.write() as connection:
        create_key(connection, "second", frozenset({"read"}), now=LATER)
        revoke_key(connection, first.id, now=LATER)

    assert [(key.name, key.revoked_at) for key in stored(database)] == [("first", LATER), ("second", None)]


def test_a_key_revoked_twice_keeps_its_first_moment_and_one_event(database: Database) -> None:
    key, _ = make_key(database)
    for hours in (1, 2):
        with database.write() as connection:
            revoked = revoke_key(connection, key.id, now=NOW + timedelta(hours=hours))

    assert revoked.revoked_at == LATER
    assert [kind for kind, _ in events_of(database)] == ["key_created", "key_revoked"]


def test_a_key_ends_at_the_moment_of_its_expiry(database: Database) -> None:
    key, _ = make_key(database, expires_at=LATER)

    assert key.state(LATER - timedelta(microseconds=1)) == "valid"
    assert key.state(LATER) == "expired"


def test_an_unknown_id_is_refused_with_the_nearest_one(database: Database) -> None:
    key, _ = make_key(database)
    near = key.id[:-1] + ("a" if key.id[-1] != "a" else "b")

    with database.write() as connection, pytest.raises(KeyInvalid, match=f"no key '{near}'.*did you mean '{key.id}'"):
        revoke_key(connection, near, now=LATER)


def test_a_token_in_place_of_an_id_is_not_repeated_by_the_error(database: Database) -> None:
    _, token = make_key(database)

    with database.write() as connection, pytest.raises(KeyInvalid) as refused:
        revoke_key(connection, token, now=LATER)
    assert token[16:] not in str(refused.value)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[0m", "x" * 81])
def test_a_name_that_cannot_be_shown_in_a_line_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InputError, match="80 printable"):
        make_key(database, name)


def test_a_key_without_a_scope_is_refused(database: Database) -> None:
    with database.write() as connection, pytest.raises(InputError, match="no scope"):
        create_key(connection, "clinic", frozenset(), now=NOW)


def test_a_key_that_would_be_expired_is_refused(database: Database) -> None:
    with pytest.raises(InputError, match="in the future"):
        make_key(database, expires_at=NOW)

    assert stored(database) == []


@given(st.binary(max_size=80) | st.binary(min_size=59, max_size=59) | st.from_regex(rb"hs_[a-z]{12}_.*"))
def test_any_bytes_are_read_as_a_token_or_as_none(token: bytes) -> None:
    found = id_of_token(token)

    assert found is None or (len(found), token[:3], len(token)) == (12, b"hs_", 59)
