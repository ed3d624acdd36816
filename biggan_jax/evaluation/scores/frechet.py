"""Fréchet distance of features (FID), in float64, with its bias (Heusel et al. 2017, arXiv 1706.08500).

FID is d² = |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) between Gaussians with the features' means and covariances.
The last trace is the sum of the roots of the eigenvalues of Lᵀ Σ₂ L, where Σ₁ = L Lᵀ: a symmetric problem,
unlike the root of Σ₁ Σ₂ itself, so there are no complex numbers to drop and no iteration that can fail.

Of finitely many samples it comes out too high, by about c / N (`expected_bias`, Chong & Forsyth 2020, arXiv
1911.07023): FIDs compare only at equal counts. What it would be of infinitely many is in `extrapolation`.
"""

import dataclasses
import functools

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What FID knows of a set of images.

    Attributes:
      mean: f64[D].
      covariance: f64[D, D], divided by N - 1 as everywhere in the field.
      count: images they were taken from; None where a file does not say.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None = None

    @property
    def too_few(self) -> bool:
        """Whether there were too few images for a covariance of full rank: N - 1 < D."""
        return self.count is not None and self.count <= len(self.mean)

    @functools.cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues f64[D], none below 0, and eigenvectors f64[D, D] of the covariance."""
        values, vectors = scipy.linalg.eigh(self.covariance, driver="evd")
        return values.clip(min=0), vectors


@dataclasses.dataclass(frozen=True)
class Fid:
    """FID and how far to trust it.

    Attributes:
      value: the distance.
      expected_bias: what perfect samples would get at these counts (see `expected_bias`); NaN where the count
        of samples is unknown.
      count: samples, or None where unknown.
      reference_count: real images, or None where unknown.
      too_few: a covariance is not of full rank, so FID is far too high, and beyond what `expected_bias`
        tells.
      sentence: the same in words.
    """

    value: float
    expected_bias: float
    count: int | None
    reference_count: int | None
    too_few: bool
    sentence: str


def fid(reference: FeatureStatistics, samples: FeatureStatistics) -> Fid:
    """FID of samples. Costs half as much from the second call on with the same `reference`.

    Too few samples for a covariance of full rank are no error (FID is defined, and the field reports it per
    class), but the result says so.

    Raises:
      ValueError: statistics of different widths.
    """
    value = distance(reference, samples)
    width = len(reference.mean)
    bias, counts = float("nan"), "an unknown number of samples"
    if samples.count is not None:
        bias = expected_bias(reference.spectrum[0], samples.count, reference.count)
        counts = f"{samples.count:,} samples"
    too_few = reference.too_few or samples.too_few
    if too_few:
        few = min(n for n in (reference.count, samples.count) if n is not None)
        sentence = (
            f"FID {value:.2f} is of {few:,} images with {width:,} features each: too few for a covariance of "
            f"full rank, so it is far too high; take more than {width:,}, better {10 * width:,} or more."
        )
    else:
        sentence = f"FID {value:.2f} of {counts}" + (
            f"; perfect ones would get about {bias:.2f} for there being so few." if bias == bias else "."
        )
    return Fid(value, bias, samples.count, reference.count, too_few, sentence)


def distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """The squared Fréchet distance itself, 0 or more but for rounding.

    Raises:
      ValueError: statistics of different widths.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"statistics of {len(first.mean)} and of {len(second.mean)} features: of two networks"
        )
    values, vectors = first.spectrum
    factor = vectors * np.sqrt(values)
    product = factor.T @ second.covariance @ factor
    roots = np.sqrt(scipy.linalg.eigvalsh(product).clip(min=0))
    return _assemble(
        first.mean - second.mean, np.trace(first.covariance), np.trace(second.covariance), roots.sum()
    )


def distance_of_features(first: ArrayLike, second: ArrayLike) -> float:
    """The same from features f[N, D] and f[M, D], cheap where there are fewer images than features.

    The trace of (Σ₁ Σ₂)^½ is the sum of the singular values of X Yᵀ, for centred X and Y with XᵀX = Σ₁ and
    YᵀY = Σ₂: a problem of the size of the smaller set.
    """
    x = np.array(check_features(first, "real images", 2), np.float64)
    y = np.array(check_features(second, "samples", 2), np.float64)
    check_same_width(x, y)
    difference = x.mean(axis=0) - y.mean(axis=0)
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    if min(len(x), len(y)) > x.shape[1]:
        # With triangular factors in their place, the problem is of the size of the features.
        x, y = (np.linalg.qr(z, mode="r") for z in (x, y))
    return _assemble(difference, (x**2).sum(), (y**2).sum(), scipy.linalg.svdvals(x @ y.T).sum())


def _assemble(difference: np.ndarray, first: float, second: float, root: float) -> float:
    return float(difference @ difference + first + second - 2 * root)


def per_class(
    real: ArrayLike, real_labels: np.ndarray, samples: ArrayLike, labels: np.ndarray, classes: int
) -> np.ndarray:
    """FID of each class's samples to its real images: f64[classes], NaN where either has fewer than two.

    With fewer images of a class than features, as is usual, the numbers are far above 0 for perfect samples
    too: compare them with those of held-out real images at the same count, or among classes.
    """
    real, samples = check_features(real, "real images", 0), check_features(samples, "samples", 0)
    found = np.full(classes, np.nan)
    for label in range(classes):
        mine, theirs = real[real_labels == label], samples[labels == label]
        if min(len(mine), len(theirs)) >= 2:
            found[label] = distance_of_features(mine, theirs)
    return found


def expected_bias(eigenvalues: np.ndarray, count: int, reference_count: int | None = None) -> float:
    """What FID comes to, on average, for perfect samples of Gaussian features.

    To the leading order, (1/N + 1/M) (Σᵢ λᵢ + ½ Σᵢⱼ λᵢ λⱼ (1 + δᵢⱼ) / (λᵢ + λⱼ)): the variance of the means
    and, through the second derivative of the distance, of the covariances. Features are not Gaussian, and
    with N near D higher orders count: an estimate, good for N ≫ D.

    Args:
      eigenvalues: λ, of the features' covariance, f64[D].
      count: samples, N.
      reference_count: real images, M; None leaves their share out.
    """
    total = eigenvalues[:, None] + eigenvalues
    pairs = np.divide(np.outer(eigenvalues, eigenvalues), total, out=np.zeros_like(total), where=total > 0)
    share = 1 / count + (1 / reference_count if reference_count else 0)
    return float(share * (eigenvalues.sum() + 0.5 * (pairs.sum() + np.trace(pairs))))
