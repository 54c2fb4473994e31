"""Write the tables of docs/reference.md from the code: settings, routes, metrics, events, error codes, commands.

Not here: what they say. A setting, a metric, an event, an error or an option is described where it is defined. Text
outside the marks `<!-- generated: NAME -->` and `<!-- end -->` is written by hand and stays.
"""

import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from fastapi import FastAPI
from prometheus_client.metrics import MetricWrapperBase
from starlette.routing import Mount, Route

from homeostat import errors
from homeostat.cli import MODULES, group
from homeostat.monitoring.metrics import Metrics
from homeostat.monitoring.state_metrics import LABELS, StateCollector
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.settings import VARIABLE_PREFIX, FeatureSettings, Section, Settings
from homeostat.store.event_kinds import EVENT_KINDS
from homeostat.web.access import OPEN, ROUTES
from homeostat.web.app import create_app
from homeostat.web.problems import ANSWERS, HTTP_CODES

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
# The smallest project there can be: the routes are the same for every one.
PROJECT = '[project]\nname = "reference"\ndata = ["none.csv"]\ntarget = "y"\n[features.x]\nrange = [0, 1]\n'
# Routes without a summary of their own.
SUMMARIES = {
    "/": "The first page",
    "/docs": "The description of the routes, as a page",
    "/docs/oauth2-redirect": "Part of that page",
    "/openapi.json": "The description of the routes, as OpenAPI",
}
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; a bar in a cell is written so that it ends none."""
    lines = [list(headings)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("|--- |", "|---|") for line in lines)


def code(text: object) -> str:
    """Return text as code, an empty one as nothing."""
    return f"`{text}`" if text not in {None, ""} else ""


# --- settings -----------------------------------------------------------------------------------------------------


def write_settings() -> str:
    """Return a table for each section of homeostat.toml."""
    parts = []
    for name, field in Settings.model_fields.items():
        section = FeatureSettings if name == "features" else field.annotation
        assert isinstance(section, type)  # noqa: S101  Settings holds sections
        assert issubclass(section, Section)  # noqa: S101  as above
        title = "features.NAME" if name == "features" else name
        parts.append(f"### `[{title}]`\n\n{section.__doc__}\n\n{write_section(name, section)}")
    return "\n\n".join(parts)


def write_section(name: str, section: type[Section]) -> str:
    """Return the table of one section: key, type and range, default, meaning, variable."""
    properties: Json = section.model_json_schema()["properties"]
    required = {key for key, field in section.model_fields.items() if field.is_required()}
    rows = []
    for key, schema in properties.items():
        default = "required" if key in required else code(as_toml(schema.get("default"))) or "none"
        variable = code(f"{VARIABLE_PREFIX}{name}__{key}".upper()) if name != "features" else ""
        rows.append([code(key), describe_type(schema), default, schema.get("description", ""), variable])
    headings = ["key", "type", "default", "meaning", "variable"]
    return table(headings, rows) if name != "features" else table(headings[:-1], (row[:-1] for row in rows))


def describe_type(schema: Json) -> str:
    """Return what a JSON Schema admits, in words."""
    if "anyOf" in schema:
        return " or ".join(describe_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(code(f'"{one}"') for one in schema["enum"])
    if "const" in schema:
        return code(f'"{schema["const"]}"')
    if schema["type"] == "array":
        return describe_list(schema)
    words = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false"}[schema["type"]]
    bounds = [f"{word} {schema[bound]:g}" for bound, word in BOUNDS if bound in schema]
    bounds += [f"{schema[key]} characters {side}" for key, side in LENGTHS if key in schema and schema[key] > 1]
    bounds += [f"matching `{schema['pattern']}`"] if "pattern" in schema else []
    return ", ".join([words, *bounds])


LENGTHS = (("minLength", "at least"), ("maxLength", "at most"))


def describe_list(schema: Json) -> str:
    """Return what a JSON Schema of a list admits, in words."""
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: each {describe_type(schema['prefixItems'][0])}"
    return f"list of {describe_type(schema['items'])}"


def as_toml(value: object) -> str:
    """Return a default as it would stand in homeostat.toml; nothing for none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return f"{value:g}" if isinstance(value, float) and value < MANY_DIGITS else str(value).lower()


MANY_DIGITS = 1e6


# --- routes -------------------------------------------------------------------------------------------------------


