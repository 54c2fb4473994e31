"""What a line of the event log says in a sentence, also one that another version wrote."""

from datetime import UTC, datetime

import pytest

from homeostat.records import Json
from homeostat.store.events import Event
from homeostat.web.event_words import say

RELEASE = "ab" * 32


def event(kind: str, **payload: object) -> Event:
    return Event(1, datetime(2026, 3, 1, tzinfo=UTC), kind, payload, "0" * 64, "1" * 64)


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        ("gate", {"release": RELEASE, "criteria": [{"name": "skill", "passed": True}]}, "release abababababab passed"),
        (
            "gate",
            {"release": RELEASE, "criteria": [{"name": "skill", "passed": False}, {"name": "size", "passed": False}]},
            "release abababababab refused at skill, size",
        ),
        (
            "promoted",
            {"release": RELEASE, "epoch": 2, "actor": "loop", "reason": "a drift"},
            "release abababababab in production, epoch 2, by loop: a drift",
        ),
        (
            "drift_checked",
            {"window": [1, 200], "score": 0.375, "fired": True, "drifted": ["age"]},
            "rows 1 to 200: score 0.375, fired: age",
        ),
        (
            "outcomes_checked",
            {"window": [1, 200], "n_labelled": 150, "n_rows": 200, "accuracy": 0.75, "auc": None, "brier": 0.2},
            "rows 1 to 200, 150 of 200 with an outcome: accuracy 0.750, Brier score 0.200",
        ),
        ("cycle_failed", {"cycle": 1, "sentence": "The disk is full."}, "The disk is full."),
        ("decision", {"action": "wait", "share": 0.25}, "action wait, share 0.25"),
    ],
)
def test_a_line_is_told_in_a_sentence(kind: str, payload: Json, words: str) -> None:
    assert say(event(kind, **payload)) == words


@pytest.mark.parametrize("kind", ["gate", "promoted", "rolled_back", "drift_checked", "outcomes_checked"])
def test_a_line_that_lacks_what_its_kind_has_today_is_told_as_it_is(kind: str) -> None:
    assert say(event(kind, window=None, release=None, words="old")) == "window None, release None, words old"
