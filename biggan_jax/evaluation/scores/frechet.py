"""Fréchet distance of features (FID, Heusel et al. 2017, arXiv 1706.08500) in float64, its bias and limit.

FID is d² = |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) between Gaussians with the means and covariances of the
features. The last trace is the sum of the roots of the eigenvalues of Lᵀ Σ₂ L, where Σ₁ = L Lᵀ. This problem
is symmetric, unlike the root of Σ₁ Σ₂: no complex numbers to drop, no iteration that can fail.

FID of finitely many samples is biased upwards by about c / N (`expected_bias`), with a c that depends on the
generator, so FIDs compare only at equal counts (Chong & Forsyth 2020, arXiv 1911.07023, section 3).
`extrapolated` estimates FID∞, the limit for infinitely many samples.
"""

import dataclasses

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width
from biggan_jax.evaluation.scores.moments import ROWS_AT_ONCE, FeatureStatistics, Moments

POINTS = 15  # counts that the line of FID∞ is fitted through, as in Chong & Forsyth…
SMALLEST_SHARE = 0.1  # …from this share of the samples to all samples


@dataclasses.dataclass(frozen=True)
class Fid:
    """FID and its reliability.

    Attributes:
      value: FID.
      expected_bias: FID of perfect samples at these counts (see `expected_bias`); NaN if the number of
        samples is unknown.
      count: Number of samples, or None if unknown.
      reference_count: Number of real images, or None if unknown.
      too_few: Whether a covariance lacks full rank. FID is then far too high, by more than `expected_bias`.
      sentence: The same in words.
    """

    value: float
    expected_bias: float
    count: int | None
    reference_count: int | None
    too_few: bool
    sentence: str


def fid(reference: FeatureStatistics, samples: FeatureStatistics) -> Fid:
    """Computes FID. Repeated calls with the same `reference` cost half as much.

    Too few samples for a covariance of full rank raise no error, because FID is defined and the field reports
    FIDs per class; the result states it.

    Raises:
      ValueError: The statistics differ in width.
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
            f"FID {value:.2f} comes from {few:,} images with {width:,} features each: too few for a "
            f"covariance of full rank, so it is far too high. Take more than {width:,} images, "
            f"better {10 * width:,}."
        )
    elif np.isnan(bias):
        sentence = f"FID {value:.2f} for {counts}."
    else:
        sentence = f"FID {value:.2f} for {counts}; perfect samples would get about {bias:.2f} at this count."
    return Fid(value, bias, samples.count, reference.count, too_few, sentence)


def distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Computes the squared Fréchet distance, which is at least 0.

    Raises:
      ValueError: The statistics differ in width.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"statistics of {len(first.mean)} and of {len(second.mean)} features: they come from two networks"
        )
    values, vectors = first.spectrum
    factor = vectors * np.sqrt(values)
    product = factor.T @ second.covariance @ factor
    roots = np.sqrt(scipy.linalg.eigvalsh(product).clip(min=0))
    return _assemble(
        first.mean - second.mean, np.trace(first.covariance), np.trace(second.covariance), roots.sum()
    )


def distance_of_features(first: ArrayLike, second: ArrayLike) -> float:
    """Computes the same distance from features f[N, D] and f[M, D], cheaply where N or M is below D.

    The trace of (Σ₁ Σ₂)^½ is the sum of the singular values of X Yᵀ, for centred X and Y with XᵀX = Σ₁ and
    YᵀY = Σ₂. The size of this problem is that of the smaller set.
    """
    x = np.array(check_features(first, "real images", 2), np.float64)
    y = np.array(check_features(second, "samples", 2), np.float64)
    check_same_width(x, y)
    difference = x.mean(axis=0) - y.mean(axis=0)
    x, y = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    if min(len(x), len(y)) > x.shape[1]:
        # Triangular factors in their place reduce the problem to D × D.
        x, y = (np.asarray(np.linalg.qr(z, mode="r")) for z in (x, y))
    return _assemble(difference, (x**2).sum(), (y**2).sum(), np.sum(scipy.linalg.svdvals(x @ y.T)))


def _assemble(difference: np.ndarray, first: float, second: float, root: float) -> float:
    # Rounding can make the distance of equal sets negative. The zero comes first: max(-0.0, 0.0) is -0.0.
    return max(0.0, float(difference @ difference + first + second - 2 * root))


def per_class(
    real: ArrayLike, real_labels: np.ndarray, samples: ArrayLike, labels: np.ndarray, classes: int
) -> np.ndarray:
    """Computes the FID between samples and real images of each class.

    A class usually has fewer images than the network has features. Its FID is then far above 0 for perfect
    samples too: compare it with the FID of held-out real images at the same count, or among classes.

    Args:
      real: Features f[M, D] of real images.
      real_labels: i[M].
      samples: Features f[N, D].
      labels: Requested classes i[N].
      classes: Number of classes.

    Returns:
      f64[classes], NaN for a class with fewer than two samples or two real images.
    """
    real, samples = check_features(real, "real images", 0), check_features(samples, "samples", 0)
    values = np.full(classes, np.nan)
    for label in range(classes):
        first, second = real[real_labels == label], samples[labels == label]
        if min(len(first), len(second)) >= 2:
            values[label] = distance_of_features(first, second)
    return values


def expected_bias(eigenvalues: np.ndarray, count: int, reference_count: int | None = None) -> float:
    """Estimates the mean FID of perfect samples with Gaussian features.

    To the leading order, (1/N + 1/M) (Σᵢ λᵢ + ½ Σᵢⱼ λᵢ λⱼ (1 + δᵢⱼ) / (λᵢ + λⱼ)): the variance of the means
    and, through the second derivative of the distance, of the covariances. Features are not Gaussian, and
    higher orders matter for N near D, so the estimate is good for N ≫ D.

    Args:
      eigenvalues: Eigenvalues λ of the covariance of the features, f64[D].
      count: Number of samples, N.
      reference_count: Number of real images, M; None omits their share.
    """
    total = eigenvalues[:, None] + eigenvalues
    pairs = np.divide(np.outer(eigenvalues, eigenvalues), total, out=np.zeros_like(total), where=total > 0)
    share = 1 / count + (1 / reference_count if reference_count else 0)
    return float(share * (eigenvalues.sum() + 0.5 * (pairs.sum() + np.trace(pairs))))


def extrapolated(reference: FeatureStatistics, features: ArrayLike, seed: int = 0) -> float | None:
    """Estimates FID∞ (Chong & Forsyth 2020, section 3), at the cost of `POINTS` FIDs.

    A line is fitted to FID against 1 / N at several counts N of the same samples, chosen at random for each
    count, and evaluated at 1 / N = 0. The bias from the finite reference remains.

    Args:
      reference: Statistics of the real images.
      features: Features of the samples, f[N, D].
      seed: Seed of the random choices.

    Returns:
      FID∞, or None if the smallest count is not above D.

    Raises:
      UserError: A feature is not finite.
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
