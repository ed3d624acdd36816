"""Lists of overrides: every combination, element by element, or at random (Bergstra & Bengio 2012).

An override is a dict from fields of a config to values, such as `{"model.channels": 64, "seed": 1}`. Its key
"name", if given, names the run.
"""

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.naming import NAME, describe

Override = dict[str, Any]
Distribution = Callable[[float], Any]  # maps a uniform number in [0, 1) to a value


def each(field: str, values: Iterable[Any]) -> list[Override]:
    """Makes one override for each value: `each("seed", [0, 1])` → `[{"seed": 0}, {"seed": 1}]`.

    Args:
      field: Dotted name of a config field.
      values: Values of the field, one for each override.

    Returns:
      Overrides in the order of `values`.
    """
    return [{field: value} for value in values]


def product(*lists: Sequence[Override]) -> list[Override]:
    """Combines one override from each list in every possible way; the last list changes fastest.

    Args:
      *lists: Lists of overrides that set different fields.

    Returns:
      One override for each combination.

    Raises:
      UserError: Two lists set the same field.
    """
    varying = [_varying_fields(overrides) for overrides in lists]
    return [_merged(parts, varying) for parts in itertools.product(*lists)]


def zipped(*lists: Sequence[Override]) -> list[Override]:
    """Combines the first overrides of all lists, then the second ones, and so on.

    Args:
      *lists: Lists of equal length whose overrides set different fields.

    Returns:
      One override for each position.

    Raises:
      UserError: The lists have different lengths, or two of them set the same field.
    """
    lengths = [len(overrides) for overrides in lists]
    if len(set(lengths)) > 1:
        raise UserError(f"zipped lists must have one length, but these have {', '.join(map(str, lengths))}")
    varying = [_varying_fields(overrides) for overrides in lists]
    return [_merged(parts, varying) for parts in zip(*lists, strict=True)]


def random_search(count: int, fields: Mapping[str, Distribution], seed: int = 0) -> list[Override]:
    """Makes overrides with a random value for each field.

    A value depends on the seed, the number of its override and the field alone: a higher count or a further
    field leaves the other values as they were.

    Args:
      count: Number of overrides.
      fields: Distribution of each field: `uniform`, `log_uniform` or `choice`.
      seed: Seed of all random values.

    Returns:
      `count` overrides.
    """
    return [
        {
            field: distribution(random.Random(f"{seed} {number} {field}").random())
            for field, distribution in fields.items()
        }
        for number in range(count)
    ]


def uniform(low: float, high: float) -> Distribution:
    """Returns the uniform distribution between two numbers, rounded to three digits."""
    return lambda chance: _three_digits(low + (high - low) * chance)


def log_uniform(low: float, high: float) -> Distribution:
    """Returns the log-uniform distribution between two numbers, rounded to three digits: for learning rates.

    Args:
      low: Lower end, above 0.
      high: Upper end, above 0.

    Returns:
      A distribution for `random_search`.

    Raises:
      UserError: An end is not above 0.
    """
    if min(low, high) <= 0:
        raise UserError(f"log_uniform({low}, {high}): give numbers above 0")
    return lambda chance: _three_digits(low * (high / low) ** chance)


def choice(*values: Any) -> Distribution:
    """Returns the distribution that gives each of the values with the same probability."""
    return lambda chance: values[int(chance * len(values))]


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _varying_fields(overrides: Sequence[Override]) -> set[str]:
    """Returns the fields that the overrides of one list set to different values, or that some do not set."""
    fields = {field for override in overrides for field in override} - {NAME}
    unset = object()
    return {
        field
        for field in fields
        if any(override.get(field, unset) != overrides[0].get(field, unset) for override in overrides)
    }


def _merged(parts: Sequence[Override], varying: Sequence[Collection[str]]) -> Override:
    """Merges overrides into one, whose name leaves out the fields that do not vary within their list."""
    merged: Override = {}
    for part in parts:
        for field in part.keys() & merged.keys() - {NAME}:
            raise UserError(f"{field} is set by two of the lists that are combined")
        merged |= part
    if NAME in merged:
        names = [
            part.get(NAME) or describe({field: value for field, value in part.items() if field in fields})
            for part, fields in zip(parts, varying, strict=True)
        ]
        merged[NAME] = ",".join(filter(None, names))
    return merged
