"""What `homeostat init` proposes, and homeostat.toml as the text that says it, each guess with its reason beside it.

Not here: the guesses (`cli.init`). The text is read back as settings before it is written.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from homeostat.data.detection import Detected
from homeostat.project import schema_of
from homeostat.records import Feature, Target
from homeostat.settings import parse_settings
from homeostat.store.blobs import write_durably
from homeostat.validation.guesses import Guess, in_digits

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
HEAD = "# Written by `homeostat init`. Every guess has its reason beside it: read it, correct what is wrong."


@dataclass(frozen=True, slots=True)
class Proposal:
    """A project as a data file suggests it: how the file is written, its columns in order, its target and why."""

    detected: Detected
    guesses: list[Guess]
    target: Target
    reason: str


def project_name(folder: Path) -> str:
    """Return the folder's name with a dash for whatever a project's name cannot hold."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._")[:60] or "project"


def locate(data: Path, folder: Path) -> str:
    """Return the data's path as the settings should hold it: relative if it lies below the project."""
    resolved, root = data.resolve(), folder.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(resolved)


def render_settings(name: str, data: str, proposal: Proposal) -> str:
    """Return the text of homeostat.toml: the project, the features in the order of the file, then what is left out."""
    target = proposal.target
    dialect, reasons = proposal.detected.dialect, proposal.detected.reasons
    lines = [HEAD, "[project]", f"name = {quote(name)}", f"data = [{quote(data)}]"]
    lines += [f"{key} = {quote(getattr(dialect, key))}  # {comment(reason)}" for key, reason in reasons.items()]
    values = f"{quote(target.negative)}, {quote(target.positive)}"
    lines.append(f"target = {quote(target.name)}")
    lines.append(f"target_values = [{values}]  # negative, positive: {comment(proposal.reason)}")
    for guess in proposal.guesses:
        if guess.feature is not None:
            lines += ["", *(f"# {comment(words)}" for words in guess.reasons), *render_feature(guess.feature)]
    left = [guess for guess in proposal.guesses if guess.feature is None]
    if left:
        lines += ["", "# Not used. To use a column all the same, write its table as those above."]
    for guess in left:
        reason, *more = guess.reasons
        lines += [f"# {quote(guess.column)} is {comment(reason)}", *(f"#   {comment(words)}" for words in more)]
    moments = [guess.column for guess in left if guess.is_moment]
    if moments:
        lines += [
            "",
            "# To learn from older rows and be judged on newer ones, never at random:",
            "# [training]",
        ]
        lines.append(f"# time = {quote(moments[0])}")
    return "\n".join(lines) + "\n"


def render_feature(feature: Feature) -> list[str]:
    """Return the table of one feature."""
    key = feature.name if BARE_KEY.fullmatch(feature.name) else quote(feature.name)
    lines = [f"[features.{key}]", f'kind = "{feature.kind}"']
    if feature.kind == "numeric":
        ends = [in_digits(end) for end in (feature.low, feature.high) if end is not None]
        lines.append(f"range = [{', '.join(ends)}]")
    if feature.missing:
        lines.append(f"missing = [{', '.join(map(quote, feature.missing))}]")
    if feature.booleans is not None:
        lines.append(f"booleans = [{', '.join(map(quote, feature.booleans))}]")
    return lines


def quote(value: float | str) -> str:
    """Return a value as TOML has it."""
    if not isinstance(value, str):
        return in_digits(float(value))
    # JSON leaves the one control character that TOML escapes and it does not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def comment(words: str) -> str:
    """Return words that stay on the line of their comment, whatever a cell holds."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)


def write_project(path: Path, text: str) -> None:
    """Write homeostat.toml whole or not at all, after reading it back as settings."""
    schema_of(parse_settings(tomllib.loads(text)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".incomplete")
    write_durably(temporary, text.encode(), place="settings_file.write")
    temporary.rename(path)
