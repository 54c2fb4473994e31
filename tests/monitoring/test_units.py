"""A change of unit is recognised by the factor of two medians, and only as a hint."""

import pytest

from homeostat.monitoring.units import describe_change, recognise_units


@pytest.mark.parametrize(
    ("then", "now", "units"),
    [
        (117, 6.5, "glucose"),
        (6.2, 117, "glucose"),
        (0.9, 80, "creatinine"),
        (195, 5.1, "cholesterol"),
        (80, 500, "insulin"),
        (72, 9.6, "kPa"),
        (70, 154, "pounds"),
        (170, 67, "inches"),
        (1.72, 172, "metres"),
        (32.5, 0.325, "percent"),
        (2.5, 2_500, "1,000"),
        (25, 2.5, "differ by 10"),
        (98.6, 37, "Fahrenheit"),
        (36.9, 98.4, "Fahrenheit"),
    ],
)
def test_a_known_factor_is_recognised_in_both_directions(then: float, now: float, units: str) -> None:
    found = recognise_units(then, now)

    assert found is not None
    assert units in found


@pytest.mark.parametrize(("then", "now"), [(117, 117), (117, 140), (117, 30), (0, 5), (5, 0), (0, 0), (-3, 6.6)])
def test_what_is_no_known_factor_is_not_called_a_unit(then: float, now: float) -> None:
    assert recognise_units(then, now) is None


def test_of_two_near_factors_the_nearer_is_told() -> None:
    assert [recognise_units(100, median) for median in (225, 248)] == ["pounds and kilograms", "centimetres and inches"]


def test_a_change_is_told_with_medians_factor_and_hint() -> None:
    expected = (
        "median 6.5 against 117, a factor of about 1/18: a change of unit, as between mg/dL and mmol/L of glucose?"
    )

    assert describe_change(117, 6.5) == expected


def test_a_change_by_an_unknown_factor_is_told_without_a_hint() -> None:
    assert describe_change(100, 400) == "median 400 against 100, a factor of about 4"


@pytest.mark.parametrize(("then", "now"), [(100, 120), (0, 50), (-2, 3)])
def test_where_a_factor_says_nothing_only_the_medians_are_told(then: float, now: float) -> None:
    assert describe_change(then, now) == f"median {now} against {then}"


@pytest.mark.parametrize(("then", "now"), [(117, 5e-324), (-117, -5e-324), (5e-324, 3e38), (1e30, 1e-300)])
def test_a_factor_that_no_double_holds_is_left_out(then: float, now: float) -> None:
    assert describe_change(then, now) == f"median {now:.3g} against {then:.3g}"
