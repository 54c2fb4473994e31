"""Homeostat from Python: a project in a notebook or a script, by the same code as the commands.

Not here: any work of a stage, or what the results look like (`homeostat.results`). Every method opens the project, does
one thing and closes it again: nothing is held between two cells, and a service or a loop may run beside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from homeostat import results
from homeostat.cli import drift as drift_command
from homeostat.cli import requests as asked_by_hand
from homeostat.cli import train as train_command
from homeostat.cli.init import propose_project
from homeostat.cli.loop import telling
from homeostat.cli.proposal import locate, project_name, render_settings, write_project
from homeostat.data.columns import unstack_rows
from homeostat.data.sources import as_cells, source_dialect
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.batch import score_source
from homeostat.deployment.explaining import explain_rows, open_explained
from homeostat.deployment.history import read_moves
from homeostat.deployment.registry import current_promotion, list_releases, require_production, resolve_release
from homeostat.deployment.serving import load_release
from homeostat.errors import SettingsInvalid
from homeostat.frames import (
    Table,
    frame_answers,
    frame_explanations,
    frame_features,
    frame_labels,
    frame_moves,
    frame_releases,
    frame_violations,
    open_table,
    write_table,
)
from homeostat.loop import begin_by_hand, tick
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.entries import Entries, to_microseconds
from homeostat.monitoring.outcome_checks import describe_current_outcomes
from homeostat.monitoring.predictions import write_entries
from homeostat.monitoring.verdicts import headline, list_verdicts
from homeostat.project import dialect_of, read_settings, schema_of
from homeostat.project import open_project as opened
from homeostat.records import Dialect, Json, Row, Schema
from homeostat.retraining.given_tables import check_source, label_source
from homeostat.retraining.requests import Asked, find_request
from homeostat.settings import FILE_NAME
from homeostat.simulation.backtest import OWN, run_backtest
from homeostat.simulation.history import Names, read_history
from homeostat.simulation.replay import Approvals
from homeostat.validation.checks import require_columns
from homeostat.web.answers import judge_rows


def quiet(_sentence: str) -> None:
    """Say nothing."""


def create_project(
    folder: str | Path, data: str | Path, *, target: str, name: str | None = None, force: bool = False
) -> "Project":
    """Infer a schema from a file of data, write `homeostat.toml` with the reason of each guess, and open the project.

    Parameters
    ----------
    folder
        Where the project shall live; made if it is not there.
    data
        A CSV or Parquet file with a header.
    target
        The outcome column, of two values.
    name
        The project's name, the folder's by default.
    force
        Replace settings that are there already.

    Raises
    ------
    SettingsInvalid
        There is a `homeostat.toml` already.
    SourceUnreadable, ColumnMissing, TargetInvalid
        The file is no table, has no such column, or its outcome has not two values.
    """
    folder, data = Path(folder), Path(data).resolve()
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise SettingsInvalid(
            problem=f"{path} exists already", expected="a folder without one", action="pass force=True to replace it"
        )
    text = render_settings(name or project_name(folder), locate(data, folder), propose_project(data, target))
    write_project(path, text)
    return open_project(folder)


def open_project(folder: str | Path = ".") -> "Project":
    """Return the project in a folder, its settings looked at.

    Raises
    ------
    ProjectMissing
        There is no `homeostat.toml`.
    SettingsInvalid
        `homeostat.toml` or an environment variable is wrong.
    """
    schema_of(read_settings(Path(folder)))
    return Project(Path(folder).resolve())


def read_rows(table: Table, schema: Schema, dialect: Dialect) -> list[Row]:
    """Return the rows of a table as they would be sent to the service; ColumnMissing if a feature has no column."""
    kinds = {feature.name: feature.kind for feature in schema.features}
    source = open_table(table, dialect, list(kinds))
    frame = source.read()
    require_columns(frame.columns, list(kinds))
    return unstack_rows(as_cells(frame, kinds, source_dialect(source)))


@dataclass(frozen=True, slots=True)
class Project:
    """A project, by its folder. Every method raises a HomeostatError in three parts for what is not a defect.

    A table is a polars DataFrame, anything with `__arrow_c_stream__`, a pandas DataFrame, a mapping of column names to
    lists, or the path of a CSV or Parquet file. None and NaN mean missing.
    """

    folder: Path

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the input columns, in schema order."""
        return tuple(feature.name for feature in schema_of(read_settings(self.folder)).features)

    @property
    def target(self) -> str:
        """The name of the outcome column."""
        return read_settings(self.folder).project.target

    def check(self, table: Table) -> results.Check:
        """Hold a table against the schema, its outcomes too if it has them; ColumnMissing if a column is not there."""
        settings = read_settings(self.folder)
        schema = schema_of(settings)
        source = open_table(table, dialect_of(settings), [feature.name for feature in schema.features])
        found = check_source(source, schema)
        violations = frame_violations(found["violations"])
        return results.Check(found["rows"], found["accepted"], found["rejected"], violations)

    def train(self, *, reason: str = "asked for from Python", say: Callable[[str], None] = quiet) -> results.Settled:
        """Run the loop's own steps once: snapshot, search, fit, track, gate, promote. Seconds to minutes.

        Parameters
        ----------
        reason
            Kept in the history.
        say
            Told the sentence of each step as it ends, such as `print`.

        Raises
        ------
        DataInsufficient, TargetInvalid, ColumnMissing
            There is nothing to learn from the project's files.
        TrainingFailed
            The training process ended without a release.
        """
        steps, outcome = [], None
        with opened(self.folder) as project, telling(project):
            begin_by_hand(project, reason=reason)
            for advance in train_command.turn(project):
                say(advance.sentence)
                steps.append(advance.sentence)
                outcome = advance.outcome
        return results.Settled(outcome, tuple(steps))

    def predict(self, table: Table) -> pl.DataFrame:
        """Return the table with the answers of the release in production; nothing is kept of them.

        The columns predicted_probability (of the positive class, in 0-1), predicted_label and rejected_because (null if
        the row was accepted) are added; rows stay in their order.

        Raises
        ------
        ReleaseMissing
            Nothing is in production yet.
        ColumnMissing
            A feature has no column.
        """
        with opened(self.folder) as project:
            with project.database.read() as connection:
                promotion = require_production(connection)
            release = open_release(find_release(promotion.release, project.blobs))
        names = [feature.name for feature in release.schema.features]
        return score_source(release, open_table(table, dialect_of(project.settings), names))[0]

    def answer(self, table: Table) -> pl.DataFrame:
        """Answer rows as the service does, and keep them: what the loop watches, and what outcomes are told of.

        Returns one line for each row, in order: id (to be used with `label`; null if rejected), probability, label (as
        text) and rejected_because. Errors as `predict`.
        """
        now = datetime.now(UTC)
        with opened(self.folder) as project:
            with project.database.read() as connection:
                promotion = require_production(connection)
            live = load_release(project.blobs, promotion)
            rows = read_rows(table, live.schema, dialect_of(project.settings))
            judged = judge_rows(rows, live, received_at=to_microseconds(now))
            with project.database.write("answer") as connection:
                write_entries(connection, [Entries(judged.predicted, judged.rejected)])
        return frame_answers(judged.results)

    def explain(self, table: Table, *, release: int | str | None = None) -> pl.DataFrame:
        """Return why rows are answered as they are, by the release in production or another (number or digest).

        One line for each row and feature, those that add most first: row (counted from 1), probability, feature, value
        (as text), missing, and contribution, in log-odds; with the base, the contributions of a row add up to its
        answer. Rejected rows have no line.

        Raises
        ------
        ReleaseMissing
            There is no such release, or none in production.
        ReleaseUnexplained
            It holds no native model that can be explained.
        """
        with opened(self.folder) as project:
            with project.database.read() as connection:
                name = require_production(connection).release if release is None else str(release)
                digest = resolve_release(connection, name).digest
            explained = open_explained(find_release(digest, project.blobs))
            rows = read_rows(table, explained.release.schema, dialect_of(project.settings))
        return frame_explanations(explain_rows(rows, explained))

    def label(self, table: Table, *, source: str = "python") -> pl.DataFrame:
        """Record outcomes: a table with the columns `id` (of an answered row) and `label`.

        Returns one line for each outcome, in order: id, label, status (recorded, repeated, conflicting, unknown or
        invalid) and standing, the label that counts from now on. ColumnMissing if a column is not there.
        """
        with opened(self.folder) as project:
            outcomes = open_table(table, dialect_of(project.settings), ["id", "label"])
            target, now = project.schema.target, datetime.now(UTC)
            found = label_source(project.database, outcomes, target=target, sender=source, now=now)
        return frame_labels(found)

    def tick(self, *, say: Callable[[str], None] = quiet) -> tuple[str, ...]:
        """Advance the loop until it is idle and return what was done, a sentence each: watch, decide, perhaps retrain.

        LeaseHeld if another loop is acting on the project.
        """
        sentences = []
        with opened(self.folder) as project, telling(project):
            for advance in tick(project):
                say(advance.sentence)
                sentences.append(advance.sentence)
        return tuple(sentences)

    def drift(self) -> results.Drift | None:
        """Return the newest drift check, None if no window of answered rows has been checked yet (`tick` does)."""
        with opened(self.folder) as project, project.database.read() as connection:
            check, alerts = latest_drift_check(connection), drift_command.alerts_now(connection)
        if check is None:
            return None
        guarded = check["report"].get("guarded") or {}
        return results.Drift(
            score=check["score"],
            fired=check["fired"],
            evident=bool(guarded.get("fired")),
            headline=headline(check),
            features=frame_features(check),
            verdicts=tuple(f"{verdict.judge}: {verdict.sentence}" for verdict in list_verdicts(check)),
            alerts=tuple(alert["sentence"] for alert in alerts),
            report={**check, "alerts": alerts},
        )

    def performance(self) -> Json:
        """Return how well the release in production predicts: expected, and measured by outcomes.

        The object is that of `homeostat performance --json`: `estimated`, `checks`, `judged` and `waiting`.
        """
        with opened(self.folder) as project, project.database.read() as connection:
            return describe_current_outcomes(connection)

    def releases(self) -> pl.DataFrame:
        """Return the releases, oldest first: number, digest, production, created_at, family, and AUC on the anchor."""
        with opened(self.folder) as project, project.database.read() as connection:
            found, promotion = list_releases(connection), current_promotion(connection)
        return frame_releases(found, live=promotion.release if promotion else None)

    def history(self) -> pl.DataFrame:
        """Return who was in production when, and why: epoch, release, how, decided_at, until, actor, reason."""
        with opened(self.folder) as project, project.database.read() as connection:
            return frame_moves(read_moves(connection))

    def promote(self, release: int | str, *, reason: str) -> results.Settled:
        """Take a release (number, digest or its beginning) to the gate, and into production if it passes."""
        return self._ask("promote", str(release), reason)

    def approve(self, release: int | str | None = None, *, reason: str) -> results.Settled:
        """Approve a release that passed the gate and waits; None means the one that waits."""
        return self._ask("approve", None if release is None else str(release), reason)

    def rollback(self, *, reason: str) -> results.Settled:
        """Go back to the last good release; the one in production is barred until new labels arrive."""
        return self._ask("rollback", None, reason)

    def _ask(self, kind: Asked, name: str | None, reason: str) -> results.Settled:
        with opened(self.folder) as project:
            actor = asked_by_hand.who().replace("cli", "python", 1)
            request = asked_by_hand.ask_by_hand(project, kind, name=name, reason=reason, actor=actor)
            steps = tuple(asked_by_hand.turn(project, request))
            with project.database.read() as connection:
                outcome = find_request(connection, request.id).outcome
        return results.Settled(None if outcome == "begun" else outcome, steps)

    def replay(
        self, stream: Table, labels: Table | None = None, *, delay_s: float = 0.0, approvals: Approvals = "grant"
    ) -> results.Replay:
        """Run the real loop over recorded history, in a scratch copy of the project under the clock of the rows.

        Parameters
        ----------
        stream
            The rows, oldest first. The columns row_id and event_time are used if they are there; else rows are counted
            from 1 and stand a minute apart. Without `labels`, its target column holds the outcomes.
        labels
            Outcomes by `row_id`, in a column called as the target or `label`; `available_at` is when one was known.
        delay_s
            How many seconds after its row an outcome is known where no column says so.
        approvals
            What a person would have said to a release that waits for approval.
        """
        events: list[Json] = []
        with TemporaryDirectory(prefix="homeostat-replay-") as name:
            rows = write_table(stream, Path(name) / "stream.parquet")
            outcomes = None if labels is None else write_table(labels, Path(name) / "labels.parquet")
            settings = read_settings(self.folder)
            dialect = dialect_of(settings)
            history = read_history(rows, outcomes, schema_of(settings), Names(), delay_s=delay_s, dialect=dialect)
            found = run_backtest(
                self.folder,
                history,
                {},
                Path(name) / "scratch",
                approvals=approvals,
                tell=lambda _policy, line: events.append(line),
                progress=lambda _n_rows: None,
            )[OWN]
        answered = {"probability": found.replayed.answered, "first_release": found.replayed.without}
        answers = pl.DataFrame({"id": [str(one) for one in history.ids], **answered}).fill_nan(None)
        return results.Replay(answers, tuple(events), found.summary)
