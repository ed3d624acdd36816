"""Flags of commands with a stated range: numbers, lists of numbers, paths and texts.

Every command and launcher defines its flags here, not by absl's own functions, which let NaN through, and
empty texts. `--help` shows the range, and a value outside of it is refused with flag, value and remedy before
anything heavy is imported.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from absl import flags

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.paths import user_path
from biggan_jax.runtime.ranges import Number

D = TypeVar("D")
MOST_NUMBERS = 100  # in a list
MOST_SHOWN = 80  # characters of a value in a message

# A flag belongs to the command that defines it through this module.
flags.disclaim_key_flags()


@overload
def integer(
    name: str, default: None, help: str, allowed: Number, *, required: Literal[True]
) -> flags.FlagHolder[int]: ...
@overload
def integer(name: str, default: D, help: str, allowed: Number) -> flags.FlagHolder[int | D]: ...
def integer(
    name: str, default: Any, help: str, allowed: Number, *, required: bool = False
) -> flags.FlagHolder[Any]:
    """Defines a flag that takes a whole number.

    Args:
      name: Name of the flag.
      default: Default; None for none.
      help: What the number is.
      allowed: Its range.
      required: Whether the command refuses to start without the flag.
    """
    convert = flags.IntegerParser().convert
    return _define(name, default, help, _NumberParser(name, allowed, convert, "a whole number"), required)


def number(name: str, default: D, help: str, allowed: Number) -> flags.FlagHolder[float | D]:
    """Defines a flag that takes a number; arguments are those of `integer`."""
    return _define(name, default, help, _NumberParser(name, allowed, float, "a number"))


def numbers(
    name: str, default: D, help: str, allowed: Number, example: str
) -> flags.FlagHolder[tuple[float, ...] | D]:
    """Defines a flag that takes numbers, separated by commas.

    Args:
      name: Name of the flag.
      default: Default, a tuple; None for none.
      help: What the numbers are.
      allowed: Range of each.
      example: Example for messages, such as "0.5,1,0".
    """
    return _define(name, default, help, _NumbersParser(name, allowed, example))


@overload
def path(name: str, help: str, *, required: Literal[True]) -> flags.FlagHolder[str]: ...
@overload
def path(name: str, help: str) -> flags.FlagHolder[str | None]: ...
def path(name: str, help: str, *, required: bool = False) -> flags.FlagHolder[Any]:
    """Defines a flag that takes a path on this machine or a URL; its value is as `user_path` returns it."""
    return _define(name, None, help, _TextParser(name, lambda text: user_path(text, f"--{name}=")), required)


@overload
def text(name: str, default: None, help: str, *, required: Literal[True]) -> flags.FlagHolder[str]: ...
@overload
def text(name: str, default: D, help: str) -> flags.FlagHolder[str | D]: ...
def text(name: str, default: Any, help: str, *, required: bool = False) -> flags.FlagHolder[Any]:
    """Defines a flag that takes a text, which may not be empty; arguments are those of `integer`."""
    return _define(name, default, help, _TextParser(name, str), required)


def _define(
    name: str, default: Any, help: str, parser: flags.ArgumentParser, required: bool = False
) -> flags.FlagHolder[Any]:
    return flags.DEFINE(parser, name, default, help, required=required)


class _NumberParser(flags.ArgumentParser):
    def __init__(self, name: str, allowed: Number, convert: Callable[[str], float], kind: str):
        self.name, self.allowed, self.convert, self.kind = name, allowed, convert, kind
        self.syntactic_help = str(allowed)

    def parse(self, argument: Any) -> float:
        try:
            value = self.convert(argument)
        except (ValueError, TypeError) as error:
            raise UserError(f"{_shown(self.name, argument)}: give {self.kind}, {self.allowed}") from error
        if remedy := self.allowed.remedy(value, None):
            raise UserError(f"{_shown(self.name, argument)}: {remedy}")
        return value

    def flag_type(self) -> str:
        return self.kind


class _NumbersParser(flags.ArgumentParser):
    def __init__(self, name: str, allowed: Number, example: str):
        self.name, self.allowed, self.example = name, allowed, example
        self.syntactic_help = f"separated by commas, each {allowed}"

    def parse(self, argument: str | Sequence[float]) -> tuple[float, ...]:
        if not isinstance(argument, str):  # the default
            return tuple(argument)
        words = argument.split(",")
        values = [_float(word) for word in words]
        if len(values) > MOST_NUMBERS or not all(map(self.allowed.contains, values)):
            raise UserError(
                f"{_shown(self.name, argument)}: give numbers, each {self.allowed}, such as {self.example}"
                + (f"; at most {MOST_NUMBERS}" if len(values) > MOST_NUMBERS else "")
            )
        return tuple(values)

    def flag_type(self) -> str:
        return "numbers"


class _TextParser(flags.ArgumentParser):
    def __init__(self, name: str, convert: Callable[[str], str]):
        self.name, self.convert = name, convert

    def parse(self, argument: str) -> str:
        if not argument.strip():
            raise UserError(f"--{self.name}={argument} is empty: give a value, or leave the flag out")
        return self.convert(argument)

    def flag_type(self) -> str:
        return "text"


def _float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _shown(name: str, argument: Any) -> str:
    given = str(argument)
    return f"--{name}={given if len(given) <= MOST_SHOWN else f'{given[: MOST_SHOWN - 1]}…'}"
