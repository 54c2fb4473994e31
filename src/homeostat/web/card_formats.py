"""A model card as Markdown with the front matter of the Hugging Face Hub.

Not here: what the card says (`deployment.model_card`), or its page (`web.release_page`). Pure. Names of features and
categories are texts of strangers: none becomes markup, and none leaves its line.
https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from homeostat.deployment.model_card import FIGURES, SIDES
from homeostat.records import Json

# What the Hub calls our figures (https://huggingface.co/metrics); it has no name for the others.
HUB_METRICS: Mapping[str, str] = {"auc": "roc_auc", "accuracy": "accuracy", "brier": "brier_score"}
TASK = "tabular-classification"
# What would be markup or become a link by itself, and what would begin a list at the beginning of a line.
MARKUP = re.compile(r"[\\`*_\[\]{}<>|~&#$@]|(?<=www)\.|:(?=//)", re.IGNORECASE)
BEGINNING = re.compile(r"^(\d*)([-+.)])(?=\s|$)")
ESCAPED = r"\1\\\2"


def to_markdown(card: Json) -> str:
    """Return a card as a README of a model repository: front matter, then the sections of Mitchell et al."""
    front = "\n".join(to_yaml(front_matter(card)))
    return f"---\n{front}\n---\n\n" + "\n".join(write_sections(card)).rstrip() + "\n"


# --- front matter -------------------------------------------------------------------------------------------------


def front_matter(card: Json) -> Json:
    """Return the metadata of a card. What nobody has said, such as the licence, is called unknown."""
    model = card["model"]
    return {
        # Of the words of the card; the rows are numbers and categories.
        "language": "en",
        "license": "unknown",
        "library_name": "onnx",
        "pipeline_tag": TASK,
        "tags": [TASK, "binary-classification", "homeostat", *([model["family"]] if model["family"] else [])],
        "metrics": list(HUB_METRICS.values()),
        "model-index": [{"name": model["project"], "results": [*list_results(card)]}],
    }


def list_results(card: Json) -> Iterator[Json]:
    """Yield the figures of each side as the Hub has them; intervals stand in their names."""
    for side, measured in card["metrics"].items():
        yield {
            "task": {"type": TASK, "name": "Tabular classification"},
            "dataset": {
                "type": card["model"]["project"],
                "name": f"{card['model']['project']}: {SIDES[side]}",
                "split": side,
                **({"revision": card["data"]["snapshot"]} if card["data"]["snapshot"] else {}),
            },
            "metrics": [
                {"type": hub, "value": measured[key]["value"], "name": name_figure(FIGURES[key], measured[key])}
                for key, hub in HUB_METRICS.items()
                if key in measured
            ],
        }


def name_figure(name: str, figure: Json) -> str:
    """Return the name of a figure with its interval."""
    return f"{name}, 95 % interval {figure['low']:.3f} to {figure['high']:.3f}"


def to_yaml(content: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Yield an object as lines of block style YAML. Keys are our own words; every text is in quotes."""
    for key, member in content.items():
        if isinstance(member, Mapping):
            yield f"{indent}{key}:"
            yield from to_yaml(member, indent + "  ")
        elif isinstance(member, list):
            yield f"{indent}{key}:" if member else f"{indent}{key}: []"
            yield from list_yaml(member, indent)
        else:
            yield f"{indent}{key}: {quote(member)}"


