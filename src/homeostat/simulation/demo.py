"""The demonstration: one turn of the whole loop on a synthetic clinic, every claim measured.

Not here: the clinic (`simulation.cohort`), the wire (`simulation.traffic`), the report (`simulation.report`). Service
and loop run as the real process that `homeostat up` starts; the story speaks to it over HTTP, and reads what it left.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from homeostat.data.columns import unstack_rows
from homeostat.data.csv_files import CsvSource
from homeostat.data.sources import as_cells
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import list_promotions, list_releases
from homeostat.errors import StateError
from homeostat.loop import begin_by_hand, tick
from homeostat.monitoring.drift_checks import list_drift_checks
from homeostat.project import Project, open_project
from homeostat.records import Columns, Json, Label, Row
from homeostat.retraining.cycles import HAND, list_cycles
from homeostat.retraining.labelled_tables import read_labels
from homeostat.simulation.cohort import AGED, Cohort, Labels, draw_aged, draw_impossible, draw_ordinary, fit_cohort
from homeostat.simulation.installation import install, wait_until
from homeostat.simulation.traffic import Clinic, Sent, Stream
from homeostat.store.events import read_events
from homeostat.training.evaluation import auc
from homeostat.training.scoring import Graph
from homeostat.validation.checks import check_table

WINDOW = 200
ORDINARY_WINDOWS = 4
IMPOSSIBLE_ROWS = 14
# Aged patients that come before any of their outcomes does, and those whose outcomes arrive.
EARLY_WINDOWS = 2
LABELLED_ROWS = 700
QUIET_WINDOWS = 3
FRESH_ROWS = 20_000
# Patients a second while the loop retrains: enough to notice a failed request, little enough to leave it the machine.
PER_SECOND = 60.0
STREAM_ROWS = 20_000
# Patients that still come after the swap, before the story looks back at it.
AFTER_SWAP = 100
CHECK_S = 60.0
RETRAIN_S = 240.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What the demonstration claims, what was measured, and whether it held."""

    claim: str
    measured: str
    held: bool


@dataclass(slots=True)
class Story:
    """A run of the demonstration: where it is told, its patients, what it claims, and what the report draws."""

    project: Project
    cohort: Cohort
    rng: np.random.Generator
    console: Console
    claims: list[Claim] = field(default_factory=list)
    facts: Json = field(default_factory=dict)

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def say(self, text: str) -> None:
        """Tell a sentence."""
        self.console.print(f"  {text}", highlight=False)

    def claim(self, claim: str, measured: str, *, held: bool) -> None:
        """Claim something, and tell whether it held."""
        self.claims.append(Claim(claim, measured, held))
        self.say(f"{'[green]✓[/]' if held else '[red]✗[/]'} {claim}: {measured}")

    def labels(self, outcomes: Labels) -> list[Label]:
        """Return outcomes as the target's values."""
        target = self.project.schema.target
        return [target.positive if outcome else target.negative for outcome in outcomes]


def run_story(folder: Path, *, seed: int, console: Console, keep: bool) -> Story:
    """Run the whole story in an initialised scratch project without a release, and return what was found.

    Parameters
    ----------
    folder
        A project folder on a table with the Pima columns.
    seed
        Of the clinic's patients.
    console
        Where the story is told.
    keep
        Leave service and loop running.
    """
    with open_project(folder) as project:
        story = Story(project, meet_clinic(project), np.random.default_rng(seed), console)
        tell_training(story)
        with install(folder, keep=keep) as running:
            story.facts["address"], story.facts["process"] = running.address, running.process.pid
            story.chapter("Service and loop")
            story.say(f"`homeostat up` runs as process {running.process.pid} and answers at {running.address}.")
            with Clinic(running.address) as clinic:
                tell_ordinary(story, clinic)
                tell_impossible(story, clinic)
                tell_drift(story, clinic)
                tell_retraining(story, clinic, running.address)
                tell_quiet(story, clinic)
            if not keep:
                code = running.stop()
                story.claim("SIGTERM drains the service and ends it", f"exit code {code}", held=code == 0)
        tell_worth(story)
    return story


def meet_clinic(project: Project) -> Cohort:
    """Return the clinic fitted to the project's own table."""
    schema = project.schema
    frame = CsvSource(project.folder / project.settings.project.data[0]).read()
    checked = check_table(as_cells(frame, {f.name: f.kind for f in schema.features}), schema)
    outcomes = read_labels(frame[schema.target.name].to_list(), schema.target)
    return fit_cohort(checked.columns, outcomes[checked.accepted], schema)


def tell_training(story: Story) -> None:
    """Train release 1 by the loop's own steps."""
    story.chapter("Release 1: learn from the table")
    started = time.monotonic()
    begin_by_hand(story.project, reason="the first release, asked for by hand")
    with story.console.status("searching, fitting, packing, judging ..."):
        for done in tick(story.project):
            story.say(done.sentence)
    seconds = time.monotonic() - started
    with story.project.database.read() as connection:
        promotions = list_promotions(connection)
    story.claim(
        "From the table to a release in production, search included", f"{seconds:.0f} s", held=len(promotions) == 1
    )


