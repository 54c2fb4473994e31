"""Every error on purpose is one branch of one tree, has a code of its own and three parts, and crosses processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat import errors
from homeostat.errors import HomeostatError, error_from_json, error_to_json


def branch(kind: type[HomeostatError]) -> list[type[HomeostatError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in branch(child))]


KINDS = [kind for kind in branch(HomeostatError) if kind.__module__ == errors.__name__]


def drawn_tree() -> dict[str, str]:
    """Return the parent of each error as the module's docstring draws it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in str(errors.__doc__).splitlines():
        if "-- " in line:
            depth = line.index("-- ") // 4
            path[depth:] = [line.split("-- ")[1].split()[0]]
            parents[path[depth]] = path[depth - 1]
        elif line.strip() == "HomeostatError":
            path = [line.strip()]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn_tree() == {kind.__name__: str(kind.__base__.__name__) for kind in KINDS[1:]}  # type: ignore[union-attr]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in branch(HomeostatError)]

    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_says_its_three_parts_in_one_line(kind: type[HomeostatError]) -> None:
    error = kind(problem="age is 250", expected="0 to 120", action="correct it")

    assert str(error) == "age is 250; expected 0 to 120; correct it"
    assert (error.problem, error.expected, error.action) == ("age is 250", "0 to 120", "correct it")


@given(kind=st.sampled_from(KINDS), parts=st.tuples(st.text(), st.text(), st.text()))
def test_an_error_crosses_processes_as_json(kind: type[HomeostatError], parts: tuple[str, str, str]) -> None:
    problem, expected, action = parts
    error = kind(problem=problem, expected=expected, action=action)

    again = error_from_json(error_to_json(error))

    assert type(again) is kind
    assert error_to_json(again) == error_to_json(error)
