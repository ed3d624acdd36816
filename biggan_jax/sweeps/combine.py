"""Lists of overrides: every combination, side by side, or at random (Bergstra & Bengio 2012).

An override is a dict from fields of a config to values, `{"model.channels": 64, "seed": 1}`; what it says
under "name", if anything, is the name of its run.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from biggan_jax.runtime.errors import UserError
from biggan_jax.sweeps.naming import NAME, describe

Override = dict[str, Any]
Distribution = Callable[[float], Any]  # from a number that is uniform in [0, 1)


def each(field: str, values: Iterable[Any]) -> list[Override]:
    """`each("seed", [0, 1])` → `[{"seed": 0}, {"seed": 1}]`."""
    return [{field: value} for value in values]


def product(*lists: Sequence[Override]) -> list[Override]:
    """Every combination of one override from each list; those of the last list change fastest.

    Raises:
      UserError: two lists set the same field.
    """
    return [_merged(parts) for parts in itertools.product(*lists)]


def zipped(*lists: Sequence[Override]) -> list[Override]:
    """The first of each list together, then the second of each, and so on.

    Raises:
      UserError: the lists are not of one length, or two of them set the same field.
    """
    lengths = [len(overrides) for overrides in lists]
    if len(set(lengths)) > 1:
        raise UserError(f"zipped lists must be of one length, and these have {', '.join(map(str, lengths))}")
    return [_merged(parts) for parts in zip(*lists, strict=True)]


def random_search(count: int, fields: Mapping[str, Distribution], seed: int = 0) -> list[Override]:
    """`count` overrides with a random value of each field.

    What one of them draws for a field depends on the seed, its number and the field alone: with a higher
    count, or one field more, what was there stays.

    Args:
      count: how many.
      fields: a distribution for each field: `uniform`, `log_uniform`, `choice`.
      seed: of all draws.
    """
    return [
        {field: draw(random.Random(f"{seed} {number} {field}").random()) for field, draw in fields.items()}
        for number in range(count)
    ]


def uniform(low: float, high: float) -> Distribution:
    """Numbers between the two, to three digits."""
    return lambda chance: _short(low + (high - low) * chance)


def log_uniform(low: float, high: float) -> Distribution:
    """Numbers between the two whose logarithm is uniform, to three digits: for rates.

    Raises:
      UserError: one of the two is not above 0.
    """
    if min(low, high) <= 0:
        raise UserError(f"log_uniform({low}, {high}): give numbers above 0")
    return lambda chance: _short(low * (high / low) ** chance)


def choice(*values: Any) -> Distribution:
    """One of the values, each as often."""
    return lambda chance: values[int(chance * len(values))]


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _merged(parts: Sequence[Override]) -> Override:
    merged: Override = {}
    for part in parts:
        for field in part.keys() & merged.keys() - {NAME}:
            raise UserError(f"{field} is set by two of the lists that are combined")
        merged |= part
    if NAME in merged:
        merged[NAME] = ",".join(part.get(NAME) or describe(part) for part in parts)
    return merged
