"""FID∞: what FID would be of infinitely many samples (Chong & Forsyth 2020, arXiv 1911.07023, section 3).

FID's bias is about c / N, with a c that depends on the generator too: it may turn the order of two around,
and no formula takes it off. A line through FID against 1 / N, at several counts of the same samples, is read
off at 1 / N = 0.
"""

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features
from biggan_jax.evaluation.scores.frechet import FeatureStatistics, distance
from biggan_jax.evaluation.scores.moments import ROWS_AT_ONCE, Moments

POINTS = 15  # counts that the line is fitted through, as Chong & Forsyth do…
SMALLEST_SHARE = 0.1  # …from this share of the samples to all of them


def extrapolated(reference: FeatureStatistics, features: ArrayLike, seed: int = 0) -> float | None:
    """FID∞ of samples, which are drawn at random for each count.

    The reference's own bias stays in it. Costs `POINTS` FIDs.

    Args:
      reference: of the real images.
      features: of the samples, f[N, D].
      seed: of the draws.

    Returns:
      The number, or None where the samples are too few: even the fewest must be more than there are features.

    Raises:
      UserError: features that are not finite.
    """
    features = check_features(features, "samples")
    fewest = int(len(features) * SMALLEST_SHARE)
    if fewest <= features.shape[1]:
        return None
    random = np.random.default_rng(seed)
    inverse = np.linspace(1 / fewest, 1 / len(features), POINTS)
    values = []
    for count in np.rint(1 / inverse).astype(int):
        chosen, moments = random.permutation(len(features))[:count], Moments()
        for start in range(0, count, ROWS_AT_ONCE):
            moments.update(features[chosen[start : start + ROWS_AT_ONCE]])
        values.append(distance(reference, moments.statistics()))
    return float(np.polyfit(inverse, values, 1)[1])
