"""Every command explains itself: a summary, options with defaults, an example that its own parser takes; and fast."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import click
import pytest

from homeostat.cli import MODULES, SECTIONS, group
from tests.cli.commands import homeostat

# A command that stands in the help before its module does tells so when it is used.
WRITTEN = [name for name, (module, _) in MODULES.items() if find_spec(f"homeostat.cli.{module}")]


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(below, (*path, name))


COMMANDS = {
    " ".join(path): command
    for name in WRITTEN
    for path, command in walk(group.get_command(click.Context(group), name) or group, (name,))
}


def examples(command: click.Command) -> list[str]:
    """Return the examples in a command's help, each on one line."""
    paragraphs = [" ".join(text.split()) for text in str(command.help).split("\n\n")]
    return [text.removeprefix("Example: ") for text in paragraphs if text.startswith("Example: ")]


def test_the_help_of_the_group_shows_every_command_in_the_sections_of_the_story() -> None:
    done = homeostat("--help")

    titles = re.findall(r"^(\w+):$", done.stdout, re.MULTILINE)
    assert (done.returncode, titles) == (0, ["Options", *SECTIONS])
    assert re.findall(r"^  ([a-z]+)  ", done.stdout, re.MULTILINE) == list(MODULES)


def test_the_help_of_the_group_imports_no_command_and_none_of_the_libraries_they_need() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']; from homeostat.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    ours = {name for name in loaded if name.startswith("homeostat.")}
    edge = {f"homeostat.cli.{name}" for name in ("completion", "endings", "terminal")}
    assert ours == {"homeostat.cli", "homeostat.errors", *edge}
    assert not loaded & {"numpy", "polars", "rich", "sqlalchemy", "pydantic", "onnxruntime"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_its_first_sentence_what_it_does_and_of_each_option_what_it_is(name: str) -> None:
    command = COMMANDS[name]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]

    assert re.match(r"[A-Z].*[.:]", str(command.help).split("\n\n")[0], re.DOTALL)
    assert [one.name for one in options if not str(one.help or "").strip().endswith((".", "]"))] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_that_its_own_parser_takes(name: str) -> None:
    found = examples(COMMANDS[name])

    assert found
    for example in found:
        words = shlex.split(example)
        assert words[:2] == ["homeostat", name.split(maxsplit=1)[0]]
        command, arguments = group.get_command(click.Context(group), words[1]), words[2:]
        while isinstance(command, click.Group):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        # Parsing only: options, arguments and choices are looked at, nothing runs. What is left over would be an error.
        assert command is not None
        command.make_context(example, arguments)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)])
def test_a_default_is_shown_where_there_is_one(name: str) -> None:
    command = COMMANDS[name]
    with click.Context(command, info_name=name, **group.context_settings) as context:
        text = " ".join(command.get_help(context).split())

        shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden and not one.is_flag]
        defaults = [one.to_info_dict()["default"] for one in shown]

    assert [value for value in defaults if value not in (None, ()) and f"[default: {value}" not in text] == []
