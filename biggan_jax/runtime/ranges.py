"""Ranges of numbers: of each field of the config and of each flag, checked and described in one way.

Every range has two ends. An end is far beyond useful values where no other reason limits it: it refuses a
slip such as a rate of 1e30, and keeps sizes within int32.
"""

import dataclasses
import math
import struct
from typing import Any


@dataclasses.dataclass(frozen=True)
class Number:
    """Finite numbers between bounds.

    Attributes:
      minimum: Smallest allowed value, or None.
      above: Bound that the value must exceed, or None.
      maximum: Largest allowed value, or None.
      below: Bound that the value must stay under, or None.
    """

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None

    def contains(self, value: float) -> bool:
        """Returns whether `value` is inside the bounds, and a value that is no integer in float32 too.

        Programs compute in float32, where 0.99999999 is 1, 1e-50 is 0 and 1e40 is infinite.
        """
        return self._contains(value) and self._survives_rounding(value)

    def remedy(self, value: float, default: Any) -> str | None:
        """Returns what to give in place of `value`, or None if it is allowed.

        Args:
          value: The number.
          default: Allowed value that serves as an example; None for no example.
        """
        if self.contains(value):
            return None
        rounded = f"it is {_float32(value):g} in float32; " if self._contains(value) else ""
        return f"{rounded}give {self}{'' if default is None else f', such as {default}'}"

    def _contains(self, value: float) -> bool:
        return (
            -math.inf < value < math.inf
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    def _survives_rounding(self, value: float) -> bool:
        if isinstance(value, int):
            return True
        rounded = _float32(value)
        ends = (self.minimum, self.above, self.maximum, self.below)
        in_float32 = Number(*(None if end is None else _float32(end) for end in ends))
        return in_float32._contains(rounded) and (rounded != 0 or value == 0)

    def __str__(self) -> str:
        if self.minimum is not None and self.maximum is not None:
            return f"{_spelled(self.minimum)} to {_spelled(self.maximum)}"
        bounds = [
            f"{_spelled(self.minimum)} or more" if self.minimum is not None else "",
            f"a number above {_spelled(self.above)}" if self.above is not None else "",
            f"at most {_spelled(self.maximum)}" if self.maximum is not None else "",
            f"below {_spelled(self.below)}" if self.below is not None else "",
        ]
        return ", ".join(bound for bound in bounds if bound)


def up_to(maximum: float) -> Number:
    """Returns the range from 1 to `maximum`."""
    return Number(minimum=1, maximum=maximum)


def from_0_up_to(maximum: float) -> Number:
    """Returns the range from 0 to `maximum`."""
    return Number(minimum=0, maximum=maximum)


SEED = Number(minimum=0, below=2**32)  # JAX would silently take the lower 32 bits of a larger one
STEPS = Number(minimum=1, below=2**31)  # int32 counts them
STEP = Number(minimum=0, below=2**31)
TRUNCATION = from_0_up_to(100)  # of a normal latent, no component is beyond 100
SHARE = from_0_up_to(1)
SAMPLES = up_to(100_000_000)
IMAGES_AT_ONCE = up_to(1_000_000)
PASSES = up_to(1_000_000)
EPSILON = Number(above=0, maximum=1)


def _float32(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def _spelled(number: float) -> str:
    if isinstance(number, float):
        return f"{number:g}"
    exponent = number.bit_length() - 1
    return f"2**{exponent}" if number == 2**exponent and exponent > 10 else f"{number:,}"
