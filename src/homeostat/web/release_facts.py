"""What is known of releases, gathered from the database and the store for pages and reports.

Not here: what a page says of it (`web.release_page`, `web.compare_page`), or the model card (`deployment.model_card`).
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from homeostat.deployment.dossiers import Dossier, open_dossier
from homeostat.deployment.model_card import Known
from homeostat.deployment.registry import RegisteredRelease, current_promotion, list_promotions
from homeostat.deployment.restoring import list_barred
from homeostat.errors import ArtifactError, ReleaseMissing
from homeostat.monitoring.drift_checks import last_check_of
from homeostat.monitoring.observed import first_received
from homeostat.monitoring.verdicts import headline
from homeostat.project import Project
from homeostat.records import Json, Promotion
from homeostat.retraining.cycles import Cycle, find_training
from homeostat.store.event_pages import leaf_through
from homeostat.store.events import Event

# What the owner of a project has to say on every card, beside its homeostat.toml.
NOTE = "MODEL_CARD.md"
MOST_NOTE = 100_000
# Lines of the event log that a page of a release shows.
MOST_EVENTS = 30


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one release. `dossier` is None where its files cannot be read, and `trouble` says why.

    `live` is the promotion by which it is in production now, `times` all of its promotions, oldest first; `barred` says
    why it may not come back; `events` are those that mention it, newest first.
    """

    registered: RegisteredRelease
    dossier: Dossier | None
    trouble: str
    live: Promotion | None
    times: tuple[Promotion, ...]
    barred: str | None
    gate: Event | None
    cycle: Cycle | None
    events: tuple[Event, ...]
    drift: Json | None

    @property
    def verdict(self) -> Json | None:
        """The newest verdict of the gate on it."""
        return self.gate.payload if self.gate else None

    @property
    def standing(self) -> tuple[str, str]:
        """Where it stands in a word or two, and the class of its colour."""
        return name_standing(
            is_live=self.live is not None,
            was_live=bool(self.times),
            is_barred=self.barred is not None,
            passed=self.verdict["passed"] if self.verdict else None,
        )


def name_standing(*, is_live: bool, was_live: bool, is_barred: bool, passed: bool | None) -> tuple[str, str]:
    """Return where a release stands in a word or two, and the class of its colour."""
    if is_live:
        return "in production", "calm"
    if is_barred:
        return "rolled back, barred", "moved"
    if was_live:
        return "was in production", "soft"
    if passed is None:
        return "not judged yet", "wait"
    return ("passed the gate, not promoted", "wait") if passed else ("refused by the gate", "moved")


def gather_facts(connection: Connection, project: Project, registered: RegisteredRelease) -> Facts:
    """Return what is known of a registered release."""
    digest = registered.digest
    try:
        dossier, trouble = open_dossier(digest, project.blobs), ""
    except (ReleaseMissing, ArtifactError) as error:
        dossier, trouble = None, f"Its files cannot be shown: {error.problem}; {error.action}."
    current = current_promotion(connection)
    gates = leaf_through(connection, kind="gate", mentions=f'"release": "{digest}"', limit=1)
    return Facts(
        registered,
        dossier,
        trouble,
        live=current if current is not None and current.release == digest else None,
        times=tuple(one for one in list_promotions(connection) if one.release == digest),
        barred=list_barred(connection).get(digest),
        gate=gates[0] if gates else None,
        cycle=find_training(connection, digest),
        events=tuple(leaf_through(connection, mentions=digest, limit=MOST_EVENTS)),
        drift=last_check_of(connection, digest),
    )


def know(connection: Connection, project: Project, facts: Facts) -> Known:
    """Return what a model card needs to know of a release beside its files."""
    check = facts.drift
    drift = {key: check[key] for key in ("id", "checked_at", "score", "fired", "guarded")} if check else None
    return Known(
        project=project.settings.project.name,
        number=facts.registered.number,
        created_at=facts.registered.created_at,
        in_production=facts.live is not None,
        training_set=facts.dossier.training_set if facts.dossier else None,
        gate=facts.verdict,
        drift={**drift, "headline": headline(check)} if drift and check else None,
        period=find_period(connection, facts),
        note=read_note(project.folder),
    )


def find_period(connection: Connection, facts: Facts) -> tuple[datetime, datetime] | None:
    """Return between which moments the predictions were answered whose outcomes a training set may hold.

    None if it holds none, or none of them is in the log any more.
    """
    found = facts.dossier.training_set if facts.dossier else None
    if found is None or not any(found.get("senders", {}).values()):
        return None
    until = facts.cycle.started_at if facts.cycle else facts.registered.created_at
    first = first_received(connection)
    return (first, until) if first is not None and first < until else None


def read_note(folder: Path) -> str | None:
    """Return what the owner of a project has written for every card, None if nothing."""
    path = folder / NOTE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MOST_NOTE).decode(errors="replace").strip() or None
