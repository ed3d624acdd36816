"""Kernel distance of features (KID): the unbiased estimate of MMD² with k(x, y) = (x·y / D + 1)³.

Bińkowski et al. 2018, arXiv 1801.01401, section 4. As the field computes it: the mean over 100 random subsets
of 1,000 images of each set, chosen by NumPy's RandomState(2020) as in torch-fidelity. Each subset draws the
real images first and the samples second, as torch-fidelity does with the real images as input 1. The other
order gives other random subsets, and a KID that differs by about √(2 / subsets) of their standard deviation.
KID may be below 0. The ± that the field prints is the standard deviation of the subsets, which does not
shrink with more images; the standard error given here does.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width

SUBSETS, SUBSET_SIZE, SEED = 100, 1_000, 2020


@dataclasses.dataclass(frozen=True)
class Kid:
    """KID and its errors.

    Attributes:
      value: Mean over the subsets.
      std: Standard deviation of the subsets, the field's ±.
      standard_error: Standard error of `value` as an estimate of the distance between the distributions, by
        the delete-d jackknife (Shao & Wu 1989): s √(m / (N - m) + 1 / subsets) with m of N images per subset.
        It errs on the large side near KID = 0.
      subsets: Number of subsets.
      subset_size: Number of images in each.
    """

    value: float
    std: float
    standard_error: float
    subsets: int
    subset_size: int


def kid(
    real: ArrayLike,
    samples: ArrayLike,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> Kid:
    """Computes KID between samples f[N, D] and real images f[M, D].

    If either set has at most `subset_size` images, subsets hold half of the smaller set. The value stays
    unbiased, and its noise grows.

    Raises:
      UserError: Fewer than 4 images in a set, or features that are not finite.
    """
    real, samples = check_features(real, "real images", 4), check_features(samples, "samples", 4)
    check_same_width(real, samples)
    fewer = min(len(real), len(samples))
    size = subset_size if fewer > subset_size else fewer // 2
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        chosen = real[random.choice(len(real), size, replace=False)]
        values.append(mmd2(chosen, samples[random.choice(len(samples), size, replace=False)]))
    std = float(np.std(values))
    error = std * np.sqrt(size / (fewer - size) + 1 / subsets)
    return Kid(float(np.mean(values)), std, float(error), subsets, size)


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Computes the unbiased estimate of MMD² from f[m, D] and f[n, D] in float64.

    No image is compared with itself.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (_kernel(x, x), _kernel(y, y))]
    return float(sum(within) - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    k = x @ y.T / x.shape[1] + 1
    return k * k * k  # NumPy's power takes twice as long
