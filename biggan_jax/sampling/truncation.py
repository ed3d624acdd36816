"""Truncation: the meaning of its number, and batch norm's statistics between the stored truncations.

Brock et al. 2019, section 3.1 and appendix D. Two conventions exist:

  threshold  Components of a normal latent beyond ±t are sampled again (the paper, and models trained here).
             0 is untruncated.
  scale      z = t · (a normal cut off at ±2) with t from 0 to 1 (the published modules). 1 is untruncated.
"""

import math
from collections.abc import Mapping
from typing import Literal, get_args

import jax

from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.ranges import SHARE, TRUNCATION

TruncationKind = Literal["threshold", "scale"]
TRUNCATION_KINDS: tuple[TruncationKind, ...] = get_args(TruncationKind)


def untruncated(kind: TruncationKind) -> float:
    """Returns the number that stands for the untruncated distribution."""
    return {"threshold": 0.0, "scale": 1.0}[kind]


def describe(kind: TruncationKind, truncation: float) -> str:
    """Describes a truncation: "untruncated" or "truncation 0.5"."""
    return "untruncated" if truncation == untruncated(kind) else f"truncation {truncation:g}"


def spread(kind: TruncationKind, truncation: float) -> float:
    """Returns the standard deviation of truncated latents relative to untruncated ones: 0 to 1.

    For a normal that is cut off at ±t it is √(1 - 2tφ(t) / (2Φ(t) - 1)).
    """
    if kind == "scale":
        return truncation
    if truncation == 0:
        return 1.0
    if truncation < 1e-3:
        return truncation / math.sqrt(3)  # a uniform distribution; the formula cancels to noise
    density = math.exp(-(truncation**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * truncation * density / math.erf(truncation / math.sqrt(2)))


def refuse_impossible(kind: TruncationKind, truncation: float, distribution: str = "normal") -> None:
    """Raises UserError if the truncation does not exist for this kind and distribution."""
    allowed = TRUNCATION if kind == "threshold" else SHARE
    if not allowed.contains(truncation):
        wanted = f"{allowed}; {untruncated(kind):g} is untruncated"
        raise UserError(f"truncation = {truncation}: give {wanted}")
    if distribution != "normal" and truncation != untruncated(kind):
        raise UserError(
            f"truncation = {truncation} with {distribution} latents: only normal latents can be truncated; "
            f"give {untruncated(kind):g}, which is untruncated"
        )


def statistics_at(statistics: Mapping[float, Tree], kind: TruncationKind, truncation: float) -> Tree:
    """Returns the statistics at a truncation.

    Between two stored truncations, the statistics are interpolated linearly in the spread of the latents.

    Args:
      statistics: Standing statistics by truncation.
      kind: Meaning of the truncations.
      truncation: Requested truncation.

    Raises:
      UserError: If the truncation is outside of the stored ones.
    """
    if truncation in statistics:
        return statistics[truncation]
    stored = sorted(statistics, key=lambda other: spread(kind, other))
    place = spread(kind, truncation)
    below = [other for other in stored if spread(kind, other) <= place]
    above = [other for other in stored if spread(kind, other) >= place]
    if not below or not above:
        raise UserError(
            f"truncation = {truncation:g}: batch norm has statistics at "
            f"{', '.join(f'{other:g}' for other in stored) or 'no truncation'}; choose one of these or one "
            "between them, or export again with more (--truncations)"
        )
    first, second = below[-1], above[0]
    if first == second or spread(kind, first) == spread(kind, second):
        return statistics[first]
    share = (place - spread(kind, first)) / (spread(kind, second) - spread(kind, first))
    return jax.tree.map(
        lambda a, b: ((1 - share) * a + share * b).astype(a.dtype), statistics[first], statistics[second]
    )
