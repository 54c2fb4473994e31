"""What the functions of `homeostat.api` return: frozen records, and how a notebook shows them.

Not here: where the figures come from (`homeostat.api`). A table is a DataFrame of polars, which notebooks show.
"""

from dataclasses import dataclass
from html import escape

import polars as pl

from homeostat.records import Json


@dataclass(frozen=True, slots=True)
class Check:
    """A table held against the schema.

    `violations` has the columns row (counted from 1), column, value (as text), rule and expected: one line for each
    broken rule, none if every row is accepted.
    """

    rows: int
    accepted: int
    rejected: int
    violations: pl.DataFrame

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(f"{self.rows} rows, {self.accepted} accepted, {self.rejected} rejected", table=self.violations)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of something that was asked of the loop.

    `outcome` is `promoted`, `rolled_back`, `held` (it waits for approval), `rejected` (by the gate) or another word of
    the loop; None while a loop that runs elsewhere has not carried it out. `steps` tells each step in a sentence.
    """

    outcome: str | None
    steps: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """Whether production was moved to a release that passed the gate."""
        return self.outcome == "promoted"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(f"Outcome: {self.outcome or 'not carried out yet'}", *self.steps)


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest drift check.

    `score` is the share of drifted features, in 0-1; `fired` whether it exceeds the boundary; `evident` whether the
    guarded trigger found evidence for it. `features` has the columns feature, drifted, shift, test, statistic, p_value
    and evidence (null while it is gathered), what matters most first. `verdicts` and `alerts` are sentences; `report`
    is everything that was stored, as `homeostat drift --json` prints it.
    """

    score: float
    fired: bool
    evident: bool
    headline: str
    features: pl.DataFrame
    verdicts: tuple[str, ...]
    alerts: tuple[str, ...]
    report: Json

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(self.headline, *self.verdicts, *self.alerts, table=self.features)


@dataclass(frozen=True, slots=True)
class Replay:
    """What the loop would have done over recorded history.

    `answers` has a line for each row of the history, in its order: its id, the probability that it was answered with
    (null if it was rejected) and that of the first release. `events` are the lines that `homeostat replay --json`
    prints; `summary` is the last of them: rows, rejected, checks, retrainings, promotions, rollbacks, metrics.
    """

    answers: pl.DataFrame
    events: tuple[Json, ...]
    summary: Json

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        counts = ", ".join(f"{self.summary[name]} {name}" for name in ("rows", "rejected", "promotions", "rollbacks"))
        metrics = self.summary["metrics"]
        lines = [{"production": "with updating", **metrics["with_updating"]}]
        lines.append({"production": "the first release alone", **metrics["without_updating"]})
        return as_html(f"Replayed: {counts}", table=pl.DataFrame(lines))


def as_html(title: str, *sentences: str, table: pl.DataFrame | None = None) -> str:
    """Return a title, sentences and a table as HTML; everything that came from data is escaped."""
    parts = [f"<p><b>{escape(title)}</b></p>", *(f"<p>{escape(sentence)}</p>" for sentence in sentences)]
    if table is not None and table.height:
        # polars escapes the cells itself.
        parts.append(table._repr_html_())
    return "".join(parts)
