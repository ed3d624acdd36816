"""Truncation: what a number means, and batch norm's statistics at truncations between the stored ones.

Brock et al. 2019, section 3.1 and appendix D. There are two conventions:

  threshold  components of a normal latent beyond ±t are drawn again (the paper, and what is trained here);
             0 stands for none of that
  scale      z = t · (a normal cut off at ±2), t from 0 to 1 (the published modules); 0 is z = 0
"""

import math
from collections.abc import Mapping
from typing import Literal, get_args

import jax

from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError

TruncationKind = Literal["threshold", "scale"]
TRUNCATION_KINDS: tuple[TruncationKind, ...] = get_args(TruncationKind)


def untruncated(kind: TruncationKind) -> float:
    """The number that stands for the whole distribution."""
    return {"threshold": 0.0, "scale": 1.0}[kind]


def describe(kind: TruncationKind, truncation: float) -> str:
    """`untruncated`, `truncation 0.5`."""
    return "untruncated" if truncation == untruncated(kind) else f"truncation {truncation:g}"


def spread(kind: TruncationKind, truncation: float) -> float:
    """The standard deviation of the latents, as a share of the untruncated ones': 0 to 1.

    Of a normal that is cut off at ±t it is √(1 - 2tφ(t) / (2Φ(t) - 1)).
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
    """Raises UserError if there are no such latents."""
    if not (0 <= truncation < math.inf) or (kind == "scale" and truncation > 1):
        wanted = "0 or more; 0 for none" if kind == "threshold" else "0 to 1; 1 for none"
        raise UserError(f"truncation = {truncation}: give {wanted}")
    if distribution != "normal" and truncation != untruncated(kind):
        raise UserError(
            f"truncation = {truncation} with {distribution} latents: only normal ones can be truncated; give "
            f"{untruncated(kind):g} for none"
        )


def statistics_at(statistics: Mapping[float, Tree], kind: TruncationKind, truncation: float) -> Tree:
    """Those stored for this truncation, or a mixture of its two neighbours', by the latents' spread.

    Raises:
      UserError: the truncation is not between two stored ones.
    """
    if truncation in statistics:
        return statistics[truncation]
    stored = sorted(statistics, key=lambda other: spread(kind, other))
    place = spread(kind, truncation)
    below = [other for other in stored if spread(kind, other) <= place]
    above = [other for other in stored if spread(kind, other) >= place]
    if not below or not above:
        raise UserError(
            f"truncation = {truncation:g}: there are batch norm statistics for "
            f"{', '.join(f'{other:g}' for other in stored) or 'no truncation'} alone; take one of these, or "
            "export again with more of them (--truncations)"
        )
    first, second = below[-1], above[0]
    if first == second or spread(kind, first) == spread(kind, second):
        return statistics[first]
    share = (place - spread(kind, first)) / (spread(kind, second) - spread(kind, first))
    return jax.tree.map(
        lambda a, b: ((1 - share) * a + share * b).astype(a.dtype), statistics[first], statistics[second]
    )
