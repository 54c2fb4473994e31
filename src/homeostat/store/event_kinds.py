"""Every kind of event: when it is appended, and which keys its payload has.

Not here: the log itself (`store.events`), or who appends. A test holds this table to what a whole story leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind: `sometimes` are keys that not every event of the kind has."""

    when: str
    keys: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()


ASKED = ("kind", "release", "reason", "actor")
DECIDED = ("trigger", "reason")
ENDED = ("cycle", "sentence")
MOVED = ("release", "previous", "epoch", "actor", "reason")

EVENT_KINDS: Mapping[str, EventKind] = MappingProxyType(
    {
        "release_registered": EventKind("A packed release entered the registry.", ("release", "snapshot")),
        "gate": EventKind(
            "A challenger was judged: every criterion of the gate with its figures.", ("release", "passed", "criteria")
        ),
        "promoted": EventKind("Production moved.", MOVED),
        "rolled_back": EventKind(
            "Production went back to the last good release, by an alarm or by hand.", (*MOVED, "alarm", "barred")
        ),
        "bake_passed": EventKind("A release has come through its probation.", ("release", "epoch", "figures")),
        "release_refused": EventKind(
            "A service refused to load a promoted release: the error code and what was wrong.",
            ("release", "epoch", "code", "problem"),
        ),
        "drift_checked": EventKind(
            "A window was checked: what the book and the guarded rule say, and what moved the scores.",
            ("window", "score", "boundary", "fired", "drifted", "guarded", "since"),
            ("scores",),
        ),
        "outcomes_checked": EventKind(
            "A window's outcomes were judged: how many there are, how good the answers were, and what the tests say.",
            ("window", "n_rows", "n_labelled"),
            ("accuracy", "auc", "brier", "risk", "residual"),
        ),
        "alert": EventKind(
            "Something that a person should look at; once on a watch for each `kind` and `subject`.",
            ("kind", "subject", "sentence", "figures", "epoch"),
        ),
        "triggered": EventKind(
            "A trigger asks for a retraining, for the first time on this watch or since the last training.",
            ("trigger", "reason", "epoch"),
        ),
        "decision": EventKind(
            "The policy's decision is another one than before.", ("action", "trigger", "obstacle", "sentence")
        ),
        "retrain_decided": EventKind("A cycle began with a training.", DECIDED),
        "promotion_decided": EventKind("A cycle began with a release that somebody wants promoted.", DECIDED),
        "rollback_decided": EventKind("A cycle began, to go back.", DECIDED),
        "cycle_promoted": EventKind("A cycle ended with a new release in production.", ENDED),
        "cycle_refused": EventKind("A cycle ended without a change: the challenger did not pass.", ENDED),
        "cycle_held": EventKind("A cycle ended with a release that waits for approval.", ENDED),
        "cycle_overtaken": EventKind(
            "A cycle made way: production must go back, a person asked for something else, or it had moved.", ENDED
        ),
        "cycle_rolled_back": EventKind("A cycle ended with production gone back.", ENDED),
        "cycle_failed": EventKind("A cycle could not go on.", ENDED),
        "requested": EventKind("Something was asked of the loop, by the command line or over HTTP.", ASKED),
        "request_refused": EventKind("The loop refused what was asked.", ("kind", "release", "actor", "sentence")),
        "key_created": EventKind("An API key was made; never its token.", ("id", "name", "scopes")),
        "key_revoked": EventKind("An API key was withdrawn.", ("id", "name", "scopes")),
        "retention_ran": EventKind(
            "Expired lines were deleted: how many of each.", (), ("predictions", "labels", "rejections", "answers")
        ),
        "notification_failed": EventKind(
            "A message that its receiver refused for about a day was left out; never sent itself.",
            ("event", "kind", "attempts", "problem"),
        ),
        "tracking_failed": EventKind(
            "MLflow did not take a run or the alias; the cycle went on.", ("cycle", "part", "problem")
        ),
        "alias_moved": EventKind(
            "Somebody moved or deleted the alias in MLflow: a request to promote, or nothing that can be one.",
            ("version", "release", "request", "sentence"),
        ),
        "alias_restored": EventKind(
            "MLflow's alias was put back to the release in production.", ("version", "sentence")
        ),
    }
)
