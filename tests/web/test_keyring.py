"""The keys as one process knows them, without a server: any header, any clock, a database that is away, a quota."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from homeostat.errors import KeyInvalid, QuotaExceeded
from homeostat.monitoring.metrics import Metrics
from homeostat.settings import ServingSettings
from homeostat.store.database import Database
from homeostat.store.keys import create_key, revoke_key
from homeostat.web.access import OPEN, ROUTES, RequireKey
from homeostat.web.keyring import Keyring
from homeostat.web.senders import ANYBODY, SENDER, Quota, Sender
from homeostat.web.sessions import Sessions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
METRICS = Metrics()
COOKIE = "homeostat-x"
Headers = list[tuple[bytes, bytes]]
MakeKey = Callable[..., bytes]
one_keyring = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


@pytest.fixture
def keyring(database: Database) -> Keyring:
    return Keyring(database, ServingSettings(workers=2))


@pytest.fixture
def make_key(database: Database, keyring: Keyring) -> MakeKey:
    """Make a key that the keyring knows at once; return its token."""

    def make(*, expires_at: datetime | None = None, rows_per_minute: int | None = None) -> bytes:
        with database.write() as connection:
            _, token = create_key(
                connection,
                "test",
                frozenset({"admin"}),
                expires_at=expires_at,
                rows_per_minute=rows_per_minute,
                now=NOW,
            )
        keyring.refresh()
        return token.encode()

    return make


def ask(keyring: Keyring, headers: Headers, *, path: str = "/v1/status", kind: str = "http") -> list[Message]:
    """Return what is sent to a request; the application behind answers 200 with the name of the sender."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  the signature is ASGI's
        await send({"type": "reached", "status": 200, "sender": scope[SENDER].name})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    scope = {"type": kind, "method": "GET", "path": path, "query_string": b"", "headers": headers}
    guarded = RequireKey(application, keyring=keyring, sessions=Sessions(keyring), cookie=COOKIE, metrics=METRICS)
    asyncio.run(guarded(scope, receive, send))
    return sent


def revoke(database: Database, token: bytes) -> None:
    with database.write() as connection:
        revoke_key(connection, token[3:15].decode(), now=NOW)


names = st.sampled_from([b"authorization", b"x-api-key", b"cookie"]) | st.binary(max_size=10)
values = st.binary(max_size=80) | st.binary(max_size=70).map(lambda tail: b"Bearer hs_" + tail)
values |= st.binary(max_size=50).map(lambda tail: COOKIE.encode() + b"=" + tail)
closed = st.sampled_from([route for route, openers in ROUTES.items() if openers is not OPEN])


@pytest.fixture
def token(make_key: MakeKey) -> bytes:
    """The token of the one key of `keyring`."""
    return make_key()


@one_keyring
@given(headers=st.lists(st.tuples(names, values), max_size=4), path=closed | st.text(max_size=30).map("/{}".format))
def test_no_header_opens_a_route_that_is_not_open(keyring: Keyring, token: bytes, headers: Headers, path: str) -> None:
    assert ask(keyring, [*headers, (b"x-token", token)], path=path)[0]["status"] == 401


@one_keyring
@given(place=st.integers(0, 58), byte=st.integers(0, 255))
def test_a_token_with_a_wrong_byte_opens_nothing(keyring: Keyring, token: bytes, place: int, byte: int) -> None:
    wrong = token[:place] + bytes([byte]) + token[place + 1 :]

    assert ask(keyring, [(b"x-api-key", wrong)])[0]["status"] == (200 if wrong == token else 401)


@one_keyring
@given(path=st.text(max_size=30) | st.from_regex(r"/v2/models/[^/]{1,5}(/versions/[^/]{1,5})?/(infer|ready)\n?"))
def test_no_path_makes_the_table_fail(keyring: Keyring, token: bytes, path: str) -> None:
    assert ask(keyring, [(b"x-api-key", token)], path=path)[0]["status"] in {200, 404}


def test_before_the_first_look_nobody_has_a_valid_key(keyring: Keyring) -> None:
    assert keyring.asked
    assert ask(keyring, [])[0]["status"] == 401


def test_without_a_key_in_the_table_everybody_is_the_same_sender(keyring: Keyring) -> None:
    keyring.refresh()

    assert ask(keyring, [(b"x-api-key", b"anything")])[0]["sender"] == ANYBODY.name == "http"


def test_where_keys_are_required_an_empty_table_opens_nothing(database: Database) -> None:
    keyring = Keyring(database, ServingSettings(authentication="required"))
    keyring.refresh()

    assert ask(keyring, [])[0]["status"] == 401


def test_a_table_that_was_emptied_does_not_open_the_service(keyring: Keyring, database: Database, token: bytes) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM keys")
    keyring.refresh()

    assert ask(keyring, [])[0]["status"] == ask(keyring, [(b"x-api-key", token)])[0]["status"] == 401


