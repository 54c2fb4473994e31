"""`homeostat replay`: the real loop over recorded history, and policies compared on it.

Not here: the run (`simulation.replay`), the figures (`simulation.replay_report`), the page (`simulation.replay_page`).
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from homeostat.cli import json_option, project_option
from homeostat.cli.drift import write_page
from homeostat.cli.output import new_console, new_table
from homeostat.cli.terminal import is_watched
from homeostat.errors import SettingsInvalid
from homeostat.project import dialect_of, read_settings, schema_of
from homeostat.records import Json
from homeostat.simulation.backtest import OWN, run_backtest
from homeostat.simulation.history import Names, read_history
from homeostat.simulation.replay import Approvals
from homeostat.simulation.replay_report import NEVER, compare
from homeostat.simulation.scratch import read_policy

# What is told of a line that is no check, in words: the first of these that it has.
TOLD = ("sentence", "reason", "release")
QUIET = frozenset({"rejected", "drift_checked", "summary"})
NAMES = {"accuracy": "accuracy", "auc": "AUC", "brier": "Brier", "log_loss": "log loss"}
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("replay")
@click.argument("stream", type=FILE)
@click.option("--labels", type=FILE, help="The outcomes, by the same ids.  [default: the target column of STREAM]")
@click.option("--id", "row_id", help="The column of ids.  [default: row_id, or rows counted from 1]")
@click.option("--time", "event_time", help="The column of moments.  [default: event_time, or rows a minute apart]")
@click.option("--available-at", help="When an outcome was known.  [default: available_at, or with its row]")
@click.option("--delay", "delay_s", type=click.FloatRange(min=0), default=0.0, help="Seconds, without such a column.")
@click.option("--source", help="The column that says who sent an outcome.")
@click.option("--approvals", type=click.Choice(["grant", "refuse"]), default="grant", help="What a person would say.")
@click.option("--compare", "policies", type=FILE, multiple=True, help="Settings to run the same history under.")
@click.option("--html", "page", type=FILE, help="Write a page with a plot to this file.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Leave the scratch projects here.")
@project_option
@json_option
def replay_command(
    stream: Path,
    labels: Path | None,
    *,
    row_id: str | None,
    event_time: str | None,
    available_at: str | None,
    delay_s: float,
    source: str | None,
    approvals: Approvals,
    policies: Sequence[Path],
    page: Path | None,
    keep: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Run the real loop over recorded history in a scratch copy of the project, under the clock of the rows.

    Everything is as it would have been: checks, drift, retrainings, gate, promotions, rollbacks. With --json one line
    for each event on standard output.

    Example: homeostat replay stream.csv --labels labels.csv --compare weekly.toml --html replay.html
    """
    names = Names(row_id, event_time, available_at, source)
    settings = read_settings(folder)
    dialect = dialect_of(settings)
    history = read_history(stream, labels, schema_of(settings), names, delay_s=delay_s, dialect=dialect)
    wishes = name_policies(policies)
    with scratch_folder(keep) as scratch, Teller(len(history), as_json=as_json, named=bool(wishes)) as teller:
        found = run_backtest(
            folder, history, wishes, scratch, approvals=approvals, tell=teller.tell, progress=teller.progress
        )
    compared = compare(
        {name: (one.replayed, one.summary) for name, one in found.items()},
        history,
        block=found[OWN].settings.monitoring.window,
    )
    if as_json and wishes:
        print_line(compared)
    console = new_console(stderr=as_json)
    show_comparison(console, compared)
    if len(found) == 1:
        show_releases(console, found[OWN].summary)
    if page is not None:
        from homeostat.simulation.replay_page import render_replay_page  # noqa: PLC0415  only this option draws

        write_page(page, render_replay_page(found, compared, history, project=folder.resolve().name))
        console.print(f"Plot: {escape(str(page))}", soft_wrap=True)


