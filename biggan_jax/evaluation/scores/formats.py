"""Number formats of scores. A missing number is a dash, and a number that rounds to zero has no sign."""

import math
from collections.abc import Callable

Format = Callable[[float | None], str]

MISSING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """Formats a share, `97.3 %`."""
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:z.{digits}f} %"


def ratio(value: float | None) -> str:
    """Formats a number of any magnitude, `12.87` or `0.0012`."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:z.{2 if abs(value) >= 0.1 else 4}f}"


def decimals(digits: int) -> Format:
    """Returns the format with this number of decimals."""
    return lambda value: MISSING if is_missing(value) else f"{value:z.{digits}f}"


def is_missing(value: float | None) -> bool:
    """Returns whether a number is missing: None, NaN or infinite."""
    return value is None or not math.isfinite(value)
