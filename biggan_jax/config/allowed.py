"""Defines which values a field of the config may have: numbers in a range, or names from a list or table.

Each class here, and `Number` in runtime/ranges.py, answers two questions: `str(allowed)` describes the values
for a person, and `allowed.remedy(value, default)` says what to give in place of a value that is not allowed.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from biggan_jax.runtime.ranges import Number

MOST_NUMBERS = 64  # in a tuple: no network has so many blocks


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
      range: Range of the number, or of each number of a tuple, whatever the other fields are.
    """

    text: str
    range: Number | None = None

    def remedy(self, value: Any, default: Any) -> str | None:
        """Returns the description if a number is outside of the range; other fields are not looked at."""
        numbers = value if isinstance(value, tuple) else (value,)
        if self.range is None or (len(numbers) <= MOST_NUMBERS and all(map(self.range.contains, numbers))):
            return None
        return f"give {self.text}"

    def __str__(self) -> str:
        return self.text


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
    """Any text but an empty or blank one."""

    def remedy(self, value: str, default: str) -> str | None:
        """Returns the default as an example if `value` is empty."""
        return None if value.strip() else f"give a name, such as {default!r}"

    def __str__(self) -> str:
        return "not empty"


def names_in(text: str) -> tuple[str, ...]:
    """Splits a field that lists names: `"color, cutout"` → `("color", "cutout")`; "" holds no name."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))
