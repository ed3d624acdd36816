"""Memorised training images: blind spot 5 of the Inception Score.

Copies of training images reach the best IS (Barratt & Sharma 2018, arXiv 1801.01973, section 4). The distance
from each sample to the nearest training image is compared with the same distance for held-out images, as in
the test of Meehan, Chaudhuri & Dasgupta (2020, arXiv 2004.05675): honest samples are equally far away. Meehan
et al. divide the space into cells to account for density. Here each distance is divided by the distance from
the training image to its own third-nearest, so that a generator that prefers dense classes does not count as
one that copies.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width
from biggan_jax.evaluation.scores.nearest import nearest

NEIGHBOUR = 3  # of the training image: an image that occurs up to three times keeps a distance above 0
CLOSEST = 0.01  # share of held-out images that are as near as a suspicious sample
NEAR = 0.5  # largest relative distance of a suspicious sample
LEAST_SHARE = 0.05  # of suspicious samples that is flagged…
ERRORS = 3.0  # …if it exceeds that of held-out images by so many standard errors


@dataclasses.dataclass(frozen=True, eq=False)
class Memorisation:
    """The distance between samples and training images.

    Attributes:
      closer: Probability that a sample is nearer to the training images than a held-out image: 0.5 if honest.
      z: The same as a test statistic, Mann–Whitney's U in standard deviations (C_T of Meehan et al.). Below
        -3 samples are nearer than chance allows. This holds for samples that are more typical than real
        images, such as truncated ones, too.
      suspicious: Share of samples that are nearer than all but a hundredth of the held-out images, and within
        half of the usual distance.
      expected: The same share of the held-out images.
      samples: Indices of the samples by relative distance, the most suspicious first: i64[N].
      training: Indices of the nearest training image of each: i64[N].
      relative: Relative distances: f64[N].
      flagged: Whether more samples are suspicious than chance allows.
      sentence: The same in words.
    """

    closer: float
    z: float
    suspicious: float
    expected: float
    samples: np.ndarray
    training: np.ndarray
    relative: np.ndarray
    flagged: bool
    sentence: str


def memorisation(training: ArrayLike, samples: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """Compares samples f[N, D] and held-out images f[M, D] with training images f[T, D].

    Raises:
      UserError: Fewer than four training images, no samples or no held-out images, or features that are not
        finite.
    """
    training = check_features(training, "training images", NEIGHBOUR + 1)
    samples, held_out = check_features(samples, "samples"), check_features(held_out, "held-out images")
    check_same_width(training, samples)
    check_same_width(training, held_out)
    of_samples, numbers = _relative_distances(training, samples)
    of_held_out, _ = _relative_distances(training, held_out)
    closer, z = _mann_whitney(of_samples, of_held_out)
    threshold = min(np.quantile(of_held_out, CLOSEST, method="inverted_cdf"), NEAR)
    suspicious = float((of_samples <= threshold).mean())
    expected = float((of_held_out <= threshold).mean())
    pooled = (np.concatenate([of_samples, of_held_out]) <= threshold).mean()
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(of_samples) + 1 / len(of_held_out)))
    flagged = bool(suspicious >= LEAST_SHARE and suspicious - expected > ERRORS * error)
    order = np.argsort(of_samples, kind="stable")
    sentence = (
        f"{100 * suspicious:.1f} % of the samples are suspiciously near to a training image, compared with "
        f"{100 * expected:.1f} % of the held-out images: "
        + ("the generator copies training images." if flagged else "no sign of copied training images.")
    )
    return Memorisation(
        closer, z, suspicious, expected, order, numbers[order], of_samples[order], flagged, sentence
    )


def _relative_distances(training: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns relative distances to the nearest training image f64[N], and its index i64[N]."""
    distances, numbers = (columns[:, 0] for columns in nearest(images, training, 1))
    # Training sets are large: only the neighbours of the nearest images are needed.
    needed, place = np.unique(numbers, return_inverse=True)
    around = nearest(training[needed], training, NEIGHBOUR, own=needed)[0][:, -1][place]
    relative = np.where(distances > 0, np.inf, 0.0)  # for a training image that occurs four times or more
    np.divide(distances, around, out=relative, where=around > 0)
    return relative, numbers


def _mann_whitney(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Returns the probability that `first` is below `second` (ties count half), and U in deviations."""
    n, m = len(first), len(second)
    _, places, ties = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]  # equal values share the mean of their ranks
    above = ranks[:n].sum() - n * (n + 1) / 2  # pairs in which the first is the larger
    ties = ties.astype(float)
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * max(1, n + m - 1)))
    z = (above - n * m / 2) / np.sqrt(variance) if variance > 0 else 0.0
    return float(1 - above / (n * m)), float(z)