def name_policies(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the policies by the names of their files, which must differ."""
    named = {path.stem: read_policy(path) for path in paths}
    if len(named) < len(paths) or {OWN, NEVER} & set(named):
        raise SettingsInvalid(
            problem=f"the policies are called {', '.join(path.stem for path in paths)}",
            expected=f"files of different names, none of them {OWN} or {NEVER}",
            action="rename one",
        )
    return named


@contextmanager
def scratch_folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder for the scratch projects: one that stays, or one that is gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="homeostat-replay-") as name:
            yield Path(name)
        return
    if keep.exists() and any(keep.iterdir()):
        raise SettingsInvalid(
            problem=f"{keep} is not empty", expected="a new folder", action="name another with --keep, or none"
        )
    yield keep


class Teller:
    """Where a replay is told while it runs: each line as JSON, or in words on standard error, as its progress is."""

    def __init__(self, n_rows: int, *, as_json: bool, named: bool) -> None:
        self._console = new_console(stderr=True)
        self._n_rows, self._as_json, self._named = n_rows, as_json, named
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, console=self._console, transient=True, disable=as_json or not is_watched(sys.stderr)
        )
        self._task: TaskID | None = None

    def tell(self, policy: str, line: Json) -> None:
        """Tell one line of a policy."""
        if self._as_json:
            print_line({**line, "policy": policy} if self._named else line)
        elif line["event"] not in QUIET:
            self._console.print(in_words(line), soft_wrap=True)
        if line["event"] == "begun":
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(policy, total=self._n_rows)

    def progress(self, n_rows: int) -> None:
        """Tell how far the policy at hand has come."""
        if self._task is not None:
            self._bar.update(self._task, completed=n_rows)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def print_line(line: Json) -> None:
    """Print one line as JSON."""
    click.echo(json.dumps(line, allow_nan=False))


def in_words(line: Json) -> str:
    """Return a line for a person."""
    if line["event"] == "gate":
        words = "passed" if line["passed"] else "; ".join(c["sentence"] for c in line["criteria"] if not c["passed"])
    else:
        words = next((str(line[key]) for key in TOLD if line.get(key)), "")
    row = "the beginning" if line["row"] is None else f"row {line['row']}"
    return f"{line['time'][:16].replace('T', ' ')}  {row:>13}  [bold]{line['event']:<16}[/] {escape(words)}"


def show_comparison(console: Console, compared: Json) -> None:
    """Print the policies side by side."""
    table = new_table("policy", *("retrainings", "promotions", "rollbacks"), *NAMES.values(), "more rows wrong [95 %]")
    for policy in compared["policies"]:
        figures = [figure(policy["metrics"][name]) for name in NAMES]
        counts = [str(policy[name]) for name in ("retrainings", "promotions", "rollbacks")]
        table.add_row(escape(policy["policy"]), *counts, *figures, escape(difference(policy["more_wrong"])))
    console.print(table)
    n_rows = compared["policies"][0]["metrics"]["n"]
    console.print(f"Over {n_rows} answered rows with an outcome; more rows wrong than under the first line.")


def show_releases(console: Console, summary: Json) -> None:
    """Print each release in production, and how the first one would have done on its rows."""
    table = new_table("release", "rows", *NAMES.values(), *(f"{word} without" for word in NAMES.values()))
    for release in summary["metrics"]["releases"]:
        ours, first = release["with_updating"], release["without_updating"]
        figures = [figure(one[name]) for one in (ours, first) for name in NAMES]
        table.add_row(release["release"][:12], str(release["rows"]), *figures)
    console.print(table)
    retrainings = ", ".join(f"{count} by {trigger}" for trigger, count in summary["retrainings"].items())
    console.print(
        f"{summary['rows']} rows, {summary['rejected']} rejected; {summary['checks']} drift checks; "
        f"retrainings: {retrainings or 'none'}."
    )


def figure(value: float | None) -> str:
    """Return a figure, a dash for none."""
    return "-" if value is None else f"{value:.4f}"


def difference(estimate: Json | None) -> str:
    """Return a difference of counts with its interval."""
    return "-" if estimate is None else f"{estimate['value']:+.0f} [{estimate['low']:+.0f}, {estimate['high']:+.0f}]"
