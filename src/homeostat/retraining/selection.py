"""Which labelled predictions may be used now, and why the others may not.

Not here: reading them (`monitoring.production`), or the training set that they go into (`retraining.training_data`).
Pure. The rules hold alike for the rows that are trained on and for those that judge, in this order:

quarantine, schema
    The outcome is younger than `retraining.quarantine_s`; the schema of today no longer accepts the row or its outcome.
    Both are known where the log is read, and counted there.
leakage
    A row of the training side has the features of an anchor row; or an earlier one, of the other side, has them.
duplicate
    The same source has sent the same features with the same outcome before.
window
    Only the newest `retraining.data` are used, of one of several sources at most its share of them.
source_cap
    One of several sources gives at most `retraining.max_source_share` of what is used.

Copies are told from habit by the project's own table: where that repeats itself, because it holds a few categories,
equal rows are what the rates are learned from, and nothing is left out as leakage or duplicate.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from homeostat.data.snapshots import FILE, PRODUCTION, identify_rows, take_labelled
from homeostat.records import LabelledRows, Mask
from homeostat.settings import RetrainingSettings

# A table of which more than this share of the rows equal another one repeats itself.
USUAL_COPIES = 0.01
# Outcomes from which on a sender is one of several.
MIN_SENT = 30
# A third of three rows is one row.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Offered:
    """Labelled predictions in the order of the log; `contents` names the features, `senders` who sent the outcome.

    No sender: the row was in an earlier training set, and its outcome has been deleted since.
    """

    places: NDArray[np.int64]
    ids: Sequence[str]
    contents: Sequence[str]
    labels: Sequence[int]
    sides: Sequence[str]
    senders: Sequence[str | None]

    def take(self, kept: Mask) -> "Offered":
        """Return the rows of a mask, shape (n_rows,)."""
        lists = {
            name: [value for value, chosen in zip(getattr(self, name), kept, strict=True) if chosen]
            for name in ("ids", "contents", "labels", "sides", "senders")
        }
        return replace(self, places=self.places[kept], **lists)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is used: how many predictions were left out by reason, and how many each source gave.

    `kept` has shape (n_rows,); rows of files are always kept. `single_source`: there were not two known sources, so
    that no cap applied.
    """

    kept: Mask
    left_out: Mapping[str, int]
    sources: Mapping[str, int]
    single_source: bool


def select_labels(rows: LabelledRows, senders: Mapping[str, str], settings: RetrainingSettings) -> Selection:
    """Return which labelled predictions may be used.

    Parameters
    ----------
    rows
        Rows of files and labelled predictions, each prediction once, in any order.
    senders
        Who sent the outcome of each prediction, by its id. One that has none here was in an earlier training set and
        its outcome was deleted since: it counts for no source, and no cap reaches it.
    settings
        How many are used at most, and the largest share of one source.
    """
    files = take_labelled(rows, np.asarray(rows.origins == FILE, dtype=np.bool_))
    offered = offer(rows, senders)
    n_sources = len(set(find_major(offered.senders)) - {None})
    left_out: dict[str, int] = {}
    for reason, rule in rules_of(files, settings, n_sources=n_sources):
        kept = rule(offered)
        left_out[reason] = int((~kept).sum())
        offered = offered.take(kept)
    chosen = np.asarray(rows.origins == FILE, dtype=np.bool_)
    chosen[offered.places] = True
    given = Counter(sender for sender in offered.senders if sender is not None)
    return Selection(
        chosen,
        {reason: n for reason, n in left_out.items() if n},
        dict(sorted(given.items())),
        n_sources < 2,  # noqa: PLR2004
    )


def offer(rows: LabelledRows, senders: Mapping[str, str]) -> Offered:
    """Return the labelled predictions among rows, in the order of the log."""
    places = np.flatnonzero(rows.origins == PRODUCTION)
    places = places[np.lexsort((rows.ids[places].astype(str), rows.seqs[places]))]
    contents = identify_rows({name: array[places] for name, array in rows.columns.items()})
    ids = rows.ids[places].tolist()
    labels, sides = rows.labels[places].tolist(), rows.sides[places].tolist()
    return Offered(places, ids, contents.tolist(), labels, sides, [senders.get(row_id) for row_id in ids])


def rules_of(
    files: LabelledRows, settings: RetrainingSettings, *, n_sources: int
) -> list[tuple[str, Callable[[Offered], Mask]]]:
    """Return the rules by the reason that they give, in the order in which they are applied."""
    share = settings.max_source_share
    rules: list[tuple[str, Callable[[Offered], Mask]]] = []
    if not repeats_itself(files):
        sides = dict(zip(files.ids.tolist(), files.sides.tolist(), strict=True))
        rules += [("leakage", lambda offered: find_unleaked(offered, sides)), ("duplicate", find_first)]
    newest = settings.data
    if newest != "all":
        rules.append(
            ("window", lambda offered: find_newest(offered.senders, n_rows=newest, share=share, n_sources=n_sources))
        )
    rules.append(("source_cap", lambda offered: cap_sources(offered.ids, offered.senders, share=share)))
    return rules


