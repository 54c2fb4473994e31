"""A clinic whose feature and categories are called as an attacker would call them, with two releases.

Not here: any test.
"""

import json
from pathlib import Path

from homeostat.project import open_project
from homeostat.records import Row
from homeostat.store.events import append_event
from tests.retraining.clinic import NOW, SETTINGS, draw_patients, put_in_production, register_another, write_table

# No quotation mark: the service refuses to start with a feature of such a name.
NAME = "<script>alert(1)</script>'&{{ 7 * 7 }}|`*_x_*`[a](http://x)"
CATEGORY = '"<img src=x onerror=alert(2)>'
VALUES = {"A": "A", "B": CATEGORY, "C": "-- | ~~c~~ www.x.org"}


def write_strange_project(folder: Path) -> Path:
    """Write the project, with one release in production and another that a gate refused."""
    folder.mkdir(parents=True)
    settings = SETTINGS.replace("[features.city]", f"[features.{json.dumps(NAME)}]")
    (folder / "homeostat.toml").write_text(settings)
    rows, outcomes = draw_patients(200, seed=0)
    strange: list[Row] = [{"age": row["age"], "dose": row["dose"], NAME: VALUES[str(row["city"])]} for row in rows]
    write_table(folder / "clinic.csv", strange, outcomes)
    with open_project(folder) as project:
        live = put_in_production(project).release
        other = register_another(project, penalty=0.5)
        with project.database.write() as connection:
            for release, passed in ((live, True), (other, False)):
                criterion = {"name": NAME, "passed": passed, "sentence": f"{NAME} = {CATEGORY}", "figures": {}}
                append_event(
                    connection, "gate", {"release": release, "passed": passed, "criteria": [criterion]}, now=NOW
                )
    return folder