def list_yaml(members: Sequence[object], indent: str) -> Iterator[str]:
    """Yield the members of a list, each after its dash."""
    for member in members:
        if isinstance(member, Mapping):
            first, *others = to_yaml(member, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from others
        else:
            yield f"{indent}- {quote(member)}"


def quote(value: object) -> str:
    """Return a text or a number as YAML 1.2 and 1.1 read it alike.

    JSON's escapes are YAML's, but what JSON leaves as it is YAML may call unprintable.
    https://yaml.org/spec/1.2.2/#57-escaped-characters
    """
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


# --- sections -----------------------------------------------------------------------------------------------------


def write_sections(card: Json) -> Iterator[str]:
    """Yield the lines of the body."""
    model = card["model"]
    yield f"# {plain(model['project'])}, release {model['number']}"
    yield from write_details(card)
    yield from ["", "## Intended use", "", *bullets(card["intended_use"])]
    yield from write_figures(card)
    yield from write_data(card)
    yield from write_features(card)
    yield from write_gate(card)
    yield from ["", "## Ethical considerations", ""]
    yield (
        card["owner_note"] or "The owner has written nothing yet: `MODEL_CARD.md` beside `homeostat.toml` is put here."
    )
    yield from ["", "## Caveats", ""]
    yield from bullets(card["limitations"] or ["No figure speaks against it."])


def write_details(card: Json) -> Iterator[str]:
    """Yield what the model is."""
    model, target = card["model"], card["model"]["target"]
    yield from ["", "## Model details", ""]
    yield from bullets(
        [
            f"answers: {target['name']}, {target['negative']} or {target['positive']} ({model['task']})",
            f"model: {model['family']}, {len(model['features'])} features",
            f"release: {model['release']}",
            f"made: {model['created_at']}",
            f"in production: {'yes' if model['in_production'] else 'no'}",
            f"parameters: {pairs(card['training']['parameters'])}",
            f"software: {pairs(model['software'])}",
        ]
    )


def write_figures(card: Json) -> Iterator[str]:
    """Yield the figures of every side, and the reliability of its probabilities."""
    yield from ["", "## Metrics", "", "With 95 % intervals.", ""]
    names = {side: side.replace("_", "-") for side in card["metrics"]}
    yield from table(
        ["rows", "number", "positive", *FIGURES.values(), "calibration error"],
        [
            [
                f"{names[side]}: {SIDES[side]}",
                str(found["n_rows"]),
                str(found["n_positive"]),
                *(estimate(found.get(key)) for key in FIGURES),
                f"{found['calibration_error']:.3f}",
            ]
            for side, found in card["metrics"].items()
            if "n_positive" in found
        ],
    )
    for side, found in card["calibration"].items():
        yield from ["", f"### Calibration, {names.get(side, side)}", ""]
        rows = [
            [str(cell["n_rows"]), f"{cell['probability']:.3f}", f"{cell['positive_share']:.3f}"]
            for cell in found["reliability"]
        ]
        yield from table(["rows", "mean probability", "share of positives"], rows)


def write_data(card: Json) -> Iterator[str]:
    """Yield what the model was made of."""
    data = card["data"]
    yield from ["", "## Training data", ""]
    lines = [
        f"snapshot: {data['snapshot']}",
        f"rows: {pairs(data['rows'])}",
        f"positive among them: {data['positives']}",
    ]
    lines += [f"source: {pairs(source)}" for source in data["sources"]]
    if data["time"]:
        lines.append(f"in time: {pairs(data['time'])}")
    if data["left_out"]:
        lines.append(f"left out: {pairs(data['left_out'])}")
    if data["outcomes_answered_from"]:
        lines.append(
            f"outcomes of predictions from {data['outcomes_answered_from']} to {data['outcomes_answered_until']}"
        )
    yield from bullets(lines)


def write_features(card: Json) -> Iterator[str]:
    """Yield what the model takes, the most important features first."""
    weights = card["importance"]["features"]
    known = {feature["name"]: feature for feature in card["model"]["features"]}
    names = [*(name for name in weights if name in known), *(name for name in known if name not in weights)]
    yield from ["", "## Factors", "", f"Importance: {card['importance']['unit']}.", ""]
    yield from table(
        ["feature", "kind", "possible values", "missing in the baseline", "importance"],
        [
            [
                name,
                known[name]["kind"],
                describe_range(known[name]),
                "-" if known[name]["missing_share"] is None else f"{known[name]['missing_share']:.1%}",
                f"{weights[name]:.3f}" if name in weights else "-",
            ]
            for name in names
        ],
    )


def describe_range(feature: Json) -> str:
    """Return what a feature may be."""
    ends = ["any" if feature[end] is None else f"{feature[end]:g}" for end in ("low", "high")]
    unit = f" {feature['unit']}" if feature["unit"] else ""
    return "-" if ends == ["any", "any"] else f"{ends[0]} to {ends[1]}{unit}"


def write_gate(card: Json) -> Iterator[str]:
    """Yield what the gate said of it."""
    gate = card["gate"]
    if gate is None:
        return
    yield from ["", "## Gate", "", "Passed." if gate["passed"] else "Refused.", ""]
    rows = [[one["name"], "passed" if one["passed"] else "refused", one["sentence"]] for one in gate["criteria"]]
    yield from table(["criterion", "answer", "figures"], rows)


def estimate(figure: Json | None) -> str:
    """Return a figure with its interval."""
    return "-" if figure is None else f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def pairs(content: Mapping[str, object]) -> str:
    """Return a flat object in words."""
    return ", ".join(f"{name} {value}" for name, value in content.items()) or "-"


def bullets(texts: Sequence[str]) -> Iterator[str]:
    """Yield texts as a list."""
    return (f"- {BEGINNING.sub(ESCAPED, plain(text))}" for text in texts)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    yield from (f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows)


def plain(text: str) -> str:
    """Return a text of a stranger as Markdown that shows just that text, in one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return MARKUP.sub(r"\\\g<0>", line)
