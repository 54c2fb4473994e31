"""What the pages tell a reader to type exists: commands with their options, settings, metrics, files of others."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from mkdocs.utils.yaml import yaml_load

from homeostat.cli import group
from homeostat.settings import FeatureSettings, Settings, known_keys
from tests.tutorial_page import Block, read_blocks
from tools import reference

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
HOWTO = [page for page in DOCS if page.parent.name == "howto" or page.name == "tutorial.md"]
DASHBOARD = ROOT / "deploy" / "grafana" / "homeostat.json"
# A command ends where the shell, a comment or the sentence around it goes on.
COMMAND = re.compile(r"(?:^|[\s`(/\"])homeostat ([a-z][^`\n]*)")
END = re.compile(r"\s(?:#|\||>>?|&&|;|2>).*|[>;|].*$|\s{3,}.*")
SETTING = re.compile(r"`(\w+)\.(\w+)(?: = [^`]*)?`")
METRIC = re.compile(r"\bhomeostat_[a-z_]+\b")
# A name of the same form that is something else.
NO_METRICS = {"homeostat_churn", "homeostat_text_columns"}


def named(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


def commands_of(text: str) -> list[list[str]]:
    """Return the words of each command that a text names, behind `homeostat`."""
    found = [END.sub("", line).rstrip(" .,:)") for line in COMMAND.findall(text)]
    return [words for one in found if (words := split(one)) and words[0] in group.list_commands(click.Context(group))]


def split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a sentence with an apostrophe
        return text.rstrip("\"'").split()


def code_of(page: Path) -> str:
    """Return what a page shows as code: its blocks and what stands between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join(
        [*blocks, *re.findall(r"`(homeostat [^`\n]+)`", text), *re.findall(r"^    (.*)$", text, re.MULTILINE)]
    )


def find_unknown(words: list[str]) -> list[str]:
    """Return what of a command does not exist: the command below a group, or an option."""
    command = reference.named(group, click.Context(group), words[0])
    if isinstance(command, click.Group) and len(words) > 1 and re.fullmatch("[a-z]+", words[1]):
        if words[1] not in command.commands:
            return [" ".join(words[:2])]
        command = command.commands[words[1]]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    used = [re.split("[=|]", word)[0].strip("[]") for word in words if re.match(r"\[?--?[a-z]", word)]
    return [f"{words[0]} {one}" for one in used if one not in options]


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    assert [one for words in commands_of(code_of(page)) for one in find_unknown(words)] == []


@pytest.mark.parametrize("page", HOWTO, ids=named)
def test_every_command_to_be_typed_is_complete(page: Path) -> None:
    typed = [words for block in read_blocks(page) if block.language == "sh" for words in commands_of(block.text)]

    for words in typed:
        with click.Context(group) as context:
            name, command, rest = group.resolve_command(context, words)
            assert command is not None
            while isinstance(command, click.Group):
                name, command, rest = command.resolve_command(context, rest)
                assert command is not None
            command.make_context(name, list(rest), parent=context)


def test_a_command_that_does_not_exist_is_found() -> None:
    text = "homeostat keys make --name x\nhomeostat train --fast # quick\nhomeostat label a.csv | tee b"

    assert [find_unknown(words) for words in commands_of(text)] == [["keys make"], ["train --fast"], []]


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_every_setting_on_a_page_exists(page: Path) -> None:
    told = [(section, key) for section, key in SETTING.findall(page.read_text()) if section in Settings.model_fields]

    assert [f"{section}.{key}" for section, key in told if key not in known_keys([section])] == []


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_every_file_of_settings_on_a_page_has_known_keys(page: Path) -> None:
    for block in read_blocks(page):
        if block.language == "toml":
            assert unknown_keys(tomllib.loads(block.text)) == []


def unknown_keys(document: dict[str, dict[str, object]]) -> list[str]:
    known = {section: set(known_keys([section])) for section in Settings.model_fields}
    features = document.pop("features", {})
    wrong = [
        f"{section}.{key}" for section, table in document.items() for key in set(table) - known.get(section, set())
    ]
    tables = [table for table in features.values() if isinstance(table, dict)]
    return wrong + [str(key) for table in tables for key in set(table) - set(FeatureSettings.model_fields)]


@pytest.mark.parametrize("page", HOWTO, ids=named)
def test_every_file_of_another_program_can_be_read(page: Path) -> None:
    for block in read_blocks(page):
        read_block(block)


def read_block(block: Block) -> None:
    if block.language == "python":
        compile(block.text, block.title, "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        for document in block.text.split("\n---\n"):
            assert isinstance(yaml_load(document), dict)


@pytest.mark.parametrize("path", [*DOCS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    known = set(METRIC.findall(reference.write_metrics()))
    used = {re.sub("_(bucket|sum|count)$", "", name) for name in METRIC.findall(path.read_text())}

    assert sorted(used - known - NO_METRICS) == []