def send_rows(story: Story, clinic: Clinic, columns: Columns, what: str) -> Sent:
    """Send rows one by one; the answers are in the order of the rows, or StateError is raised."""
    sent = Sent()
    for row in track(unstack_rows(columns), what, console=story.console, transient=True):
        clinic.send(row, sent)
    if sent.failures:
        raise StateError(
            problem=f"{len(sent.failures)} patients were not answered, the first with {sent.failures[0]}",
            expected="an answer to each",
            action="see up.log in the project",
        )
    return sent


def await_checks(story: Story, n_checks: int) -> list[Json]:
    """Return the drift checks once there are `n_checks` of them."""

    def look() -> list[Json] | None:
        with story.project.database.read() as connection:
            checks = list_drift_checks(connection)
        return checks if len(checks) >= n_checks else None

    return wait_until(look, what=f"drift check {n_checks}", patience_s=CHECK_S)


def tell_ordinary(story: Story, clinic: Clinic) -> None:
    """Let an ordinary month pass: the population that the table came from."""
    story.chapter("An ordinary month")
    columns, outcomes = draw_ordinary(story.cohort, ORDINARY_WINDOWS * WINDOW, story.rng)
    sent = send_rows(story, clinic, columns, "ordinary patients")
    clinic.label(sent.ids, story.labels(outcomes))
    n_rows = len(outcomes)
    median_ms = 1000 * float(np.median(sent.latencies_s))
    story.claim(
        "Every ordinary patient is answered, and every answered row is in the log",
        f"{len(sent.ids)} of {n_rows}, median {median_ms:.1f} ms",
        held=len(sent.ids) == n_rows and clinic.get("/v1/status")["log"]["predictions"] == n_rows,
    )
    checks = await_checks(story, ORDINARY_WINDOWS)
    story.claim("No drift is declared", describe_scores(checks), held=not any(check["fired"] for check in checks))
    story.facts["ordinary"] = columns


def describe_scores(checks: Sequence[Json]) -> str:
    """Return the scores of some checks with their boundary."""
    scores = ", ".join(f"{check['score']:.3f}" for check in checks)
    return f"score {scores} (boundary {checks[-1]['report']['boundary']:g})"


def tell_impossible(story: Story, clinic: Clinic) -> None:
    """Send rows that no patient can have."""
    story.chapter("Impossible rows")
    before = clinic.get("/v1/status")["log"]["predictions"]
    named = 0
    for impossible in draw_impossible(story.cohort, IMPOSSIBLE_ROWS, story.rng):
        response = clinic.predict(dict(impossible.row))
        reasons = response.json().get("rejected", [{}])
        named += response.status_code == 422 and reasons[0].get("column") == impossible.column  # noqa: PLR2004  HTTP
        if named == 1:
            story.say(f"For example: {reasons[0]}")
    counted = clinic.get("/v1/status")["log"]["predictions"] - before
    story.claim(
        "Each impossible row is refused with the column, value, rule and range, and none counts as drift",
        f"{named} of {IMPOSSIBLE_ROWS} refused, {counted} counted",
        held=named == IMPOSSIBLE_ROWS and counted == 0,
    )


def tell_drift(story: Story, clinic: Clinic) -> None:
    """Let the population age: three of eight features move."""
    story.chapter("An older, heavier population with higher glucose")
    columns, outcomes = draw_aged(story.cohort, STREAM_ROWS, story.rng)
    story.facts["aged"], story.facts["outcomes"] = columns, outcomes
    early = {name: values[: EARLY_WINDOWS * WINDOW] for name, values in columns.items()}
    story.facts["early"] = send_rows(story, clinic, early, "aged patients")
    checks = await_checks(story, ORDINARY_WINDOWS + EARLY_WINDOWS)[ORDINARY_WINDOWS:]
    fired = [check for check in checks if check["fired"]]
    drifted = {f["name"] for f in fired[0]["report"]["features"] if f["drifted"]} if fired else set()
    story.claim(
        "Drift is declared within the second window, and names what moved",
        f"{describe_scores(checks)}; first: {', '.join(sorted(drifted)) or 'nothing'}",
        held=bool(fired) and drifted >= set(AGED),
    )
    waiting = wait_until(
        lambda: find_decision(story, "wait"), what="the decision to wait for outcomes", patience_s=CHECK_S
    )
    story.say(waiting)
    with story.project.database.read() as connection:
        cycles = len(list_cycles(connection))
    story.claim(
        "Without outcomes of the aged patients the loop waits and says so",
        waiting.partition(", but ")[2],
        held=cycles == 1,
    )


def find_decision(story: Story, action: str) -> str | None:
    """Return the sentence of the newest decision of one kind, None if there was none."""
    with story.project.database.read() as connection:
        found = [
            e.payload["sentence"] for e in read_events(connection, kind="decision") if e.payload["action"] == action
        ]
    return found[-1] if found else None


