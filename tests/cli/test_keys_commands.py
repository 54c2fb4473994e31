"""`homeostat keys` through the real command."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homeostat.cli.keys import parse_expiry
from homeostat.errors import InputError
from homeostat.store.keys import id_of_token
from tests.cli.commands import homeostat, parts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def create(project: Path, *options: str) -> str:
    """Make a key and return its token."""
    done = homeostat("keys", "create", "--project", project, "--name", "clinic", "--scope", "predict", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listed(project: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(homeostat("keys", "list", "--json", "--project", project).stdout)
    return found


def test_the_token_alone_is_on_standard_output(project: Path) -> None:
    done = homeostat("keys", "create", "--name", "clinic", "--scope", "predict", "--project", project)

    key_id = id_of_token(done.stdout.removesuffix("\n").encode())
    assert key_id is not None
    assert done.stderr == f"Key {key_id.decode()} (clinic): predict. The token is shown this once.\n"


def test_a_key_is_listed_with_everything_but_its_token(project: Path) -> None:
    token = create(project, "--scope", "label", "--expires", "2999-01-31", "--rows-per-minute", "600")

    done = homeostat("keys", "list", "--project", project)
    for word in (token[3:15], "label, predict", "2999-01-31", "600", "valid", "clinic"):
        assert word in done.stdout
    assert token[16:] not in done.stdout


def test_a_program_reads_a_key_as_json(project: Path) -> None:
    done = homeostat(
        "keys", "create", "--name", "ci", "--scope", "read", "--expires", "90d", "--json", "--project", project
    )

    made = json.loads(done.stdout)
    token = made.pop("token")
    assert listed(project) == [made]
    assert (made["id"], made["scopes"], made["state"]) == (token[3:15], ["read"], "valid")


def test_a_revoked_key_stays_in_the_list(project: Path) -> None:
    token = create(project)

    done = homeostat("keys", "revoke", token[3:15], "--project", project)

    assert done.stdout.startswith(f"Key {token[3:15]} (clinic) is revoked since ")
    assert [key["state"] for key in listed(project)] == ["revoked"]


def test_a_token_that_leaked_may_be_revoked_as_it_is_and_is_not_repeated(project: Path) -> None:
    token = create(project)

    done = homeostat("keys", "revoke", token, "--project", project)

    assert [key["state"] for key in listed(project)] == ["revoked"]
    assert token not in done.stdout + done.stderr


def test_an_unknown_id_is_refused_with_the_nearest_one(project: Path) -> None:
    key_id = create(project)[3:15]

    done = homeostat("keys", "revoke", key_id[:-1], "--project", project)

    problem, _, action = parts(done)
    assert (done.returncode, problem) == (1, f"there is no key {key_id[:-1]!r}")
    assert action == f"did you mean {key_id!r}?"


def test_without_a_key_the_list_says_how_to_make_one(project: Path) -> None:
    assert homeostat("keys", "list", "--project", project).stdout == "No key yet: homeostat keys create\n"


@pytest.mark.parametrize("options", [[], ["--scope", "write"], ["--scope", "read", "--rows-per-minute", "0"]])
def test_wrong_usage_makes_no_key(project: Path, options: list[str]) -> None:
    done = homeostat("keys", "create", "--name", "x", *options, "--project", project)

    assert (done.returncode, done.stdout, listed(project)) == (2, "", [])


def test_an_expiry_in_the_past_makes_no_key(project: Path) -> None:
    options = ["--name", "x", "--scope", "read", "--expires", "2020-01-01"]

    problem, _, _ = parts(homeostat("keys", "create", *options, "--project", project))

    assert problem == "the key would expire at 2020-01-01 00:00:00 UTC"
    assert listed(project) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_number_of_days_or_a_date(text: str, moment: datetime) -> None:
    assert parse_expiry(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "soon", "90", "-1d", "90days", "9999999999d", "9" * 5000 + "d", "2027-02-30", "٩d"]
)
def test_anything_else_is_no_expiry(text: str) -> None:
    with pytest.raises(InputError, match="--expires is"):
        parse_expiry(text, NOW)
