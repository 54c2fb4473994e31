"""What `homeostat doctor` finds: one sentence about one thing, how bad it is, and what to do.

Not here: looking (`cli.installation`, `cli.reachability`, `cli.condition`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from homeostat.errors import HomeostatError

State: TypeAlias = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `action` is empty where nothing need be done."""

    group: str
    name: str
    state: State
    sentence: str
    action: str = ""


Findings: TypeAlias = Iterator[Finding]


def refused(group: str, name: str, error: HomeostatError) -> Finding:
    """Return the finding that an error on purpose is."""
    return Finding(group, name, "wrong", f"{error.problem}; expected {error.expected}", error.action)
