"""Precision, recall, density and coverage: how samples and real images overlap in feature space.

Precision and recall follow Kynkäänniemi et al. 2019 (arXiv 1904.06991), density and coverage Naeem et al.
2020 (arXiv 2002.09797). The manifold of a set is the union of balls around its images; the radius of a ball
is the distance to the k-th nearest other image. Both sets have equal counts, as in the papers. Balls are
open, so an image that occurs more than k times has an empty ball.

An image on the border of a ball is outside: the k-th neighbour itself, and its copy among the samples.
Distances in float32 scatter around the border, so that copies of the real images would have a density above
1. Pairs so near a border that float32 cannot tell are compared in float64, by the arithmetic of the radii.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores import nearest
from biggan_jax.evaluation.scores.features import check_features, check_same_width

PRECISION_K = 3
DENSITY_K = 5


@dataclasses.dataclass(frozen=True)
class Manifold:
    """The overlap of two sets.

    Attributes:
      precision: Share of samples within the manifold of the real images.
      recall: Share of real images within the manifold of the samples.
      density: Mean number of real balls around a sample, divided by k; 1 for perfect samples, and unbounded.
      coverage: Share of real images with a sample in their ball.
      count: Number of samples.
      reference_count: Number of real images.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    count: int
    reference_count: int


def manifold(
    real: ArrayLike, samples: ArrayLike, precision_k: int = PRECISION_K, density_k: int = DENSITY_K
) -> Manifold:
    """Computes all four scores from features f[M, D] of real images and f[N, D] of samples.

    Args:
      real: Features of the real images.
      samples: Features of the samples.
      precision_k: Number of neighbours for precision and recall.
      density_k: Number of neighbours for density and coverage.

    Raises:
      UserError: Too few images for k neighbours, or features that are not finite.
    """
    least = max(precision_k, density_k) + 1
    real, samples = check_features(real, "real images", least), check_features(samples, "samples", least)
    check_same_width(real, samples)
    small, large = nearest.radii(real, precision_k, density_k)
    (sample_radii,) = nearest.radii(samples, precision_k)

    centre = np.asarray(real, np.float64).mean(axis=0)
    within_real, balls = np.zeros(len(samples), bool), 0
    within_samples, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for y in nearest.blocks(samples, centre):
        columns = slice(y.start, y.start + y.count)
        for x in nearest.blocks(real, centre):
            rows = slice(x.start, x.start + x.count)
            counts = _inside(
                x, y, _squared(small[rows], x), _squared(large[rows], x), _squared(sample_radii[columns], y)
            )
            in_small, in_large, in_samples, covers, doubtful = map(np.asarray, counts)
            within_real[columns] |= in_small[: y.count]
            balls += int(in_large[: y.count].sum(dtype=np.int64))
            within_samples[rows] |= in_samples[: x.count]
            covered[rows] |= covers[: x.count]

            row, column = np.nonzero(doubtful)
            row, column = row + x.start, column + y.start
            distances = nearest.exact_distances(real, samples, row, column)
            within_real[column[distances < small[row]]] = True
            balls += int((distances < large[row]).sum())
            within_samples[row[distances < sample_radii[column]]] = True
            covered[row[distances < large[row]]] = True
    return Manifold(
        precision=float(within_real.mean()),
        recall=float(within_samples.mean()),
        density=balls / (density_k * len(samples)),
        coverage=float(covered.mean()),
        count=len(samples),
        reference_count=len(real),
    )


def _squared(radii: np.ndarray, block: nearest.Block) -> np.ndarray:
    return np.pad(np.float32(radii**2), (0, len(block.rows) - len(radii)))


@jax.jit
def _inside(
    real: nearest.Block, samples: nearest.Block, small: jax.Array, large: jax.Array, sample_radii: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Compares two blocks; radii are squared, and 0 for an empty ball.

    Returns:
      For each sample, whether it is in a small real ball, and the number of large real balls around it. For
      each real image, whether it is in the ball of a sample, and whether its large ball holds a sample. All
      without the pairs in the last array, which float32 cannot tell for one of the balls: bool[n, m].
    """
    d2 = nearest.squared_distances(real.rows, real.squares, samples.rows, samples.squares)
    doubtful = jnp.zeros(d2.shape, bool)
    for radii in (small[:, None], large[:, None], sample_radii):
        near = nearest.is_doubtful(d2, radii, real.rows, real.squares, samples.squares)
        doubtful |= near & (radii > 0)
    certain = jnp.where(doubtful, jnp.inf, d2)
    in_large = certain < large[:, None]
    return (
        (certain < small[:, None]).any(axis=0),
        in_large.sum(axis=0, dtype=jnp.int32),
        (certain < sample_radii).any(axis=1),
        in_large.any(axis=1),
        doubtful,
    )
