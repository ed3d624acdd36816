"""Defines which values a field of the config may have: numbers in a range, or names from a list or table.

Each class here answers two questions: `str(allowed)` describes the values for a person, and
`allowed.remedy(value, default)` says what to give in place of a value that is not allowed.
"""

import dataclasses
import importlib
import math
from collections.abc import Mapping
from typing import Any, Protocol


class Allowed(Protocol):
    """The values that a field may have."""

    def remedy(self, value: Any, default: Any) -> str | None:
        """Returns what to give in place of `value`, or None if it is allowed.

        Args:
          value: Value of the field's type.
          default: Default of the field, which serves as an example.
        """
        ...


class Anything:
    """Any value of the field's type."""

    def remedy(self, value: Any, default: Any) -> str | None:
        """Returns None: every value is allowed."""
        return None

    def __str__(self) -> str:
        return ""


@dataclasses.dataclass(frozen=True)
class Described:
    """Values that depend on other fields; `validation.py` checks them.

    Attributes:
      text: Description of the values.
    """

    text: str

    def remedy(self, value: Any, default: Any) -> str | None:
        """Returns None: the value is checked together with other fields."""
        return None

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Number:
    """Finite numbers between bounds.

    Attributes:
      minimum: Smallest allowed value, or None.
      above: Bound that the value must exceed, or None.
      maximum: Largest allowed value, or None.
      below: Bound that the value must stay under, or None.
    """

    minimum: int | None = None
    above: int | None = None
    maximum: int | None = None
    below: int | None = None

    def remedy(self, value: float, default: float) -> str | None:
        """Returns the bounds if `value` is outside of them; not-a-number and infinity always are."""
        inside = (
            -math.inf < value < math.inf
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )
        return None if inside else f"give {self}{'' if self._plain else f', such as {default}'}"

    @property
    def _plain(self) -> bool:
        """Whether a minimum is the only bound: that needs no example."""
        return self.above is None and self.maximum is None and self.below is None

    def __str__(self) -> str:
        bounds = [
            f"{self.minimum} or more" if self.minimum is not None else "",
            f"a number above {self.above}" if self.above is not None else "",
            f"at most {self.maximum}" if self.maximum is not None else "",
            f"below {_spelled(self.below)}" if self.below is not None else "",
        ]
        return ", ".join(bound for bound in bounds if bound)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few names.

    Attributes:
      names: The names.
    """

    names: tuple[str, ...]

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the names if `value` is none of them."""
        return None if value in self.names else f"choose one of {_listed(self.names)}"

    def __str__(self) -> str:
        return f"one of {_listed(self.names)}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name from a table, which stands beside the functions that it lists.

    The table's module may import JAX. It is imported when a value is checked, and by then the names and types
    of all fields have been checked.

    Attributes:
      table: Place of the table, "package.module:NAME".
    """

    table: str

    def names(self) -> tuple[str, ...]:
        """Returns the names in the table; imports its module."""
        module, _, name = self.table.partition(":")
        entries: Mapping[str, Any] = getattr(importlib.import_module(module), name)
        return tuple(entries)

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the table's names if `value` is none of them."""
        return Choice(self.names()).remedy(value, default)

    def __str__(self) -> str:
        return str(Choice(self.names()))


class OptionalEntry(Entry):
    """One name from a table, or an empty text for none."""

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the table's names if `value` is none of them and not empty."""
        return super().remedy(value, default) if value else None

    def __str__(self) -> str:
        return f"{super().__str__()}, or empty"


class Entries(Entry):
    """Any number of names from a table, separated by commas; an empty text is no name."""

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the table's names if a name in `value` is none of them."""
        names = self.names()
        unknown = [name for name in names_in(value) if name not in names]
        return f"{unknown[0]!r} is none of {', '.join(names)}" if unknown else None

    def __str__(self) -> str:
        return f"any of {', '.join(self.names())}, separated by commas"


class Name:
    """Any text but an empty one."""

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the default as an example if `value` is empty."""
        return None if value else f"give a name, such as {default!r}"

    def __str__(self) -> str:
        return "not empty"


def names_in(text: str) -> tuple[str, ...]:
    """Splits a field that lists names: `"color, cutout"` → `("color", "cutout")`; "" holds no name."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


def _spelled(number: int) -> str:
    exponent = number.bit_length() - 1
    return f"2**{exponent}" if number == 2**exponent and exponent > 10 else str(number)
