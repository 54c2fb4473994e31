"""The model card as Markdown: a YAML parser reads its front matter, and in its body a stranger's text stays text."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from homeostat.deployment.dossiers import open_dossier
from homeostat.deployment.model_card import Known, describe_model
from homeostat.deployment.registry import list_releases
from homeostat.project import open_project
from homeostat.records import Json, Release
from homeostat.web.card_formats import bullets, front_matter, plain, to_markdown, to_yaml
from homeostat.web.release_facts import gather_facts, know
from tests.retraining.clinic import NOW
from tests.web.strangers import CATEGORY, NAME, write_strange_project

texts = st.text(st.characters(codec="utf-8"), max_size=30)
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Known]:
    """A release whose features are called as an attacker would call them, and what is known of it."""
    folder = write_strange_project(tmp_path_factory.mktemp("strange") / "project")
    with open_project(folder) as project, project.database.read() as connection:
        facts = gather_facts(connection, project, list_releases(connection)[0])
        known = know(connection, project, facts)
        return open_dossier(facts.registered.digest, project.blobs).release, known


@pytest.fixture(scope="module")
def card(strange: tuple[Release, Known]) -> Json:
    return describe_model(*strange)


def split(text: str) -> tuple[Json, str]:
    """Return the front matter of a card, read by a YAML parser, and its body."""
    nothing, front, body = text.split("---\n", 2)
    assert nothing == ""
    return msgspec.yaml.decode(front), body


def test_the_front_matter_has_what_the_hub_asks_for(card: Json) -> None:
    front, _ = split(to_markdown(card))

    assert front["library_name"] == "onnx"
    assert front["license"] == "unknown"
    assert front["language"] == "en"
    assert front["pipeline_tag"] == "tabular-classification"
    assert {"tabular-classification", "logistic", "homeostat"} <= set(front["tags"])
    assert front["metrics"] == ["roc_auc", "accuracy", "brier_score"]


def test_each_side_is_a_result_with_all_that_the_specification_requires(card: Json) -> None:
    model = split(to_markdown(card))[0]["model-index"][0]

    assert model["name"] == "clinic"
    assert [result["dataset"]["split"] for result in model["results"]] == ["cross_validation", "anchor"]
    for result in model["results"]:
        assert result["task"]["type"] == "tabular-classification"
        assert isinstance(result["dataset"]["type"], str)
        assert isinstance(result["dataset"]["name"], str)
        assert {metric["type"] for metric in result["metrics"]} == {"roc_auc", "accuracy", "brier_score"}
        assert all(isinstance(metric["value"], float) for metric in result["metrics"])
        assert all("95 % interval" in metric["name"] for metric in result["metrics"])


@settings(max_examples=60, deadline=None)
@given(st.recursive(texts | st.integers(-9, 9), lambda inner: st.lists(inner | st.dictionaries(st.just("k"), inner))))
def test_whatever_a_text_holds_yaml_reads_it_back(value: object) -> None:
    content = {"a": value if isinstance(value, list) and flat(value) else str(value), "b": {"c": [str(value)], "d": 1}}

    assert msgspec.yaml.decode("\n".join(to_yaml(content))) == content


def flat(members: list[object]) -> bool:
    """Return whether a list holds texts, numbers, and objects of them only, as front matter does."""
    return all(
        isinstance(one, (str, int)) or (isinstance(one, dict) and one and isinstance(one["k"], (str, int)))
        for one in members
    )


def test_the_sections_are_those_of_a_model_card(card: Json) -> None:
    _, body = split(to_markdown(card))

    tokens = MARKDOWN.parse(body)
    headings = [one.content for before, one in pairwise(tokens) if before.type == "heading_open"]
    wanted = ["Model details", "Intended use", "Metrics", "Training data", "Factors", "Gate", "Ethical considerations"]
    assert headings[0] == "clinic, release 1"
    assert [heading for heading in headings if heading in wanted] == wanted
    assert headings[-1] == "Caveats"


def test_a_strangers_name_is_shown_as_it_is_and_becomes_no_markup(card: Json) -> None:
    _, body = split(to_markdown(card))

    html = MARKDOWN.render(body)
    assert "<script" not in html
    assert "<img" not in html
    assert "<a " not in html
    assert "<em>" not in html
    assert NAME.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html
    assert CATEGORY not in html


@settings(max_examples=200, deadline=None)
@given(texts)
@example("1. a")
@example("- b")
@example("+")
@example(NAME)
def test_a_text_in_a_table_or_a_list_is_that_text_in_one_line(text: str) -> None:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())

    table = MARKDOWN.parse(f"| a | b |\n| --- | --- |\n| {plain(text)} | x |")
    bullet = MARKDOWN.parse("\n".join(bullets([text])))

    cells = ["".join(child.content for child in one.children or []) for one in table if one.type == "inline"]
    assert cells[2:] == [words, "x"]
    shown = ["".join(child.content for child in one.children or []) for one in bullet if one.type == "inline"]
    assert shown == ([words] if words else [])
    assert [one.type for one in bullet].count("bullet_list_open") == 1


@pytest.mark.parametrize("text", ["www.x.org", "see http://x.org", "a@b.org"])
def test_a_text_becomes_no_link_by_itself(text: str) -> None:
    assert plain(text) not in (text, "")
    assert MARKDOWN.render(plain(text)) == f"<p>{text}</p>\n"


def test_what_the_owner_says_is_markdown_as_it_was_written(strange: tuple[Release, Known]) -> None:
    release, known = strange

    text = to_markdown(describe_model(release, replace(known, note="**Not** for children.")))

    assert "## Ethical considerations\n\n**Not** for children.\n" in text


def test_a_card_without_figures_is_still_a_card(strange: tuple[Release, Known]) -> None:
    release, known = strange
    bare = replace(release, metrics={}, lineage={}, effects=None)

    front, body = split(to_markdown(describe_model(bare, replace(known, training_set=None, gate=None, created_at=NOW))))

    assert front["model-index"] == [{"name": "clinic", "results": []}]
    assert "It is not measured on the anchor side" in body
    assert front_matter(describe_model(bare, known))["tags"][-1] == "homeostat"
