"""The documentation is held true: what the code has, the pages name, and what the pages name exists."""

import ast
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from homeostat import errors
from homeostat.cli import MODULES, group
from homeostat.monitoring.metrics import Metrics
from homeostat.project import open_project
from homeostat.retraining.cycles import DECISIONS
from homeostat.settings import FeatureSettings, Section, Settings
from homeostat.store.event_kinds import EVENT_KINDS
from homeostat.store.events import read_events
from homeostat.store.keys import create_key
from homeostat.web.access import ROUTES
from homeostat.web.problems import HTTP_CODES
from tools import pictures, reference

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "homeostat"
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# How a cycle may end (`retraining.cycles.close_cycle`).
ENDS = ("promoted", "refused", "held", "rolled_back", "overtaken", "failed")


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


def test_the_reference_says_what_the_code_says() -> None:
    assert reference.renew(REFERENCE) == REFERENCE, "run `make reference`"


def test_every_setting_says_what_it_means() -> None:
    named = [field.annotation for name, field in Settings.model_fields.items() if name != "features"]
    sections: list[type[Section]] = [k for k in named if isinstance(k, type) and issubclass(k, Section)]
    sections.append(FeatureSettings)
    fields = [(key, one) for section in sections for key, one in section.model_fields.items()]

    assert [key for key, one in fields if not one.description] == []


def test_every_route_is_in_the_reference_and_says_what_it_does() -> None:
    lines = reference.write_routes().splitlines()[2:]

    assert {line.split("`")[1].partition(" ")[2] for line in lines} == set(ROUTES)
    assert [line for line in lines if not line.split("|")[3].strip()] == []


def test_every_metric_is_in_the_reference() -> None:
    families = [family.name for family in Metrics().registry.collect() if family.name.startswith("homeostat_")]

    assert [name for name in families if name not in REFERENCE] == []


def test_every_kind_of_event_is_described() -> None:
    appended = set()
    for path in SOURCE.rglob("*.py"):
        appended |= kinds_appended_in(path)

    assert appended | {"retrain_decided", *DECISIONS.values(), *(f"cycle_{one}" for one in ENDS)} == set(EVENT_KINDS)


def kinds_appended_in(path: Path) -> set[str]:
    """Return the kinds of events that a file appends by name, or by a constant of its own."""
    tree = ast.parse(path.read_text())
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    kinds = [node.args[1] for node in calls if isinstance(node.func, ast.Name) and node.func.id == "append_event"]
    found = {one.value for one in kinds if isinstance(one, ast.Constant)}
    return {str(one) for one in found | {constants.get(one.id) for one in kinds if isinstance(one, ast.Name)} if one}


def test_every_event_of_a_first_training_has_the_keys_that_are_described(trained_project: Path) -> None:
    with open_project(trained_project) as project:
        with project.database.write("test") as connection:
            create_key(connection, "reader", frozenset({"read"}), now=datetime.now(UTC))
        with project.database.read() as connection:
            events = list(read_events(connection))

    wrong = [
        event.kind
        for event in events
        if not set(EVENT_KINDS[event.kind].keys)
        <= set(event.payload)
        <= {*EVENT_KINDS[event.kind].keys, *EVENT_KINDS[event.kind].sometimes}
    ]
    assert len({event.kind for event in events}) > 4
    assert wrong == []


def test_every_error_code_is_in_the_reference() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HomeostatError)]
    codes = {kind.code for kind in kinds if kind is not errors.HomeostatError}

    assert [code for code in sorted(codes) if f"| `{code}` |" not in REFERENCE] == []


def test_every_error_says_what_to_do() -> None:
    kinds = [kind for kind in reference.walk(errors.HomeostatError) if kind is not errors.HomeostatError]

    assert [kind.__name__ for kind in kinds if "To do: " not in " ".join(str(kind.__doc__).split())] == []


def test_every_code_that_only_http_has_is_described() -> None:
    text = "\n".join(path.read_text() for path in (SOURCE / "web").glob("*.py"))
    used = set(re.findall(r'"((?:row|label|request|route|method|parameter|database)-[a-z-]+)"', text))

    assert used & {"row-rejected", "route-missing"} == {"row-rejected", "route-missing"}
    assert used - set(HTTP_CODES) - {kind.code for kind in reference.walk(errors.HomeostatError)} == set()


def test_the_tree_on_top_of_the_errors_names_every_error() -> None:
    kinds = [
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HomeostatError)
    ]

    assert [name for name in kinds if not re.search(rf"\b{name}\b", str(errors.__doc__))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]

    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("command", MODULES)
def test_every_command_explains_itself_and_is_in_the_readme(command: str) -> None:
    result = CliRunner().invoke(group, [command, "--help"])

    assert result.exit_code == 0
    assert f"`homeostat {command}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["ks", "calibration", "gate", "cbpe"])
def test_the_pictures_of_the_statistics_are_what_the_code_draws(name: str, tmp_path: Path) -> None:
    drawn = pictures.draw(name, tmp_path).read_text()

    assert drawn == (pictures.FOLDER / f"{name}.svg").read_text(), "run `make pictures`"


def test_every_picture_is_shown_and_loads_nothing() -> None:
    page = (ROOT / "docs" / "statistics.md").read_text()

    assert [name for name in pictures.PICTURES if f"(pictures/{name}.svg)" not in page] == []
    assert [path.name for path in pictures.FOLDER.glob("*.svg") if "<image" in path.read_text()] == []
