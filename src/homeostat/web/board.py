"""All that the page / shows, read from the database in one short transaction: the same for everybody who looks.

Not here: what it says of the loop (`web.board_state`), of what has happened (`web.board_story`) and of traffic
(`web.traffic`); how it is shown (`templates/board`); or who may press its buttons (`web.actions`). Every query is
bounded: none grows with the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.errors import HomeostatError
from homeostat.monitoring.drift_checks import newest_check
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.outcome_checks import newest_estimate, newest_outcome_checks
from homeostat.monitoring.verdicts import FIGURES, Reading, list_readings
from homeostat.monitoring.worker_reports import are_awaited, read_reports
from homeostat.project import Project
from homeostat.records import Estimate, Json, Promotion
from homeostat.store.tables import deliveries, drift_checks
from homeostat.validation.profiles import count_rows
from homeostat.web.board_state import Standing, read_standing
from homeostat.web.board_story import (
    ReleaseLine,
    Told,
    read_alerts,
    read_promotions,
    read_releases,
    read_story,
)
from homeostat.web.drift_page import Picture, Tick, draw_picture
from homeostat.web.traffic import Latency, Reason, Traffic, TrafficReader, sum_latency

# The features that are drawn, and the rows of a window that are: of a larger one the newest.
MOST_PICTURES, MOST_ROWS = 12, 1_000
# How far apart words below an axis stand at the least, in units of the drawing.
APART = 10.0
# Scores of the newest checks that are drawn.
SCORES = 60


@dataclass(frozen=True, slots=True)
class Score:
    """The drift score of one check, and whether the rule that retrains fired."""

    number: int
    score: float
    fired: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of performance: what is expected of the newest window, and what outcomes say of the newest judged."""

    name: str
    expected: Estimate | None
    measured: Estimate | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """Whether a receiver of notifications is told: its host, and what is wrong if anything is."""

    host: str
    problem: str
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Board:
    """What is shown. `pictures` are those of the features that have moved most; `outcomes` the newest judged window."""

    standing: Standing
    promotion: Promotion | None
    on_probation: bool
    traffic: Traffic
    reasons: Sequence[Reason]
    latency: Latency | None
    check: Json | None
    scores: Sequence[Score]
    pictures: Sequence[Picture]
    figures: Sequence[Figure]
    outcomes: Json | None
    alerts: Sequence[Told]
    story: Sequence[Told]
    promotions: Sequence[Promotion]
    releases: Sequence[ReleaseLine]
    delivery: Delivery | None

    @property
    def live(self) -> ReleaseLine | None:
        """The release in production."""
        ours = (one for one in self.releases if self.promotion and one.release.digest == self.promotion.release)
        return next(ours, None)


class BoardReader:
    """Reads the board of a project again and again, and remembers what does not change between."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._traffic = TrafficReader()
        self._drawn: tuple[int, Sequence[Picture]] = (0, ())

    def read(self, connection: Connection, *, now: datetime) -> Board:
        """Return the board as it is now."""
        settings = self._project.settings
        moves = read_promotions(connection)
        promotion = moves[0] if moves else None
        epoch = promotion.epoch if promotion else 0
        check = newest_check(connection, epoch=epoch)
        judged = newest_outcome_checks(connection, epoch=epoch, limit=1)
        outcomes = judged[0] if judged else None
        return Board(
            standing=read_standing(connection, settings, check, now=now),
            promotion=promotion,
            on_probation=promotion is not None and are_awaited(connection, promotion, settings.retraining),
            traffic=self._traffic.read(connection, now=now),
            reasons=self._traffic.read_reasons(connection),
            latency=sum_latency(read_reports(connection), epoch=epoch),
            check=check,
            scores=read_scores(connection, epoch=epoch),
            pictures=self._draw(connection, check) if check else (),
            figures=compare_figures(newest_estimate(connection, epoch=epoch), outcomes),
            outcomes=outcomes,
            alerts=read_alerts(connection, epoch=epoch),
            story=read_story(connection),
            promotions=moves,
            releases=read_releases(connection, moves),
            delivery=read_delivery(connection, settings.notifications.url),
        )

    def _draw(self, connection: Connection, check: Json) -> Sequence[Picture]:
        if self._drawn[0] != check["id"]:
            self._drawn = check["id"], draw_most_moved(connection, self._project, check)
        return self._drawn[1]


def draw_most_moved(connection: Connection, project: Project, check: Json) -> Sequence[Picture]:
    """Return the features that have moved most, then and now; none where the rows or the release are gone."""
    readings: list[Reading] = list_readings(check)[:MOST_PICTURES]
    first = max(check["first_seq"], check["last_seq"] - MOST_ROWS + 1)
    try:
        release = recall_release(find_release(check["release"], project.blobs))
    except HomeostatError:  # a release that was damaged is told of where it serves; the rest of the board stands
        return ()
    current = count_rows(
        read_rows(connection, release.schema, first=first, last=check["last_seq"]), release.schema, release.profile
    )
    if not current.n_rows:
        return ()
    drawn = [draw_picture(r, release.profile.features[r.name], current.features[r.name]) for r in readings]
    return [replace(picture, ticks=thin_out(picture.ticks)) for picture in drawn]


def thin_out(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Return the words below an axis that are far enough from those before them to be read in a small picture."""
    kept: list[Tick] = []
    for tick in ticks:
        if all(tick.left - APART > other.right or tick.right + APART < other.left for other in kept):
            kept.append(tick)
    return tuple(kept)


def read_scores(connection: Connection, *, epoch: int) -> list[Score]:
    """Return the scores of the newest checks of a watch, oldest first."""
    query = select(drift_checks.c.id, drift_checks.c.score, drift_checks.c.fired).where(drift_checks.c.epoch == epoch)
    newest = connection.execute(query.order_by(drift_checks.c.last_seq.desc()).limit(SCORES)).all()
    return [Score(line.id, line.score, bool(line.fired)) for line in reversed(newest)]


def compare_figures(expected: Json | None, outcomes: Json | None) -> list[Figure]:
    """Return the measures of performance that there are."""
    measured = (outcomes or {}).get("report", {}).get("realised")
    figures = [Figure(name, estimate_in(expected, key), estimate_in(measured, key)) for key, name in FIGURES.items()]
    return [figure for figure in figures if figure.expected or figure.measured]


def estimate_in(figures: Json | None, name: str) -> Estimate | None:
    """Return a figure of a report with its interval, None where there is none."""
    figure = (figures or {}).get(name)
    return Estimate(figure["value"], figure["low"], figure["high"]) if figure else None


def read_delivery(connection: Connection, url: str | None) -> Delivery | None:
    """Return whether the receiver of notifications is told, None if there is none; an address may hold a password."""
    if url is None:
        return None
    line = connection.execute(select(deliveries).order_by(deliveries.c.last_seq.desc()).limit(1)).first()
    host = urlsplit(url).hostname or "its receiver"
    return Delivery(host, (line.problem or "") if line else "", line.next_at if line else None)
