"""Whether a person looks on: colours, and lines that move, only where they are seen.

Not here: what is shown (`cli.output`). `NO_COLOR` and `FORCE_COLOR` are those of https://no-color.org and
https://force-color.org: any text that is not empty, and the first of them wins.
"""

import os
from typing import TextIO


def wants_colour(stream: TextIO | None) -> bool:
    """Return whether escape codes may be written to a stream; None is one that was closed before the process began."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_watched(stream)


def is_watched(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move its cursor; colours that are forced make none of a file."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