def write_routes() -> str:
    """Return the table of routes: every line of the table of access, with what the application says of it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "homeostat.toml").write_text(PROJECT)
        with open_project(Path(folder)) as project:
            said = describe_routes(create_app(project))
    rows = []
    for path, scopes in ROUTES.items():
        scope = "open" if scopes is OPEN else " or ".join(map(code, sorted(scopes)))
        rows += [[code(f"{method} {path}"), scope, summary] for method, summary in sorted(said[path].items())]
    return table(["route", "scope", "does"], rows)


def describe_routes(app: FastAPI) -> dict[str, dict[str, str]]:
    """Return the methods of each path, each with its summary."""
    said: dict[str, dict[str, str]] = {}
    for route in app.routes:
        if isinstance(route, Mount):
            said.setdefault(f"{route.path}/{{name}}", {})["GET"] = first_line(route.app)
        elif isinstance(route, Route):
            summary = getattr(route, "summary", None) or SUMMARIES.get(route.path) or first_line(route.endpoint)
            for method in sorted((route.methods or set()) - {"HEAD"}):
                said.setdefault(route.path, {})[method] = str(summary)
    return said


def first_line(thing: object) -> str:
    """Return the first line of a docstring, without its full stop."""
    return (getattr(thing, "__doc__", None) or "").strip().partition("\n")[0].removesuffix(".")


# --- metrics ------------------------------------------------------------------------------------------------------


def write_metrics() -> str:
    """Return the table of metrics, those that a process counts before those that are read from the database."""
    rows = []
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.collect()))
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = metric._labelnames  # noqa: SLF001  prometheus_client tells a metric's labels nowhere else
            rows.append([code(name), family.type, ", ".join(map(code, labels)), family.documentation])
    for stored in StateCollector().collect():
        label = LABELS.get(stored.name.removeprefix("homeostat_"), "")
        rows.append([code(stored.name), stored.type, code(label), stored.documentation])
    return table(["metric", "type", "labels", "meaning"], rows)


# --- events -------------------------------------------------------------------------------------------------------


def write_events() -> str:
    """Return the table of kinds of events; a key that not every event of a kind has stands in brackets."""
    rows = []
    for name, kind in EVENT_KINDS.items():
        keys = [*map(code, kind.keys), *(f"({code(key)})" for key in kind.sometimes)]
        rows.append([code(name), kind.when, ", ".join(keys)])
    return table(["kind", "when", "payload"], rows)


# --- error codes --------------------------------------------------------------------------------------------------


def write_errors() -> str:
    """Return the tables of error codes: those of the tree, then those that only HTTP has."""
    rows = [describe_error(kind) for kind in walk(errors.HomeostatError) if kind is not errors.HomeostatError]
    rows += [
        [code(name), str(status.value), when, action] for name, (status, when, action) in sorted(HTTP_CODES.items())
    ]
    return table(["code", "status", "when", "to do"], rows)


def walk(kind: type[errors.HomeostatError]) -> Iterator[type[errors.HomeostatError]]:
    """Yield an error and every one below it, in the order of the tree."""
    yield kind
    for child in kind.__subclasses__():
        yield from walk(child)


def describe_error(kind: type[errors.HomeostatError]) -> list[str]:
    """Return the line of one error; an error that no route answers on purpose has no status."""
    when, _, action = " ".join(str(kind.__doc__).split()).partition(" To do: ")
    nearest = next(one for one in kind.__mro__ if one in ANSWERS)
    status = "" if nearest is errors.HomeostatError else str(ANSWERS[nearest][0].value)
    return [code(kind.code), status, when, action]


# --- commands -----------------------------------------------------------------------------------------------------


def write_commands() -> str:
    """Return each command with its usage, what it does, and its arguments and options."""
    context = click.Context(group, info_name="homeostat")
    return "\n\n".join(
        part for name in MODULES for part in describe_command(named(group, context, name), context, f"homeostat {name}")
    )


def named(parent: click.Group, context: click.Context, name: str) -> click.Command:
    """Return a command of a group."""
    command = parent.get_command(context, name)
    assert command is not None, name  # noqa: S101  the group lists it
    return command


def describe_command(command: click.Command, parent: click.Context, path: str) -> Iterator[str]:
    """Yield the section of a command, and those of the commands below it."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    rows = [describe_option(one, context) for one in command.params if not getattr(one, "hidden", False)]
    told = [row for row in rows if row]
    parts = [f"### `{path}`", f"    {usage}", describe_help(command)]
    yield "\n\n".join([*parts, table(["option", "meaning"], told)] if told else parts)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from describe_command(named(command, context, name), context, f"{path} {name}")


def describe_help(command: click.Command) -> str:
    """Return what a command says of itself, its examples as code."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    return "\n\n".join(filter(None, map(describe_paragraph, paragraphs)))


def describe_paragraph(text: str) -> str:
    """Return a paragraph of help as Markdown: what is not to be folded, and lines of commands, as code."""
    lines = [line.strip() for line in text.replace("\b", "").strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    if first.startswith("Example"):
        lines[0] = first.partition(":")[2].strip()
        return "```sh\n" + "\n".join(filter(None, lines)) + "\n```"
    return ("    " + "\n    ".join(lines)) if "\b" in text else " ".join(lines)


def describe_option(parameter: click.Parameter, context: click.Context) -> list[str]:
    """Return the line of an option; nothing for an argument, which the usage shows."""
    record: Any = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
    told = " ".join(record[1].split()) if record else ""
    return [code(record[0]), told] if record and told not in SAID_ABOVE else []


# What the page says once of all commands.
SAID_ABOVE = frozenset({"The project folder. [default: .]", "Print JSON for programs."})


# --- the page -----------------------------------------------------------------------------------------------------

WRITERS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "settings": write_settings,
        "routes": write_routes,
        "metrics": write_metrics,
        "events": write_events,
        "errors": write_errors,
        "commands": write_commands,
    }
)


def renew(text: str) -> str:
    """Return a page with each marked part written anew."""
    return MARKED.sub(lambda found: f"{found[1]}\n{WRITERS[found[2]]()}\n\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text()))