def test_a_key_is_valid_until_the_moment_of_its_expiry(keyring: Keyring, make_key: MakeKey) -> None:
    token = make_key(expires_at=NOW + timedelta(hours=1))

    assert keyring.find(token, NOW_S + 3599.999).key.id.encode() == token[3:15]
    with pytest.raises(KeyInvalid, match="expired at 2026-03-01 13:00:00 UTC"):
        keyring.find(token, NOW_S + 3600)


def test_only_who_holds_the_token_is_told_that_it_was_revoked(
    keyring: Keyring, database: Database, token: bytes
) -> None:
    revoke(database, token)
    keyring.refresh()

    with pytest.raises(KeyInvalid, match="was revoked at 2026-03-01 12:00:00 UTC"):
        keyring.find(token, NOW_S)
    with pytest.raises(KeyInvalid, match="no valid API key came"):
        keyring.find(token[:-1] + b"~", NOW_S)


def test_a_started_keyring_learns_of_a_revocation_by_itself(keyring: Keyring, database: Database, token: bytes) -> None:
    keyring.start()
    revoke(database, token)
    time.sleep(0.9)
    keyring.stop()

    assert ask(keyring, [(b"x-api-key", token)])[0]["status"] == 401
    assert not keyring.following


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        ("ALTER TABLE keys RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO keys"),
        ("UPDATE keys SET scopes = 'all'", "UPDATE keys SET scopes = '[\"read\"]'"),
    ],
)
def test_while_the_keys_cannot_be_read_the_last_view_stays(
    keyring: Keyring, database: Database, token: bytes, damage: str, repair: str
) -> None:
    keyring.start()
    with database.write() as connection:
        connection.exec_driver_sql(damage)
    time.sleep(0.9)
    trouble, answer = keyring.trouble, ask(keyring, [(b"x-api-key", token)])
    with database.write() as connection:
        connection.exec_driver_sql(repair)
    time.sleep(0.9)
    keyring.stop()

    assert (answer[0]["status"], keyring.trouble) == (200, None)
    assert str(trouble).startswith("the keys cannot be read: ")


def test_a_web_socket_is_closed(keyring: Keyring, token: bytes) -> None:
    sent = ask(keyring, [(b"x-api-key", token)], kind="websocket")

    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_an_event_of_a_kind_that_nobody_knows_reaches_nothing(keyring: Keyring, token: bytes) -> None:
    assert ask(keyring, [(b"x-api-key", token)], kind="webtransport") == []


def test_a_quota_is_full_at_first_and_refilled_all_the_time() -> None:
    quota = Quota(60, n_workers=1)

    assert quota.take(60, 100.0) == 0
    assert quota.take(1, 100.0) == pytest.approx(1)
    assert quota.take(30, 110.0) == pytest.approx(20)
    assert quota.take(30, 130.0) == 0


@given(
    limit=st.integers(1, 1000),
    n_workers=st.integers(1, 8),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000)), max_size=40),
)
def test_a_process_takes_no_more_than_its_share_over_time_and_one_batch(
    limit: int, n_workers: int, steps: list[tuple[float, int]]
) -> None:
    quota, now_s, taken = Quota(limit, n_workers), 0.0, 0
    for pause_s, n_rows in steps:
        now_s += pause_s
        if n_rows <= limit and quota.take(n_rows, now_s) == 0:
            taken += n_rows

    share = limit / n_workers
    assert taken <= share * now_s / 60 + limit + 1e-3 * (1 + len(steps))


@given(limit=st.integers(1, 1000), n_workers=st.integers(1, 8), data=st.data())
def test_who_waits_as_long_as_told_may_send(limit: int, n_workers: int, data: st.DataObject) -> None:
    sender, now_s = Sender("key:x", Quota(limit, n_workers)), 1e6
    for n_rows in data.draw(st.lists(st.integers(0, limit), max_size=10)):
        try:
            sender.take_rows(n_rows, now_s)
        except QuotaExceeded as error:
            now_s += error.retry_after_s
            sender.take_rows(n_rows, now_s)


def test_a_request_larger_than_the_quota_is_told_to_be_split() -> None:
    with pytest.raises(QuotaExceeded, match=r"has 61 rows; expected at most 60 .*; send them in several"):
        Sender("key:x", Quota(60, n_workers=4)).take_rows(61, 0.0)


def test_a_clock_that_stands_still_or_runs_back_gives_nothing() -> None:
    quota = Quota(60, n_workers=1)
    quota.take(60, 100.0)

    assert quota.take(0, 50.0) == 0
    assert quota.take(1, 100.0) == pytest.approx(1)


def test_a_refresh_leaves_what_a_key_has_used(keyring: Keyring, make_key: MakeKey) -> None:
    token = make_key(rows_per_minute=60)
    keyring.find(token, NOW_S).sender.take_rows(60, 0.0)
    keyring.refresh()

    with pytest.raises(QuotaExceeded):
        keyring.find(token, NOW_S).sender.take_rows(60, 0.0)


def test_rows_taken_from_many_threads_are_all_counted() -> None:
    quota = Quota(1000, n_workers=1)
    taken: list[int] = []

    def take() -> None:
        taken.extend(1 for _ in range(500) if quota.take(1, 0.0) == 0)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1000
