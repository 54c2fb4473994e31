"""The documentation is held true: what the code has, the pages name, and what the pages name exists."""

import inspect
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from homeostat import errors
from homeostat.cli import MODULES, group
from homeostat.monitoring.metrics import Metrics
from homeostat.settings import FeatureSettings, Section, Settings

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "homeostat"
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def mapped_files() -> set[str]:
    """Return the files that the map of the source tree in the README lists, relative to the package."""
    tree = (ROOT / "README.md").read_text().split("```text\nsrc/homeostat/\n")[1].split("```")[0]
    files, folder = set(), ""
    for line in tree.splitlines():
        name = line.split()[0]
        indent = len(line) - len(line.lstrip())
        folder = "" if indent == 2 else folder
        if name.endswith("/"):
            folder = name
        else:
            files.add(folder + name)
    return files


def test_the_map_in_the_readme_lists_exactly_the_source_files() -> None:
    present = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    present = {name for name in present if not name.endswith(("__init__.py", "__main__.py"))}

    assert mapped_files() == present


def test_every_setting_is_in_the_reference() -> None:
    named = [field.annotation for name, field in Settings.model_fields.items() if name != "features"]
    sections: list[type[Section]] = [k for k in named if isinstance(k, type) and issubclass(k, Section)]
    sections.append(FeatureSettings)
    keys = {key for section in sections for key in section.model_fields}

    assert [key for key in sorted(keys) if f"| `{key}` |" not in REFERENCE] == []


def test_every_metric_is_in_the_reference() -> None:
    families = [family.name for family in Metrics().registry.collect() if family.name.startswith("homeostat_")]

    assert [name for name in families if name not in REFERENCE] == []


def test_every_kind_of_event_is_in_the_reference() -> None:
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    kinds = set(re.findall(r'append_event\(\s*\w+,\s*"(\w+)"', text))

    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in REFERENCE] == []


def test_every_error_code_is_in_the_reference() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HomeostatError)]

    assert [kind.code for kind in kinds if f"`{kind.code}`" not in REFERENCE] == []


def test_the_tree_on_top_of_the_errors_names_every_error() -> None:
    kinds = [
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HomeostatError)
    ]

    assert [name for name in kinds if not re.search(rf"\b{name}\b", str(errors.__doc__))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]

    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("command", MODULES)
def test_every_command_explains_itself_and_is_in_the_readme(command: str) -> None:
    result = CliRunner().invoke(group, [command, "--help"])

    assert result.exit_code == 0
    assert f"`homeostat {command}" in (ROOT / "README.md").read_text()
