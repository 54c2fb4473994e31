"""What a line of the event log says, in a sentence, and which pages tell more of it.

Not here: the log itself (`store.events`), or how a page shows its lines (`web.events_page`).
"""

from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import Connection

from homeostat.monitoring.drift_checks import find_check_from
from homeostat.monitoring.verdicts import FIGURES
from homeostat.records import Json
from homeostat.store.events import Event

# Members of a payload that are a sentence already, the fullest first.
SENTENCES = ("sentence", "reason", "problem")
# The window of these is that of a drift check.
OF_WINDOWS = frozenset({"drift_checked"})
MOST_LETTERS = 300


def say(event: Event) -> str:
    """Return what a line says: its own sentence, or else its figures."""
    told = event.payload
    if event.kind in WORDS:
        try:
            return WORDS[event.kind](told)
        except (KeyError, TypeError, ValueError):  # a line of another version: what it holds is told as it is
            pass
    own = next((str(told[name]) for name in SENTENCES if told.get(name)), None)
    return own or ", ".join(describe(name, member) for name, member in told.items() if not isinstance(member, dict))


def say_gate(told: Json) -> str:
    """Return a verdict of the gate in words."""
    refused = [one["name"] for one in told["criteria"] if not one["passed"]]
    verdict = f"refused at {', '.join(refused)}" if refused else "passed"
    return f"release {told['release'][:12]} {verdict}"


def say_promotion(told: Json) -> str:
    """Return a move of production in words."""
    return f"release {told['release'][:12]} in production, epoch {told['epoch']}, by {told['actor']}: {told['reason']}"


def say_registration(told: Json) -> str:
    """Return that a release was made, in words."""
    return f"release {told['release'][:12]}, of snapshot {told['snapshot'][:12]}"


def say_drift(told: Json) -> str:
    """Return a drift check in words."""
    first, last = told["window"]
    moved = f": {', '.join(told['drifted'])}" if told["drifted"] else ""
    return f"rows {first} to {last}: score {told['score']:.3f}, {'fired' if told['fired'] else 'quiet'}{moved}"


def say_outcomes(told: Json) -> str:
    """Return a check of outcomes in words."""
    first, last = told["window"]
    figures = [f"{words} {told[name]:.3f}" for name, words in FIGURES.items() if told.get(name) is not None]
    return f"rows {first} to {last}, {told['n_labelled']} of {told['n_rows']} with an outcome: {', '.join(figures)}"


WORDS: Mapping[str, Callable[[Json], str]] = {
    "gate": say_gate,
    "promoted": say_promotion,
    "rolled_back": say_promotion,
    "release_registered": say_registration,
    "drift_checked": say_drift,
    "outcomes_checked": say_outcomes,
}


def describe(name: str, member: object) -> str:
    """Return a member of a payload in a few letters."""
    words = f"{member:.4g}" if isinstance(member, float) else str(member)
    return f"{name} {words[:MOST_LETTERS]}"


def list_links(connection: Connection, event: Event) -> Iterator[tuple[str, str]]:
    """Yield the pages that tell more of what a line is about: path and words."""
    told: Json = event.payload
    for name in ("release", "previous"):
        if isinstance(told.get(name), str):
            yield f"/releases/{told[name]}", f"{name} {told[name][:12]}"
    if isinstance(told.get("cycle"), int):
        yield f"/cycles/{told['cycle']}", f"cycle {told['cycle']}"
    if event.kind in OF_WINDOWS:
        number = find_check_from(connection, told["window"][0])
        if number is not None:
            yield f"/drift/{number}", f"drift check {number}"
