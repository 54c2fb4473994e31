"""Where the loop stands, in a sentence: the stage that it is in, what goes on there, what waits, and for whom.

Not here: deciding any of it (`homeostat.loop`), or the rest of the page (`web.board`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from homeostat.deployment.registry import current_promotion, resolve_release
from homeostat.deployment.restoring import last_good
from homeostat.monitoring.drift_checks import last_checked
from homeostat.monitoring.verdicts import headline, list_verdicts
from homeostat.records import Json, Promotion
from homeostat.retraining.cycles import Cycle, find_open_cycle
from homeostat.retraining.fulfilment import find_held
from homeostat.retraining.requests import Request, as_request, list_pending
from homeostat.settings import Settings
from homeostat.store.events import latest_event
from homeostat.store.leases import find_last_renewal
from homeostat.store.tables import predictions, requests
from homeostat.web.board_story import as_sentence
from homeostat.web.rendering import name_actor
from homeostat.web.ring import STEPS

# A loop turns every second, and renews its lease every ten while it trains.
SILENT = timedelta(minutes=2)
# Of what was asked, so much is shown.
ASKED = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """What goes on: the stages of the ring, a headline, a sentence, and a command if one is the next thing to do.

    `silent_since` is when a loop has turned last, if that is long ago; `held` the number of the release that waits for
    approval; `can_go_back` whether there is a release to go back to.
    """

    stages: frozenset[str]
    headline: str
    sentence: str
    command: str
    silent_since: datetime | None
    held: int | None
    can_go_back: bool
    asked: tuple[Request, ...]


def read_standing(connection: Connection, settings: Settings, check: Json | None, *, now: datetime) -> Standing:
    """Return where the loop stands; `check` is the newest drift check of the watch."""
    promotion, cycle = current_promotion(connection), find_open_cycle(connection)
    held = find_held(connection)
    number = None if held is None else resolve_release(connection, held).number
    seen = find_last_renewal(connection)
    stages, title, sentence = tell_state(connection, settings, promotion, cycle, check)
    newest = select(requests).order_by(requests.c.id.desc()).limit(ASKED)
    return Standing(
        stages,
        title,
        sentence,
        "" if promotion or cycle else "homeostat train",
        seen if seen is not None and now - seen > SILENT else None,
        number,
        last_good(connection) is not None,
        tuple(as_request(row) for row in connection.execute(newest)),
    )


def tell_state(
    connection: Connection, settings: Settings, promotion: Promotion | None, cycle: Cycle | None, check: Json | None
) -> tuple[frozenset[str], str, str]:
    """Return the stages, the headline and the sentence of what goes on."""
    if cycle is not None:
        stages, words = STEPS[str(cycle.step)]
        return stages, words, f"Turn {cycle.id}, since {cycle.started_at:%H:%M} UTC: {cycle.reason}"
    pending = list_pending(connection)
    if pending:
        asks = f"Request {pending[0].id} ({pending[0].kind}) waits for the next turn of the loop"
        return frozenset({"retraining"}), asks, f"Asked by {name_actor(pending[0].actor)}: {pending[0].reason}"
    if promotion is None:
        return (
            frozenset({"data"}),
            "Nothing is trained yet",
            "The first training puts the first release into production.",
        )
    decision = latest_event(connection, "decision")
    if decision is not None and decision.at >= promotion.decided_at and decision.payload["action"] == "wait":
        return frozenset({"retraining"}), "A retraining waits", as_sentence(decision.payload["sentence"])
    return frozenset({"monitoring"}), *tell_watch(connection, settings, promotion, check)


def tell_watch(connection: Connection, settings: Settings, promotion: Promotion, check: Json | None) -> tuple[str, str]:
    """Return the headline and the sentence of a watch on which nothing waits."""
    of = settings.monitoring.window
    last = connection.scalar(
        select(predictions.c.observed_seq)
        .where(predictions.c.epoch == promotion.epoch)
        .order_by(predictions.c.observed_seq.desc())
        .limit(1)
    )
    if last is None:
        return "Watching: no row has come yet", "Send rows to /v1/predict; every row that is answered is watched."
    done = last_checked(connection, epoch=promotion.epoch)
    begin = done + 1 if done is not None else first_observed(connection, promotion.epoch)
    progress = f"{last - begin + 1} of the {of} rows of the next window have come."
    if check is None:
        return "Watching: the first window fills", progress
    return headline(check), f"Nothing to do: {list_verdicts(check)[0].sentence}. {progress}"


def first_observed(connection: Connection, epoch: int) -> int:
    """Return the first observed number of a watch that has one."""
    first = select(predictions.c.observed_seq).where(predictions.c.epoch == epoch)
    return int(connection.scalar(first.order_by(predictions.c.observed_seq).limit(1)) or 0)
