"""Which change of unit a factor between two medians looks like: a hint for a person, never a finding by itself.

Not here: that values have moved at all (`monitoring.arrivals`).
"""

import math
from collections.abc import Sequence

# How far a factor of medians may be from a known one: medians of 50 rows are off by 5 % as easily.
TOLERANCE = 0.1
# Between these two factors a median has moved, but no unit is that near another.
WORTH_SAYING = 1.5
# Beyond this a factor is no change of unit, and need not even be a double.
LARGEST_FACTOR = 1e12

# What one unit is in the other. https://www.nist.gov/pml/special-publication-811, and molar masses for the first three:
# glucose 180.16 g/mol, creatinine 113.12 g/mol, cholesterol 386.65 g/mol.
FACTORS: Sequence[tuple[float, str]] = (
    (18.016, "mg/dL and mmol/L of glucose"),
    (88.42, "umol/L and mg/dL of creatinine"),
    (38.67, "mg/dL and mmol/L of cholesterol"),
    (6.0, "pmol/L and uU/mL of insulin"),
    (7.5006, "mmHg and kPa"),
    (2.2046, "pounds and kilograms"),
    (2.54, "centimetres and inches"),
    (10.0, "units that differ by 10"),
    (100.0, "shares and percent, metres and centimetres"),
    (1000.0, "units that differ by 1,000"),
)
TEMPERATURES = "degrees Fahrenheit and Celsius"


def describe_change(then: float, now: float) -> str:
    """Return the change of a median in words, with its factor and the change of unit that it may be."""
    words = f"median {now:.3g} against {then:.3g}"
    unit = recognise_units(then, now)
    apart = log_factor(then, now)
    if apart is not None and math.log(WORTH_SAYING) <= abs(apart) <= math.log(LARGEST_FACTOR):
        words += f", a factor of about {describe_factor(now / then)}"
    return words if unit is None else f"{words}: a change of unit, as between {unit}?"


def log_factor(then: float, now: float) -> float | None:
    """Return the logarithm of the factor between two numbers, None if they are not of one sign.

    Not that of their quotient: a sender chooses the numbers, and 5e-324 / 117 is 0.
    """
    if not then or not now or (then > 0) != (now > 0):
        return None
    return math.log(abs(now)) - math.log(abs(then))


def describe_factor(factor: float) -> str:
    """Return a factor as a person says it: 18, or 1/18."""
    return f"{factor:.3g}" if factor >= 1 else f"1/{1 / factor:.3g}"


def recognise_units(then: float, now: float) -> str | None:
    """Return the two units that lie as far apart as two medians, within 10 %; None if none does, the nearest of two."""
    near = [(abs(error), words) for error, words in candidates(then, now) if abs(error) <= math.log1p(TOLERANCE)]
    return min(near)[1] if near else None


def candidates(then: float, now: float) -> list[tuple[float, str]]:
    """Return the logarithm of how far off each known change of unit is, where it can be told."""
    found: list[tuple[float, str]] = []
    apart = log_factor(then, now)
    if apart is not None:
        found += [(abs(apart) - math.log(factor), words) for factor, words in FACTORS]
    for expected in (then * 1.8 + 32, (then - 32) / 1.8):
        # Near zero degrees a ratio says nothing.
        off = log_factor(expected, now)
        if off is not None and abs(expected) >= 1:
            found.append((off, TEMPERATURES))
    return found