def repeats_itself(files: LabelledRows) -> bool:
    """Return whether equal rows are usual in the project's own table; the id of such a row is that of its features."""
    n_rows = len(files.ids)
    return n_rows - len(set(files.ids.tolist())) > USUAL_COPIES * n_rows


def find_unleaked(offered: Offered, sides: Mapping[str, str]) -> Mask:
    """Return which rows are not trained on while equal ones judge, nor judge while equal ones are trained on.

    `sides` holds those of the files' rows by their contents. Of equal rows on two sides the first stays: a sender
    cannot remove another's row by sending a copy of it.
    """
    first = dict(sides)
    kept = [
        (side == "recent" and first.get(content) == "anchor") or first.setdefault(content, side) == side
        for content, side in zip(offered.contents, offered.sides, strict=True)
    ]
    return np.array(kept, dtype=np.bool_)


def find_first(offered: Offered) -> Mask:
    """Return which rows are the first that their sender has sent with these features and this outcome."""
    seen: set[tuple[str, int, str | None]] = set()
    kept = np.ones(len(offered.ids), dtype=np.bool_)
    for place, line in enumerate(zip(offered.contents, offered.labels, offered.senders, strict=True)):
        kept[place] = line not in seen
        seen.add(line)
    return kept


def find_newest(senders: Sequence[str | None], *, n_rows: int, share: float, n_sources: int) -> Mask:
    """Return which rows, in the order of the log, are the newest `n_rows`, of one source at most its share of them.

    Without that share, a source that floods the log would push all others out of the window, and then be alone.
    """
    most = max(1, int(largest_share(share, n_sources=n_sources) * n_rows + ROUNDING))
    senders = find_major(senders)
    taken: Counter[str] = Counter()
    kept = np.zeros(len(senders), dtype=np.bool_)
    for place in range(len(senders) - 1, -1, -1):
        sender = senders[place]
        if n_rows == 0:
            break
        if sender is None or taken[sender] < most:
            kept[place], n_rows = True, n_rows - 1
            taken.update([] if sender is None else [sender])
    return kept


def cap_sources(ids: Sequence[str], senders: Sequence[str | None], *, share: float, least: int = MIN_SENT) -> Mask:
    """Return which rows stay so that no one of several sources gives more than `share` of those that stay.

    As many stay as possible: the fixed point at which what the others give, after their own caps, allows no more. Of
    fewer sources than such shares fill, each may give as much as the others. Which rows of a source stay is decided by
    a hash of their ids, which the service has issued: no sender can choose.
    """
    senders = find_major(senders, least=least)
    counts = Counter(sender for sender in senders if sender is not None)
    limit = largest_count(list(counts.values()), share=share, n_other=len(senders) - counts.total())
    ranked = sorted(range(len(ids)), key=lambda place: rank(ids[place]))
    taken: Counter[str] = Counter()
    kept = np.ones(len(ids), dtype=np.bool_)
    for place in ranked:
        sender = senders[place]
        if sender is not None:
            kept[place] = taken[sender] < limit
            taken[sender] += 1
    return kept


def find_major(senders: Sequence[str | None], *, least: int = MIN_SENT) -> list[str | None]:
    """Return the senders, None for one who has sent fewer than `least` outcomes, too few to be one of several.

    The rule compares each with what the others give: a second key that was tried once would leave two rows in use.
    """
    counts = Counter(senders)
    return [sender if counts[sender] >= least else None for sender in senders]


def largest_count(counts: Sequence[int], *, share: float, n_other: int) -> int:
    """Return how many rows each source may give at most; `n_other` rows come from no known source."""
    limit = max(counts, default=0)
    share = largest_share(share, n_sources=len(counts))
    if share >= 1:
        return limit
    while limit > (allowed := int(share * (sum(min(n, limit) for n in counts) + n_other) + ROUNDING)):
        limit = allowed
    return limit


def largest_share(share: float, *, n_sources: int) -> float:
    """Return what one of so many sources may give: all if it is alone, and never less than an equal part."""
    return 1.0 if n_sources < 2 else max(share, 1 / n_sources)  # noqa: PLR2004  alone


def rank(row_id: str) -> bytes:
    """Return what decides which rows of a capped source stay: random, and the same whenever it is asked."""
    return hashlib.blake2b(row_id.encode(), digest_size=8, person=b"source cap").digest()
