"""Who says it: the tests of outcomes over those of everyone, of each sender alone, and of all but that sender.

Not here: the tests (`monitoring.concept`), or which outcomes count (`monitoring.outcomes`). Pure. A change of the
world shows in the outcomes of whoever sends them. One that a single sender has made up, or mistaken, shows in its own
outcomes and is gone from those of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import msgspec
import numpy as np

from homeostat.errors import StateError
from homeostat.monitoring.concept import (
    Concept,
    advance_concept,
    alarm_at,
    begin_concept,
    begin_with,
    concept_from_bytes,
    concept_to_bytes,
    current_values,
    is_reached,
    still_contradicts,
)
from homeostat.monitoring.dating import N_BETS, N_MARKS, Dated, Outcomes, Run, advance_dated, begin_dated, count_since
from homeostat.records import Floats, Mask
from homeostat.training.evaluation import Labels

# Outcomes from which on a sender is one of those among whom the chance of an error is divided.
MIN_OUTCOMES = 30
# Senders that are told apart; those that come later count as one.
MOST = 20
POOLED = "(other sources)"
VERSION = 2
# Doubles, the least significant byte first: the same on every machine.
EXACT = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class Source:
    """One sender: the tests over its outcomes, and over those of all others.

    `last` is the observed number of its newest outcome. `took` is how many outcomes its run had when its own tests
    reached their threshold, 0 before. `is_named`: only its outcomes contradict the release, and that has been told.
    """

    own: Dated
    rest: Concept
    last: int
    took: int
    is_named: bool


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the outcomes of a watch say: those of everyone, and by sender, in the order in which senders appeared."""

    everyone: Dated
    sources: Mapping[str, Source]


def begin_hearing(probabilities: Floats, labels: Labels) -> Hearing:
    """Return all tests before their first row; the arguments are those of `begin_concept`."""
    return Hearing(begin_dated(begin_concept(probabilities, labels)), {})


# --- going on -----------------------------------------------------------------------------------------------------


def advance_hearing(hearing: Hearing, outcomes: Outcomes, senders: Sequence[str], *, alpha: float) -> Hearing:
    """Return all tests after some more outcomes; `senders` says of each who has sent it."""
    if not senders:
        return hearing
    before, known = hearing.everyone.concept, hearing.sources
    names = list(dict.fromkeys([*known, *senders]))[:MOST]
    told_apart = np.array([sender if sender in names else POOLED for sender in senders])
    begun = Source(begin_dated(begin_with(before.reference)), before, 0, 0, is_named=False)
    needed = source_alarm_at(known, alpha=alpha)
    advanced = {
        name: advance_source(known.get(name, begun), outcomes, told_apart == name, needed=needed)
        for name in dict.fromkeys([*known, *told_apart.tolist()])
    }
    everyone = advance_dated(hearing.everyone, outcomes, needed=alarm_at(alpha))
    return name_sources(Hearing(everyone, advanced), alpha=alpha)


def advance_source(source: Source, outcomes: Outcomes, is_own: Mask, *, needed: float) -> Source:
    """Return what is known of a sender after some more outcomes of everyone."""
    own, others = outcomes.chosen(is_own), outcomes.chosen(~is_own)
    return replace(
        source,
        own=advance_dated(source.own, own, needed=needed),
        rest=advance_concept(source.rest, others.probabilities, others.labels),
        last=int(own.numbers[-1]) if len(own.numbers) else source.last,
    )


def source_alarm_at(sources: Mapping[str, Source], *, alpha: float) -> float:
    """Return the e-value from which on a sender's own tests are alarmed (Bonferroni).

    All senders together err with at most `alpha` if they are there from the beginning; one that begins as the n-th
    adds at most `alpha` / n.
    """
    return alarm_at(alpha) * max(1, sum(source.own.concept.n_rows >= MIN_OUTCOMES for source in sources.values()))


def name_sources(hearing: Hearing, *, alpha: float) -> Hearing:
    """Return the same with those senders marked whose outcomes contradict the release while the others' do not."""
    needed = source_alarm_at(hearing.sources, alpha=alpha)
    marked = {}
    for name, source in hearing.sources.items():
        reached = is_reached(source.own.concept, needed)
        took = source.took or (count_since(source.own)["n_rows"] if reached else 0)
        # The others must have had the chance to say so too, as many outcomes since then, and rather say the opposite.
        has_chance = 0 < took <= others_since(hearing, source)
        is_alone = has_chance and bool(current_values(source.rest).max() < 1)
        marked[name] = replace(source, took=took, is_named=source.is_named or (reached and is_alone))
    return replace(hearing, sources=marked)


def others_since(hearing: Hearing, source: Source) -> int:
    """Return how many outcomes of others have been judged since a sender's run began."""
    run, n_everyone = source.own.run, hearing.everyone.concept.n_rows
    return 0 if run is None else n_everyone - run.place - (source.own.concept.n_rows - run.n_rows)


# --- what it comes to ---------------------------------------------------------------------------------------------


def count_sources(hearing: Hearing, *, since: int) -> int:
    """Return how many senders have had an outcome judged from an observed number on."""
    return sum(source.last >= since for source in hearing.sources.values())


def find_carriers(hearing: Hearing, *, alpha: float, risk_counts: bool) -> list[str]:
    """Return the senders without whose outcomes the tests do not contradict the release."""
    needed = alarm_at(alpha)
    sources = hearing.sources.items()
    return [name for name, source in sources if not still_contradicts(source.rest, needed, risk_counts=risk_counts)]


# --- kept ---------------------------------------------------------------------------------------------------------


def hearing_to_bytes(hearing: Hearing) -> bytes:
    """Return all tests as bytes, exactly."""
    sources = [
        [name, dated_to_list(source.own), concept_to_bytes(source.rest), source.last, source.took, source.is_named]
        for name, source in hearing.sources.items()
    ]
    return msgspec.msgpack.encode([VERSION, dated_to_list(hearing.everyone), sources])


def dated_to_list(dated: Dated) -> list[object]:
    """Return dated tests as a list of plain values."""
    run = None if dated.run is None else astuple(dated.run)
    # As they are in memory: the loop reads them on every turn, and a thousand numbers one by one take milliseconds.
    arrays = [np.asarray(array, dtype=EXACT).tobytes() for array in (dated.gains, dated.marks)]
    return [concept_to_bytes(dated.concept), *arrays, run]


def hearing_from_bytes(content: bytes) -> Hearing:
    """Return the tests that `hearing_to_bytes` wrote; StateError if another version did."""
    version, *fields = msgspec.msgpack.decode(content)
    if version != VERSION:
        raise StateError(
            problem=f"the state of the tests of outcomes has version {version}",
            expected=f"version {VERSION}",
            action="use the Homeostat that wrote it, or promote another release: tests then begin anew",
        )
    everyone, sources = fields
    return Hearing(
        dated_from_list(*everyone),
        {
            name: Source(dated_from_list(*own), concept_from_bytes(rest), last, took, is_named)
            for name, own, rest, last, took, is_named in sources
        },
    )


def dated_from_list(concept: bytes, gains: bytes, marks: bytes, run: list[Any] | None) -> Dated:
    """Return what `dated_to_list` has made a list of."""
    return Dated(
        concept_from_bytes(concept),
        np.frombuffer(gains, dtype=EXACT),
        np.frombuffer(marks, dtype=EXACT).reshape(N_BETS, N_MARKS),
        None if run is None else Run(*run),
    )
