"""A message is a CloudEvent with a stable id and a signature that others verify; waits grow, spread and end."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.errors import SettingsInvalid
from homeostat.notifications.messages import (
    GROWTH,
    LONGEST_FROM,
    MAX_RETRY_AFTER_S,
    MAX_WAIT_S,
    Message,
    Trouble,
    build_message,
    build_trial,
    choose_wait,
    count_attempts,
    headers_of,
    is_due,
    judge_answer,
    read_retry_after,
    read_secret,
    sign,
)
from homeostat.store.events import GENESIS, Event, chain_digest

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
PAYLOAD = {"epoch": 2, "release": "ab"}
EVENT = Event(7, NOW, "promoted", PAYLOAD, GENESIS, chain_digest(7, NOW, "promoted", json.dumps(PAYLOAD), GENESIS))
OUTAGE, REFUSAL = Trouble("it is away", is_refusal=False), Trouble("it will not", is_refusal=True)


# --- the message --------------------------------------------------------------------------------------------------


def test_an_event_becomes_a_cloudevent_whose_data_is_the_line_of_the_log() -> None:
    assert json.loads(build_message(EVENT, "diabetes").body) == {
        "specversion": "1.0",
        "id": EVENT.digest,
        "source": "/homeostat/diabetes",
        "type": "homeostat.promoted",
        "time": "2026-03-01T12:00:00.000005Z",
        "datacontenttype": "application/json",
        "data": {
            "seq": 7,
            "at": "2026-03-01T12:00:00.000005Z",
            "kind": "promoted",
            "payload": PAYLOAD,
            "previous": GENESIS,
            "digest": EVENT.digest,
        },
    }


def test_the_same_event_is_the_same_message_whenever_it_is_built() -> None:
    assert build_message(EVENT, "diabetes") == build_message(EVENT, "diabetes")
    assert build_message(EVENT, "diabetes").id == EVENT.digest


def test_a_receiver_can_verify_the_chain_from_the_data_alone() -> None:
    data = json.loads(build_message(EVENT, "diabetes").body)["data"]
    at, payload = datetime.fromisoformat(data["at"]), json.dumps(data["payload"], sort_keys=True)

    assert chain_digest(data["seq"], at, data["kind"], payload, data["previous"]) == data["digest"]


def test_a_trial_says_that_nothing_has_happened() -> None:
    content = json.loads(build_trial("diabetes", number="17", now=NOW).body)

    assert (content["type"], content["id"]) == ("homeostat.trial", "17")


# --- the signature ------------------------------------------------------------------------------------------------


def test_the_signature_is_the_one_of_the_specifications_own_test_vector() -> None:
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')

    assert sign(message, key, timestamp="1614265330") == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_headers_name_the_message_its_attempt_and_its_form() -> None:
    headers = headers_of(build_message(EVENT, "p"), b"key", now=NOW)

    assert headers["content-type"] == "application/cloudevents+json"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (EVENT.digest, str(int(NOW.timestamp())))
    assert headers["webhook-signature"].startswith("v1,")


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in headers_of(build_message(EVENT, "p"), None, now=NOW)


@given(key=st.binary(min_size=24, max_size=64))
def test_a_secret_of_the_specifications_form_stands_for_the_bytes_in_it(key: bytes) -> None:
    assert read_secret("whsec_" + base64.b64encode(key).decode()) == key


def test_any_other_text_is_its_own_bytes() -> None:
    assert read_secret("a long secret, ä") == "a long secret, ä".encode()


def test_a_secret_that_cannot_be_read_is_refused_without_being_repeated() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        read_secret("whsec_not base64 at all")

    assert "base64" in refused.value.problem
    assert "at all" not in str(refused.value)


# --- answers and waits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_status_of_success_means_taken(status: int) -> None:
    assert judge_answer(status, None, now=NOW) is None


@pytest.mark.parametrize(
    ("status", "is_refusal"),
    [
        *((status, True) for status in (301, 307, 400, 401, 404, 410, 422)),
        *((status, False) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_an_answer_is_a_refusal_or_an_outage(status: int, *, is_refusal: bool) -> None:
    assert judge_answer(status, None, now=NOW) == Trouble(f"it answered {status}", is_refusal)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("7", 7),
        (" 7 ", 7),
        ("99999999", MAX_RETRY_AFTER_S),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2020 12:01:00 GMT", 0),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 0),
        ("-7", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_within_bounds(text: str | None, seconds: float) -> None:
    assert read_retry_after(text, now=NOW) == pytest.approx(seconds, abs=0.001)


@given(text=st.text())
def test_no_retry_after_breaks_its_reading(text: str) -> None:
    assert 0 <= read_retry_after(text, now=NOW) <= MAX_RETRY_AFTER_S


@given(message=st.text(), attempts=st.integers(1, 10_000))
def test_a_wait_grows_is_spread_over_its_upper_half_and_has_a_bound(message: str, attempts: int) -> None:
    longest = min(GROWTH ** min(attempts, LONGEST_FROM), MAX_WAIT_S)

    wait_s = choose_wait(message, attempts, OUTAGE).total_seconds()

    assert longest / 2 <= wait_s + 1e-6 <= longest + 2e-6


def test_many_projects_do_not_come_back_in_the_same_moment() -> None:
    waits = sorted(choose_wait(f"message {number}", 10, OUTAGE).total_seconds() for number in range(1000))

    assert waits[750] - waits[250] == pytest.approx(GROWTH**10 / 4, rel=0.2)


def test_the_longest_wait_is_reached() -> None:
    assert GROWTH**LONGEST_FROM > MAX_WAIT_S


def test_a_receiver_gets_the_time_that_it_asks_for() -> None:
    assert choose_wait("m", 1, Trouble("it answered 429", is_refusal=False, retry_after_s=600)) == timedelta(minutes=10)


def test_refusals_are_counted_and_an_outage_begins_their_count_anew() -> None:
    assert count_attempts(300, REFUSAL) == 301
    assert count_attempts(300, OUTAGE) == LONGEST_FROM
    assert count_attempts(0, OUTAGE) == 1


@pytest.mark.parametrize(
    ("next_at", "due"),
    [
        (None, True),
        (NOW - timedelta(seconds=1), True),
        (NOW, True),
        (NOW + timedelta(seconds=1), False),
        (NOW + timedelta(seconds=MAX_RETRY_AFTER_S), False),
        (NOW + timedelta(days=365), True),  # the clock was put back
    ],
)
def test_an_attempt_is_due_when_its_time_has_come_or_can_be_none(next_at: datetime | None, *, due: bool) -> None:
    assert is_due(next_at, now=NOW) is due
