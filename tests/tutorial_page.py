"""A page of the documentation as a program: its files, its commands, and what they should print.

Not here: which page. A block of code is what stands between two lines of backticks.
"""

import doctest
import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECOND_TERMINAL = "second terminal"
MARK = "<<< block {} >>>"
# What a second terminal is waited for, and how it is ended.
BEHIND = """( {commands} ) >second.log 2>&1 & second=$!
trap 'kill $second; wait $second' EXIT
until curl -sf {address}/readyz >/dev/null; do kill -0 $second; sleep 0.2; done
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page."""

    language: str
    title: str
    text: str


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    return [Block(language, title, text) for language, title, text in BLOCK.findall(page.read_text())]


def write_files(blocks: list[Block], folder: Path) -> None:
    """Write each block that is a file."""
    for block in blocks:
        if block.title and block.language != "sh":
            (folder / block.title).write_text(block.text)


def write_script(blocks: list[Block], *, address: str) -> str:
    """Return all commands as one script that prints a mark before each block."""
    lines = ["set -eu"]
    for number, block in enumerate(blocks):
        if block.language != "sh":
            continue
        commands = block.text.strip()
        lines.append(f"echo '{MARK.format(number)}'")
        lines.append(put_behind(commands, address=address) if block.title == SECOND_TERMINAL else commands)
    return "\n".join(lines)


def put_behind(commands: str, *, address: str) -> str:
    """Return commands as they run in another terminal; the last of them gets the signal that ends it."""
    *before, last = commands.splitlines()
    return BEHIND.format(commands="\n".join([*before, f"exec {last}"]), address=address)


def split_output(output: str) -> dict[int, str]:
    """Return what each block of commands printed, by its number."""
    parts = re.split(MARK.format(r"(\d+)"), output)
    return {int(number): text.strip("\n") for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def find_differences(blocks: list[Block], printed: dict[int, str]) -> list[str]:
    """Return what was promised after a block of commands and not printed; `...` stands for anything."""
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return [
        f"expected:\n{block.text}\nprinted:\n{printed[number - 1]}"
        for number, block in enumerate(blocks)
        if block.language == "text" and not checker.check_output(block.text, printed.get(number - 1, ""), flags)
    ]
