"""How many parameters a ratio asks for."""

import math
from fractions import Fraction

from globalprune.errors import UsageError


def refuse_bad_ratio(ratio: float) -> None:
    """Raise `UsageError` unless 0 ≤ ratio < 1."""
    if not 0 <= ratio < 1:
        raise UsageError(f"ratio {ratio}: a ratio is at least 0 and below 1, such as 0.2.")


def asked_parameters(ratio: float, parameters: int) -> int:
    """The fewest parameters that are at least `ratio` of all, the ratio read as it is written.

    0.1 of 30 is 3, although the nearest binary number to 0.1 is a little more than a tenth.
    """
    refuse_bad_ratio(ratio)
    return math.ceil(Fraction(repr(float(ratio))) * parameters)
