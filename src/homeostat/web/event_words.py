"""What a line of the event log says, in a sentence, and which pages tell more of it.

Not here: the log itself (`store.events`), or how a page shows its lines (`web.events_page`).
"""

from collections.abc import Iterator

from sqlalchemy import Connection

from homeostat.monitoring.drift_checks import find_check_from
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
    if event.kind == "gate":
        refused = [one["name"] for one in told["criteria"] if not one["passed"]]
        verdict = f"refused at {', '.join(refused)}" if refused else "passed"
        return f"release {told['release'][:12]} {verdict}"
    if event.kind == "drift_checked":
        verdict = "fired" if told["fired"] else "quiet"
        moved = f": {', '.join(told['drifted'])}" if told["drifted"] else ""
        return f"rows {told['window'][0]} to {told['window'][1]}: score {told['score']:.3f}, {verdict}{moved}"
    own = next((str(told[name]) for name in SENTENCES if told.get(name)), None)
    return own or ", ".join(describe(name, member) for name, member in told.items() if not isinstance(member, dict))


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
