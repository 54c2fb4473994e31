"""An explanation in one sentence: which values moved an answer most, or the change between two releases.

Not here: the figures (`deployment.explaining`). Pure.
"""

import math
from collections.abc import Sequence

from homeostat.records import Json

# The parts that a sentence names, and the size in log-odds below which none is worth naming.
MAX_NAMED = 3
SMALL = 0.005
# Characters of a value, and letters of a digest, in a sentence.
SHOWN, SHORT = 40, 12


def describe_answer(answer: Json) -> str:
    """Return which values moved an answer away from that of the average training row."""
    average = 1 / (1 + math.exp(-answer["base"]))
    begin = f"The probability is {answer['probability']:.3f}, that of the average training row {average:.3f}"
    named, rest = split(answer["contributions"], "contribution")
    if not named:
        return f"{begin}: no value moves it."
    words = listed([f"{name_value(part)} ({part['contribution']:+.2f})" for part in named])
    others = f"; all others together {sum(one['contribution'] for one in rest):+.2f}" if rest else ""
    return f"{begin}. What moves the log-odds most: {words}{others}."


def describe_change(before: Json, after: Json, change: Json) -> str:
    """Return what moved an answer between two releases."""
    of = f"From release {before['release'][:SHORT]} to {after['release'][:SHORT]} the probability"
    figures = f"{before['probability']:.3f} to {after['probability']:.3f}"
    named, rest = split(change["differences"], "difference")
    if not named and abs(change["base"]) < SMALL:
        return f"{of} stays as it is ({figures})."
    verb = "rises" if change["log_odds"] > 0 else "falls"
    words = [f"what {name_value(part)} adds ({part['difference']:+.2f})" for part in named]
    words += [f"the average row ({change['base']:+.2f})"] if abs(change["base"]) >= SMALL else []
    others = f"; all others together {sum(one['difference'] for one in rest):+.2f}" if rest else ""
    moved = f"{of} {verb} from {figures} ({change['log_odds']:+.2f} in log-odds)"
    return f"{moved}. The largest parts: {listed(words)}{others}."


def split(parts: Sequence[Json], key: str) -> tuple[Sequence[Json], Sequence[Json]]:
    """Return the parts that are named, of those that come largest first, and the rest."""
    n_named = sum(abs(part[key]) >= SMALL for part in parts[:MAX_NAMED])
    return parts[:n_named], parts[n_named:]


def name_value(part: Json) -> str:
    """Return a feature with its value, in words."""
    return f"{part['feature']} {'' if part['missing'] else '= '}{show_value(part)}"


def show_value(part: Json) -> str:
    """Return the value of a part in words, cut if it is long."""
    if part["missing"]:
        return "not measured"
    value = part["value"]
    text = f"{value:.6g}" if isinstance(value, float | int) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def listed(words: Sequence[str]) -> str:
    """Return words with commas between them, and `and` before the last."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