def tell_retraining(story: Story, clinic: Clinic, address: str) -> None:
    """Let the outcomes arrive while patients keep coming, until the loop has replaced the model."""
    story.chapter("Outcomes arrive; the loop retrains and replaces the model under traffic")
    first = EARLY_WINDOWS * WINDOW
    rows: list[Row] = unstack_rows({name: values[first:] for name, values in story.facts["aged"].items()})
    outcomes = story.labels(story.facts["outcomes"])
    early: Sent = story.facts["early"]
    with Stream(address, rows, per_second=PER_SECOND) as stream:
        clinic.label(early.ids, outcomes[: len(early.ids)])
        late = LABELLED_ROWS - len(early.ids)
        with story.console.status("patients come, outcomes follow ..."):
            wait_until(lambda: len(stream.sent.ids) >= late or None, what="patients", patience_s=CHECK_S)
            clinic.label(stream.sent.ids[:late], outcomes[first : first + late])
        with story.console.status("snapshot, search, fit, track, gate, promotion, swap ..."):
            wait_until(lambda: find_swap(clinic, stream.sent), what="release 2 to answer", patience_s=RETRAIN_S)
            swapped = len(stream.sent.ids)
            wait_until(lambda: len(stream.sent.ids) > swapped + AFTER_SWAP or None, what="more", patience_s=CHECK_S)
    story.facts["stream"] = stream.sent
    with story.project.database.read() as connection:
        for event in read_events(connection):
            if event.kind == "retrain_decided" and event.payload["trigger"] != HAND:
                story.say(event.payload["reason"])
            for criterion in event.payload.get("criteria", []):
                if criterion["name"] in {"anchor", "recent"}:
                    story.say(criterion["sentence"])
    tell_swap(story, stream.sent)


def find_swap(clinic: Clinic, sent: Sent) -> bool | None:
    """Return True once the service answers patients with the release of the second promotion."""
    promotions = clinic.get("/v1/history")["promotions"]
    return (len(promotions) > 1 and sent.releases[-1] == promotions[-1]["release"]) or None


def tell_swap(story: Story, sent: Sent) -> None:
    """Claim what a swap under traffic must keep."""
    switched = [before != after for before, after in itertools.pairwise(sent.releases)]
    story.claim(
        "No request fails while the model is replaced",
        f"{len(sent.ids)} answered, {len(sent.failures)} failed, 99th percentile "
        f"{1000 * float(np.percentile(sent.latencies_s, 99)):.0f} ms",
        held=not sent.failures and sum(switched) == 1,
    )
    with story.project.database.read() as connection:
        checks = list_drift_checks(connection)
        promoted = list_promotions(connection)[-1]
    first = next(check for check in checks if check["fired"])
    story.say(f"Drift was declared at {first['checked_at'][11:19]} and answered at {promoted.decided_at:%H:%M:%S} UTC.")


def tell_quiet(story: Story, clinic: Clinic) -> None:
    """Let the aged population go on, now measured against itself."""
    story.chapter("After the one shift: quiet")
    used = EARLY_WINDOWS * WINDOW + len(story.facts["stream"].ids)
    n_rows = (QUIET_WINDOWS + 1) * WINDOW
    columns = {name: values[used : used + n_rows] for name, values in story.facts["aged"].items()}
    send_rows(story, clinic, columns, "aged patients")

    def look() -> list[Json] | None:
        with story.project.database.read() as connection:
            checks = list_drift_checks(connection, epoch=2)
        return checks if len(checks) >= QUIET_WINDOWS else None

    checks = wait_until(look, what="the windows after the swap", patience_s=CHECK_S)
    with story.project.database.read() as connection:
        story.facts["checks"] = list_drift_checks(connection)
        retrainings = len(list_cycles(connection)) - 1
    story.claim(
        "Exactly one retraining, then quiet windows",
        f"{retrainings} retraining; {len(checks)} windows, highest score {max(c['score'] for c in checks):.3f}",
        held=retrainings == 1 and not any(check["fired"] for check in checks),
    )


def tell_worth(story: Story) -> None:
    """Compare both releases on fresh patients of the new population."""
    story.chapter("Was it worth it?")
    columns, outcomes = draw_aged(story.cohort, FRESH_ROWS, story.rng)
    with story.project.database.read() as connection:
        registered = list_releases(connection)
    found = []
    for entry in registered:
        release = open_release(find_release(entry.digest, story.project.blobs))
        found.append(auc(outcomes, Graph(release.graph, release.schema).score(columns).astype(np.float64)))
    story.facts["auc"] = found
    story.claim(
        f"The new release is better on {FRESH_ROWS:,} fresh patients of the new population",
        f"AUC {found[0]:.3f} -> {found[-1]:.3f}",
        held=len(found) > 1 and found[-1] > found[0],
    )
