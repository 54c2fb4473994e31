"""How the command line shows things to a person.

Not here: what is shown.
"""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from homeostat.cli.terminal import is_watched, wants_colour

# Width when the output is no terminal: wide enough that no table folds its figures.
PLAIN_WIDTH = 140


class Screen(Console):
    """A console whose broken pipe ends the command as any other does (`cli.endings`)."""

    def on_broken_pipe(self) -> None:
        """Go on with the error: rich would end the process with the code of a refusal."""
        raise BrokenPipeError


def new_console(*, stderr: bool = False) -> Console:
    """Return a console: coloured and as wide as the terminal, or plain and wide."""
    stream = sys.stderr if stderr else sys.stdout
    return Screen(
        stderr=stderr,
        width=None if stream is not None and stream.isatty() else PLAIN_WIDTH,
        highlight=False,
        force_terminal=wants_colour(stream),
        no_color=not wants_colour(stream),
        color_system="auto" if wants_colour(stream) else None,
        force_interactive=is_watched(stream),
    )


def new_table(*columns: str) -> Table:
    """Return a quiet table with these headings."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
