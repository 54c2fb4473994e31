"""Accounts of rows and outcomes: what was acknowledged, what a database file keeps, and what is lost between the two.

Not here: sending (`load`). A file is read as any other program would read it, with none of our code.
"""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

DATABASE = Path(".homeostat") / "homeostat.db"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ids of answered rows, and outcomes by the id of their prediction."""

    ids: list[str] = field(default_factory=list)
    labels: dict[str, object] = field(default_factory=dict)

    def add(self, other: "Ledger") -> None:
        """Take over the entries of another ledger."""
        self.ids.extend(other.ids)
        self.labels.update(other.labels)

    @property
    def n_entries(self) -> int:
        """Rows and outcomes."""
        return len(self.ids) + len(self.labels)


def read_ledger(database: Path) -> Ledger:
    """Return what a database file keeps; AssertionError if it is damaged."""
    with closing(sqlite3.connect(database)) as connection:
        # What is lost is lost before this; syncing what the recovery of a copy writes would only take time.
        connection.execute("PRAGMA synchronous=OFF")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ids = [line[0] for line in connection.execute("SELECT id FROM predictions ORDER BY seq")]
        labels = dict(connection.execute("SELECT prediction, label FROM labels"))
    return Ledger(ids, {prediction: json.loads(label) for prediction, label in labels.items()})


def find_lost(acknowledged: Ledger, kept: Ledger) -> list[str]:
    """Return the ids that are not kept exactly once, and those whose outcome is not kept as it was acknowledged."""
    counts = Counter(kept.ids)
    lost = [name for name in acknowledged.ids if counts[name] != 1]
    return lost + [name for name, label in acknowledged.labels.items() if kept.labels.get(name) != label]
